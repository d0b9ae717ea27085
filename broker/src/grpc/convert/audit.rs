//! Entries of the audit log.

use crate::domain::Result;
use crate::domain::audit::{AuditEvent, AuditFilter, Outcome};
use crate::domain::page::Page;
use crate::grpc::convert::time::{timestamp, timestamp_us};
use eventflow_proto::v1::{self, AuditResult};

/// What to show.
pub fn filter(request: &v1::ListAuditEventsRequest) -> Result<AuditFilter> {
    let set = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let outcome = match request.result() {
        AuditResult::Unspecified => None,
        AuditResult::Done => Some(Outcome::Done),
        AuditResult::Refused => Some(Outcome::Refused),
        AuditResult::Failed => Some(Outcome::Failed),
    };
    Ok(AuditFilter {
        actor: set(&request.actor),
        action: set(&request.action),
        object: set(&request.object),
        outcome,
        from: request.start_time.as_ref().map(|time| timestamp_us("start_time", time)).transpose()?,
        until: request.end_time.as_ref().map(|time| timestamp_us("end_time", time)).transpose()?,
    })
}

impl From<AuditEvent> for v1::AuditEvent {
    fn from(event: AuditEvent) -> Self {
        let result = match event.outcome {
            Outcome::Done => AuditResult::Done,
            Outcome::Refused => AuditResult::Refused,
            Outcome::Failed => AuditResult::Failed,
        };
        Self {
            id: event.id,
            time: Some(timestamp(event.occurred_at)),
            actor: event.actor,
            actor_email: event.actor_email,
            action: event.action,
            object: event.object,
            detail: event.detail,
            result: result.into(),
            reason: event.reason,
            address: event.address,
            request_id: event.request_id,
            times: event.times,
        }
    }
}

impl From<Page<AuditEvent>> for v1::ListAuditEventsResponse {
    fn from(page: Page<AuditEvent>) -> Self {
        let Page { items, next_page_token } = page;
        Self { events: items.into_iter().map(Into::into).collect(), next_page_token }
    }
}
