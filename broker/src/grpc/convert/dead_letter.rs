//! Dead letters.

use crate::catalogue::{DeadLetterChange, DeadLetterEdit, DeadLetterVerb};
use crate::delivery::frame::Delivery;
use crate::domain::dead_letter::{
    DeadLetter, DeadLetterFilter, EventEdit, FailedAttempt, Handled, LastEdit, Redrive, spacing_us,
};
use crate::domain::event::Batch;
use crate::domain::ids::GroupName;
use crate::domain::limits::{DEAD_LETTER_IDS_MAX, ERROR_CLASS_BYTES_MAX, REASON_BYTES_MAX};
use crate::domain::position::{Fence, LogEpoch};
use crate::domain::{Error, Result};
use crate::grpc::convert::delivery::stored;
use crate::grpc::convert::event::event;
use crate::grpc::convert::mask;
use crate::grpc::convert::time::{duration, timestamp, timestamp_us};
use crate::grpc::convert::trace::trace_id;
use eventflow_proto::v1::{self, PayloadView};
use std::sync::Arc;
use uuid::Uuid;

/// Which dead letters.
pub fn filter(ids: Vec<String>, wire: Option<v1::DeadLetterFilter>) -> Result<DeadLetterFilter> {
    if ids.len() > DEAD_LETTER_IDS_MAX {
        return Err(Error::invalid("dead_letter_ids", format!("must be at most {DEAD_LETTER_IDS_MAX}")));
    }
    let wire = wire.unwrap_or_default();
    let text = |field: &str, text: String, bytes_max: usize| {
        if text.len() > bytes_max || text.contains('\0') {
            return Err(Error::invalid(field, format!("must be at most {bytes_max} bytes without NUL")));
        }
        Ok(Some(text).filter(|text| !text.is_empty()))
    };
    let time = |field: &str, time: Option<prost_types::Timestamp>| time.map(|t| timestamp_us(field, &t)).transpose();
    let ids = ids.iter().enumerate().map(|(place, text)| id(&format!("dead_letter_ids[{place}]"), text));
    Ok(DeadLetterFilter {
        ids: ids.collect::<Result<_>>()?,
        error_class: text("filter.error_class", wire.error_class, ERROR_CLASS_BYTES_MAX)?,
        reason_contains: text("filter.reason_contains", wire.reason_contains, REASON_BYTES_MAX)?,
        from: time("filter.from", wire.from)?,
        to: time("filter.to", wire.to)?,
    })
}

pub fn redrive_id(text: &str) -> Result<Uuid> {
    text.parse().map_err(|_| Error::invalid("redrive_id", "must be the id of a redrive, a UUID"))
}

pub fn id(field: &str, text: &str) -> Result<Uuid> {
    text.parse().map_err(|_| Error::invalid(field, "must be the id of a dead letter, a UUID"))
}

/// What an event shall become.
pub fn edit(request: v1::UpdateDeadLetterRequest) -> Result<DeadLetterEdit> {
    let paths = mask::paths(request.update_mask.as_ref(), &EventEdit::FIELDS)?;
    let wire = request.event.ok_or_else(|| Error::invalid("event", "must be set"))?;
    let new = event("event", wire)?;
    let named = |path| paths.contains(&path);
    Ok(DeadLetterEdit {
        group: GroupName::parse("group", &request.group)?,
        id: id("dead_letter_id", &request.dead_letter_id)?,
        edit: EventEdit {
            payload: named("payload").then_some(new.payload),
            headers: named("headers").then_some(new.headers),
            content_type: named("content_type").then_some(new.content_type),
        },
    })
}

pub fn redrive(request: v1::RedriveDeadLettersRequest) -> Result<DeadLetterChange> {
    Ok(DeadLetterChange {
        group: GroupName::parse("group", &request.group)?,
        filter: filter(request.dead_letter_ids, request.filter)?,
        verb: DeadLetterVerb::Redrive { spacing_us: spacing_us("per_second", request.per_second)? },
        validate_only: request.validate_only,
    })
}

pub fn discard(request: v1::DiscardDeadLettersRequest) -> Result<DeadLetterChange> {
    Ok(DeadLetterChange {
        group: GroupName::parse("group", &request.group)?,
        filter: filter(request.dead_letter_ids, request.filter)?,
        verb: DeadLetterVerb::Discard,
        validate_only: request.validate_only,
    })
}

pub fn page(group: &GroupName, (letters, next_page_token): (Vec<DeadLetter>, String)) -> v1::ListDeadLettersResponse {
    let dead_letters = letters.into_iter().map(|letter| dead_letter(group, letter, PayloadView::Bytes)).collect();
    v1::ListDeadLettersResponse { dead_letters, next_page_token }
}

pub fn dead_letter(group: &GroupName, letter: DeadLetter, payloads: PayloadView) -> v1::DeadLetterEvent {
    let partition = letter.partition;
    let event = alone(partition, letter.event, payloads);
    let headers = event.as_ref().and_then(|stored| stored.event.as_ref()).map_or(&[][..], |event| &event.headers);
    let published = trace_id(headers).unwrap_or_default();
    v1::DeadLetterEvent {
        dead_letter_id: letter.id.to_string(),
        group: group.as_str().to_owned(),
        attempts: letter.attempts,
        reason: letter.reason,
        error_class: letter.error_class,
        dead_time: Some(timestamp(letter.dead_at)),
        history: letter.history.into_iter().map(|failed| attempt(failed, published)).collect(),
        event,
        edit: letter.edit.map(|edit| v1::DeadLetterEdit {
            original: edit.original.clone().and_then(|original| alone(partition, original, payloads)?.event),
            ..last_edit(&edit)
        }),
    }
}

/// The one event of a batch, with its position.
fn alone(partition: u32, batch: Arc<Batch>, payloads: PayloadView) -> Option<v1::StoredEvent> {
    let fence = Fence { log_epoch: LogEpoch::of(batch.base_offset).0, lease_epoch: 0 };
    stored(&Delivery { partition, fence, batch, events: 0..1, picked: None }, payloads).pop()
}

/// An edit without the original.
fn last_edit(edit: &LastEdit) -> v1::DeadLetterEdit {
    v1::DeadLetterEdit {
        editor: edit.editor.clone(),
        edit_time: Some(timestamp(edit.at)),
        changed_fields: edit.changed.clone(),
        original: None,
    }
}

/// With the trace of the publish where the member said nothing.
fn attempt(attempt: FailedAttempt, published: &str) -> v1::FailedAttempt {
    let trace_id = if attempt.trace_id.is_empty() { published.to_owned() } else { attempt.trace_id };
    v1::FailedAttempt {
        attempt: attempt.attempt,
        time: Some(timestamp(attempt.at)),
        member: attempt.member,
        reason: attempt.reason,
        error_class: attempt.error_class,
        duration: Some(duration(attempt.duration_ms * 1_000)),
        trace_id,
    }
}

impl From<&DeadLetter> for v1::UpdateDeadLetterResponse {
    fn from(letter: &DeadLetter) -> Self {
        Self { edit: letter.edit.as_ref().map(last_edit) }
    }
}

impl From<&Handled> for v1::RedriveDeadLettersResponse {
    fn from(handled: &Handled) -> Self {
        let redrive_id = handled.redrive.map(|id| id.to_string()).unwrap_or_default();
        Self { dead_letters: handled.dead_letters, more: handled.more, redrive_id }
    }
}

impl From<&Redrive> for v1::Redrive {
    fn from(redrive: &Redrive) -> Self {
        Self {
            redrive_id: redrive.id.to_string(),
            actor: redrive.actor.clone(),
            start_time: Some(timestamp(redrive.started_at)),
            events: redrive.events,
            waiting_events: redrive.waiting,
            retrying_events: redrive.retrying,
            dead_letters: redrive.died,
            cancelled_events: redrive.cancelled,
            done_events: redrive.done(),
            cancel_time: redrive.cancelled_at.map(timestamp),
            last_due_time: Some(timestamp(redrive.last_due_at)),
        }
    }
}

impl From<&Redrive> for v1::CancelRedriveResponse {
    fn from(redrive: &Redrive) -> Self {
        Self { redrive: Some(redrive.into()) }
    }
}

impl From<&Handled> for v1::DiscardDeadLettersResponse {
    fn from(handled: &Handled) -> Self {
        Self { dead_letters: handled.dead_letters, more: handled.more }
    }
}
