//! What a submission asks of the append besides its place in the order: idempotency keys, and where the partition must end.
//!
//! The database decides, under the partition's lock. What is remembered here of a key (`known`) is what it said last, and the
//! append compares it once more.

use crate::domain::event::Event;
use crate::domain::fingerprint::{Fingerprint, fingerprint};
use crate::domain::{Applied, Error, Reason};
use std::collections::HashMap;

/// The terms of one submission.
#[derive(Debug)]
pub struct Terms {
    /// In the order of the events.
    pub keys: Vec<KeyedEvent>,
    /// Where the partition must end.
    pub expected_next: Option<i64>,
    /// Indexes of the events within the client's request; None: they are their places here.
    indexes: Option<Vec<u32>>,
}

/// An event with an idempotency key.
#[derive(Debug)]
pub struct KeyedEvent {
    /// Which of the submission's events.
    pub place: usize,
    pub key: String,
    pub fingerprint: Fingerprint,
    /// The offset at which the database has it.
    pub known: Option<i64>,
}

impl Terms {
    /// The terms of events, if there are any. A key that comes twice with different content is refused here.
    pub fn of(
        events: &[Event],
        expected_next: Option<i64>,
        indexes: impl FnOnce() -> Option<Vec<u32>>,
    ) -> Result<Option<Box<Self>>, Error> {
        let keyed = events.iter().enumerate().filter_map(|(place, event)| {
            let key = event.idempotency_key.clone()?;
            Some(KeyedEvent { place, key, fingerprint: fingerprint(event), known: None })
        });
        let keys: Vec<KeyedEvent> = keyed.collect();
        if keys.is_empty() && expected_next.is_none() {
            return Ok(None);
        }
        let terms = Box::new(Self { keys, expected_next, indexes: indexes() });
        let mut first: HashMap<&str, &Fingerprint> = HashMap::new();
        let twice = terms
            .keys
            .iter()
            .enumerate()
            .filter(|(_, keyed)| *first.entry(&keyed.key).or_insert(&keyed.fingerprint) != &keyed.fingerprint);
        let twice: Vec<usize> = twice.map(|(index, _)| index).collect();
        if twice.is_empty() { Ok(Some(terms)) } else { Err(terms.refusal(&twice, None)) }
    }

    /// Whether every one of so many events has been appended before.
    pub fn all_known(&self, events: usize) -> bool {
        self.keys.len() == events && self.keys.iter().all(|keyed| keyed.known.is_some())
    }

    /// Everything that does not hold, in one refusal: keys that were used for something else, and where the partition ends when
    /// it should end elsewhere.
    pub fn refusal(&self, reused: &[usize], ends_at: Option<i64>) -> Error {
        let ends = ends_at.filter(|_| self.expected_next.is_some());
        let path = |index: usize| {
            let place = self.keys[index].place;
            let event = self.indexes.as_ref().map_or(place, |indexes| indexes[place] as usize);
            format!("events[{event}].idempotency_key")
        };
        let mut error = match (reused.first(), ends) {
            (Some(first), _) => Error::new(
                Reason::IdempotencyKeyReused,
                format!("`{}` was used for an event that says something else; nothing was applied", path(*first)),
            )
            .fact("reused_keys", reused.len()),
            (None, ends) => expectation_failed(ends.unwrap_or_default()),
        };
        for index in reused.iter().take(crate::domain::limits::VIOLATIONS_MAX) {
            error = error.violation(path(*index), "was used for an event that says something else");
        }
        if let Some(ends) = ends {
            error = error.violation("expected_next_offset", format!("is not {ends}, which is the next offset"));
            if !reused.is_empty() {
                error = error.fact("next_offset", ends);
            }
        }
        error.applied(Applied::No)
    }
}

fn expectation_failed(next: i64) -> Error {
    let message =
        format!("the next offset of the partition is {next}, not the one that is expected; nothing was applied");
    Error::new(Reason::ExpectationFailed, message).fact("next_offset", next)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(key: Option<&str>, payload: &'static str) -> Event {
        Event { idempotency_key: key.map(str::to_owned), payload: payload.into(), ..Event::default() }
    }

    #[test]
    fn events_without_keys_and_conditions_have_no_terms() {
        assert!(Terms::of(&[event(None, "a")], None, || None).expect("fine").is_none());
        assert!(Terms::of(&[event(None, "a")], Some(0), || None).expect("fine").is_some());
    }

    #[test]
    fn a_key_that_says_two_things_in_one_request_is_refused_by_its_index_there() {
        let events = [event(Some("k"), "a"), event(None, "b"), event(Some("k"), "a"), event(Some("k"), "c")];
        let error = Terms::of(&events, None, || Some(vec![4, 5, 6, 9])).expect_err("refused");
        assert_eq!(error.reason(), Reason::IdempotencyKeyReused);
        let fields: Vec<&str> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["events[9].idempotency_key"]);
        assert_eq!(Terms::of(&events[..3], None, || None).expect("fine").expect("terms").keys.len(), 2);
    }

    #[test]
    fn everything_that_does_not_hold_is_said_at_once() {
        let terms = Terms::of(&[event(Some("a"), "1"), event(Some("b"), "2")], Some(3), || None);
        let terms = terms.expect("fine").expect("terms");
        let fields = |error: &Error| error.violations().iter().map(|v| v.field.clone()).collect::<Vec<_>>();
        let both = terms.refusal(&[0, 1], Some(7));
        let named = ["events[0].idempotency_key", "events[1].idempotency_key", "expected_next_offset"];
        assert_eq!((both.reason(), fields(&both)), (Reason::IdempotencyKeyReused, named.map(str::to_owned).to_vec()));
        assert!(both.metadata().contains(&("next_offset", "7".to_owned())));
        assert_eq!(terms.refusal(&[], Some(7)).reason(), Reason::ExpectationFailed);
    }
}
