//! Events that a group gave up on.

use crate::domain::event::Batch;
use crate::domain::ids::GroupName;
use crate::domain::{Error, Reason, Result, limits};
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
    /// The event, alone.
    pub event: Arc<Batch>,
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
    fn a_rate_is_a_distance() {
        assert_eq!(spacing_us("per_second", 0).expect("at once"), 0);
        assert_eq!(spacing_us("per_second", 50).expect("50"), 20_000);
        assert!(spacing_us("per_second", 100_001).is_err());
    }
}
