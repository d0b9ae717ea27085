//! Events that a group gave up on.

use crate::domain::event::{Batch, Event};
use crate::domain::ids::{GroupName, StreamName};
use crate::domain::{Applied, Error, Reason, Result, limits};
use bytes::Bytes;
use std::sync::Arc;
use uuid::Uuid;

/// An event that a group gave up on, with its history.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    pub id: Uuid,
    pub partition: u32,
    pub attempts: u32,
    pub reason: String,
    pub error_class: String,
    /// Microseconds since 1970, database time.
    pub dead_at: i64,
    pub history: Vec<FailedAttempt>,
    /// The event, alone; as it was edited.
    pub event: Arc<Batch>,
    /// None: the event is as it was appended.
    pub edit: Option<LastEdit>,
}

/// What became of an event by edits.
#[derive(Clone, Debug)]
pub struct LastEdit {
    pub editor: String,
    /// Microseconds since 1970, database time.
    pub at: i64,
    /// What differs from the original, of [`EventEdit::FIELDS`].
    pub changed: Vec<String>,
    /// The event as it was appended, alone; not in lists.
    pub original: Option<Arc<Batch>>,
}

/// What an edit puts into an event; what is not set stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventEdit {
    pub payload: Option<Bytes>,
    /// As an event keeps them; `Some(None)` leaves it without headers.
    pub headers: Option<Option<String>>,
    pub content_type: Option<String>,
}

impl EventEdit {
    /// What an edit can change, as its mask names it.
    pub const FIELDS: [&str; 3] = ["payload", "headers", "content_type"];

    /// What it sets.
    pub fn sets(&self) -> Vec<&'static str> {
        let set = [self.payload.is_some(), self.headers.is_some(), self.content_type.is_some()];
        Self::FIELDS.into_iter().zip(set).filter_map(|(field, set)| set.then_some(field)).collect()
    }

    /// The event as it will be, no larger than its stream allows: a redriven event is delivered like any other.
    pub fn applied(&self, event: Event, stream: &StreamName, bytes_max: usize) -> Result<Event> {
        let edited = Event {
            payload: self.payload.clone().unwrap_or(event.payload),
            headers: self.headers.clone().unwrap_or(event.headers),
            content_type: self.content_type.clone().unwrap_or(event.content_type),
            ..event
        };
        let bytes = edited.size();
        if bytes <= bytes_max {
            return Ok(edited);
        }
        let message = format!("`event` would have {bytes} bytes, stream `{stream}` allows {bytes_max}");
        Err(Error::new(Reason::EventTooLarge, message)
            .fact("event_bytes", bytes)
            .fact("event_bytes_max", bytes_max)
            .violation("event", format!("at most {bytes_max} bytes with key, headers and all"))
            .applied(Applied::No))
    }
}

/// One attempt that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailedAttempt {
    pub attempt: u32,
    /// Microseconds since 1970, database time.
    pub at: i64,
    pub member: String,
    pub reason: String,
    pub error_class: String,
    pub duration_ms: i64,
    /// Of the trace in which it failed; empty: the member did not say.
    pub trace_id: String,
}

/// Which dead letters; what is not set does not narrow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    pub ids: Vec<Uuid>,
    pub error_class: Option<String>,
    pub reason_contains: Option<String>,
    /// Microseconds since 1970.
    pub from: Option<i64>,
    pub to: Option<i64>,
}

/// Dead letters that something was done with, or would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handled {
    pub dead_letters: i64,
    pub more: bool,
    /// With which redrive they went back; None: with none.
    pub redrive: Option<Uuid>,
}

/// Dead letters that were given back at one time, and how far that is. What is in none of the counts is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redrive {
    pub id: Uuid,
    pub actor: String,
    /// Times are microseconds since 1970, database time.
    pub started_at: i64,
    pub events: i64,
    /// No member has been given them.
    pub waiting: i64,
    /// With a member, or failed and waiting for another attempt.
    pub retrying: i64,
    /// Dead letters again.
    pub died: i64,
    /// Dead letters as they were before, because it was cancelled.
    pub cancelled: i64,
    pub cancelled_at: Option<i64>,
    /// When the last of them is due.
    pub last_due_at: i64,
}

impl Redrive {
    /// Events that were processed, or that nobody is to process any more: a seek moved past them, or another redrive had them.
    pub fn done(&self) -> i64 {
        (self.events - self.waiting - self.retrying - self.died - self.cancelled).max(0)
    }
}

/// A place in the list, as a page token keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub dead_at: i64,
    pub id: Uuid,
}

impl Place {
    pub fn to_text(self) -> String {
        format!("{}:{}", self.dead_at, self.id)
    }

    /// The reverse; a token is sealed, so only we write this.
    pub fn parse(text: &str) -> Option<Self> {
        let (dead_at, id) = text.split_once(':')?;
        Some(Self { dead_at: dead_at.parse().ok()?, id: id.parse().ok()? })
    }
}

/// How far apart redriven events fall due, in microseconds: `per_second` of them; 0 is all at once.
pub fn spacing_us(field: &str, per_second: u32) -> Result<i64> {
    let max = limits::REDRIVE_PER_SECOND_MAX;
    match per_second {
        0 => Ok(0),
        _ if per_second > max => Err(Error::invalid(field, format!("must be at most {max}"))),
        _ => Ok(i64::from(1_000_000 / per_second)),
    }
}

pub fn dead_letter_not_found(group: &GroupName, id: Uuid) -> Error {
    let message = format!(
        "consumer group `{group}` has no dead letter `{id}`; it may have been redriven or discarded: list what there is"
    );
    Error::new(Reason::DeadLetterNotFound, message).fact("group", group).fact("dead_letter_id", id)
}

pub fn redrive_not_found(group: &GroupName, id: Uuid) -> Error {
    let message = format!("consumer group `{group}` has no redrive `{id}`: list them; the newest 100 are kept");
    Error::new(Reason::RedriveNotFound, message).fact("group", group).fact("redrive_id", id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_token() {
        let place = Place { dead_at: -7, id: Uuid::new_v4() };
        assert_eq!(Place::parse(&place.to_text()), Some(place));
        assert_eq!(Place::parse("x"), None);
    }

    #[test]
    fn an_edit_changes_what_it_sets_and_keeps_to_the_streams_limit() {
        let stream = StreamName::parse("name", "orders").expect("valid");
        let event =
            Event { key: Some("k".into()), headers: Some("{}".into()), payload: "old".into(), ..Event::default() };
        let edit = EventEdit { payload: Some("newer".into()), headers: Some(None), content_type: None };
        assert_eq!(edit.sets(), ["payload", "headers"]);
        let edited = edit.applied(event.clone(), &stream, 6).expect("fits: a key of 1 byte and a payload of 5");
        assert_eq!(edited, Event { key: Some("k".into()), payload: "newer".into(), ..Event::default() });
        let refused = edit.applied(event.clone(), &stream, 5).expect_err("a byte too many");
        assert_eq!((refused.reason(), refused.violations()[0].field.as_str()), (Reason::EventTooLarge, "event"));
        assert_eq!(EventEdit::default().applied(event.clone(), &stream, 100).expect("fits"), event);
    }

    #[test]
    fn a_rate_is_a_distance() {
        assert_eq!(spacing_us("per_second", 0).expect("at once"), 0);
        assert_eq!(spacing_us("per_second", 50).expect("50"), 20_000);
        assert!(spacing_us("per_second", 100_001).is_err());
    }
}
