//! The audit log: who did what in the organization.

use std::time::SystemTime;

use eventflow_proto::v1;

use crate::{
    client::Client,
    connection::Transport,
    convert::{required, time_from_wire, time_to_wire},
    error::{Error, Result},
    pages::{Pages, pages},
};

/// What came of something that somebody wanted to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuditResult {
    /// It was done.
    Done,
    /// They may not.
    Refused,
    /// They could not show who they are.
    Failed,
    /// A result of a newer broker.
    Unknown,
}

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AuditEvent {
    /// Higher for what was recorded later.
    pub id: i64,
    /// Database time.
    pub time: SystemTime,
    /// `user:` or `key:` and an id, or `operator`. Empty: nobody who is known.
    pub actor: String,
    /// Address of the user who is the actor, as it is now.
    pub actor_email: String,
    /// The name of a call, such as `CreateStream`.
    pub action: String,
    /// Such as `stream:orders`.
    pub object: String,
    /// How, where there is something to say.
    pub detail: String,
    /// With which result.
    pub result: AuditResult,
    /// Error reason, unless it was done.
    pub reason: String,
    /// Address of the connection.
    pub address: String,
    /// As the broker's log has it.
    pub request_id: String,
    /// How often it happened within a second.
    pub times: u32,
}

/// Which entries to show: those for which everything holds that is set.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// As entries have it, or a user's address.
    pub actor: Option<String>,
    /// Such as `DeleteStream`.
    pub action: Option<String>,
    /// Such as `stream:orders`.
    pub object: Option<String>,
    /// With which result.
    pub result: Option<AuditResult>,
    /// From this time on.
    pub since: Option<SystemTime>,
    /// Before this time.
    pub until: Option<SystemTime>,
}

/// The audit log, for admins. From [`Client::audit`].
#[derive(Clone, Debug)]
pub struct Audit {
    client: Client,
}

impl Audit {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Entries, the newest first.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`, `INVALID_ARGUMENT`.
    pub fn list(&self, filter: AuditFilter) -> Pages<AuditEvent> {
        let result = match filter.result {
            None | Some(AuditResult::Unknown) => v1::AuditResult::Unspecified,
            Some(AuditResult::Done) => v1::AuditResult::Done,
            Some(AuditResult::Refused) => v1::AuditResult::Refused,
            Some(AuditResult::Failed) => v1::AuditResult::Failed,
        };
        let asked = v1::ListAuditEventsRequest {
            actor: filter.actor.unwrap_or_default(),
            action: filter.action.unwrap_or_default(),
            object: filter.object.unwrap_or_default(),
            result: result.into(),
            start_time: filter.since.map(time_to_wire),
            end_time: filter.until.map(time_to_wire),
            ..Default::default()
        };
        pages(self.client.clone(), move |client, page_token| {
            let request = v1::ListAuditEventsRequest { page_token, ..asked.clone() };
            async move {
                let call = |broker: Transport| {
                    let request = request.clone();
                    async move { broker.audit().list_audit_events(request).await }
                };
                let page = client.unary(call).await?;
                let events = page.events.into_iter().map(AuditEvent::try_from).collect::<Result<_>>()?;
                Ok((events, page.next_page_token))
            }
        })
    }
}

impl TryFrom<v1::AuditEvent> for AuditEvent {
    type Error = Error;

    fn try_from(event: v1::AuditEvent) -> Result<Self> {
        let result = match event.result() {
            v1::AuditResult::Done => AuditResult::Done,
            v1::AuditResult::Refused => AuditResult::Refused,
            v1::AuditResult::Failed => AuditResult::Failed,
            v1::AuditResult::Unspecified => AuditResult::Unknown,
        };
        Ok(Self {
            id: event.id,
            time: time_from_wire(&required(event.time, "event.time")?),
            actor: event.actor,
            actor_email: event.actor_email,
            action: event.action,
            object: event.object,
            detail: event.detail,
            result,
            reason: event.reason,
            address: event.address,
            request_id: event.request_id,
            times: event.times.unsigned_abs(),
        })
    }
}
