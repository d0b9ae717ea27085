//! What a submission asks of the append besides its place in the order: idempotency keys, where the partition must end, and where the
//! last events of keys must stand.
//!
//! The database decides, under the partition's lock. What is remembered here of a key (`known`) is what it said last, and the
//! append compares it once more.

use crate::domain::event::Event;
use crate::domain::fingerprint::{Fingerprint, fingerprint};
use crate::domain::{Applied, Error, Reason};
use std::collections::HashMap;

/// What must hold for events to be appended.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Where the partition must end.
    pub next_offset: Option<i64>,
    pub keys: Vec<ExpectedKey>,
}

/// Where the last event of a key must stand.
#[derive(Clone, Debug)]
pub struct ExpectedKey {
    /// Which of the request's expectations.
    pub index: usize,
    pub key: String,
    /// None: the key must have no event.
    pub last_offset: Option<i64>,
}

/// The terms of one submission.
#[derive(Debug)]
pub struct Terms {
    /// In the order of the events.
    pub keys: Vec<KeyedEvent>,
    pub expected: Expected,
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

/// Terms that do not hold.
#[derive(Debug, Default)]
pub struct Unmet {
    /// Which keys were used for something else.
    pub reused: Vec<usize>,
    /// Where the partition ends, when that was expected elsewhere.
    pub ends_at: Option<i64>,
    /// Which expectations on keys fail, and the offset of the key's last event.
    pub last: Vec<(usize, Option<i64>)>,
}

impl Expected {
    /// Whether nothing is expected.
    pub fn is_empty(&self) -> bool {
        self.next_offset.is_none() && self.keys.is_empty()
    }

    /// Bytes of the keys.
    pub fn bytes(&self) -> usize {
        self.keys.iter().map(|expected| expected.key.len()).sum()
    }
}

impl ExpectedKey {
    fn unlike(&self, last_offset: Option<i64>) -> String {
        let key = &self.key;
        match (last_offset, self.last_offset) {
            (Some(is), Some(expected)) => format!("key `{key}` has its last event at {is}, not at {expected}"),
            (Some(is), None) => format!("key `{key}` has its last event at {is}, and none was expected"),
            (None, Some(expected)) => format!("key `{key}` has no event, and its last was expected at {expected}"),
            (None, None) => format!("key `{key}` has no event"),
        }
    }
}

impl Terms {
    /// The terms of events, if there are any. A key that comes twice with different content is refused here.
    pub fn of(
        events: &[Event],
        expected: Expected,
        indexes: impl FnOnce() -> Option<Vec<u32>>,
    ) -> Result<Option<Box<Self>>, Error> {
        let keyed = events.iter().enumerate().filter_map(|(place, event)| {
            let key = event.idempotency_key.clone()?;
            Some(KeyedEvent { place, key, fingerprint: fingerprint(event), known: None })
        });
        let keys: Vec<KeyedEvent> = keyed.collect();
        if keys.is_empty() && expected.is_empty() {
            return Ok(None);
        }
        let terms = Box::new(Self { keys, expected, indexes: indexes() });
        let mut first: HashMap<&str, &Fingerprint> = HashMap::new();
        let twice = terms
            .keys
            .iter()
            .enumerate()
            .filter(|(_, keyed)| *first.entry(&keyed.key).or_insert(&keyed.fingerprint) != &keyed.fingerprint);
        let reused: Vec<usize> = twice.map(|(index, _)| index).collect();
        if reused.is_empty() {
            return Ok(Some(terms));
        }
        Err(terms.refusal(&Unmet { reused, ..Unmet::default() }))
    }

    /// Whether every one of so many events has been appended before.
    pub fn all_known(&self, events: usize) -> bool {
        self.keys.len() == events && self.keys.iter().all(|keyed| keyed.known.is_some())
    }

    /// Everything that does not hold, in one refusal: keys that were used for something else, where the partition ends when it should
    /// end elsewhere, and where the last events of keys stand when they should stand elsewhere.
    pub fn refusal(&self, unmet: &Unmet) -> Error {
        let path = |index: usize| {
            let place = self.keys[index].place;
            let event = self.indexes.as_ref().map_or(place, |indexes| indexes[place] as usize);
            format!("events[{event}].idempotency_key")
        };
        let last = || unmet.last.iter().map(|(index, is)| (&self.expected.keys[*index], *is));
        let mut error = match (unmet.reused.first(), unmet.ends_at, last().next()) {
            (Some(first), ..) => Error::new(
                Reason::IdempotencyKeyReused,
                format!("`{}` was used for an event that says something else; nothing was applied", path(*first)),
            )
            .fact("reused_keys", unmet.reused.len()),
            (None, None, Some((key, is))) => {
                Error::new(Reason::ExpectationFailed, format!("{}; nothing was applied", key.unlike(is)))
            }
            (None, ends_at, _) => expectation_failed(ends_at.unwrap_or_default()),
        };
        for index in unmet.reused.iter().take(crate::domain::limits::VIOLATIONS_MAX) {
            error = error.violation(path(*index), "was used for an event that says something else");
        }
        if let Some(ends) = unmet.ends_at {
            error = error
                .violation("expected_next_offset", format!("is not {ends}, which is the next offset"))
                .fact("next_offset", ends);
        }
        for (key, is) in last() {
            error = error.violation(format!("expected_keys[{}].last_offset", key.index), key.unlike(is));
        }
        // The usual request expects something of one key, and wants to know no more.
        if let Some((_, Some(is))) = last().next() {
            error = error.fact("last_offset", is);
        }
        error.applied(Applied::No)
    }
}

fn expectation_failed(next: i64) -> Error {
    let message =
        format!("the next offset of the partition is {next}, not the one that is expected; nothing was applied");
    Error::new(Reason::ExpectationFailed, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(key: Option<&str>, payload: &'static str) -> Event {
        Event { idempotency_key: key.map(str::to_owned), payload: payload.into(), ..Event::default() }
    }

    fn at(next_offset: i64) -> Expected {
        Expected { next_offset: Some(next_offset), ..Expected::default() }
    }

    #[test]
    fn events_without_keys_and_conditions_have_no_terms() {
        assert!(Terms::of(&[event(None, "a")], Expected::default(), || None).expect("fine").is_none());
        assert!(Terms::of(&[event(None, "a")], at(0), || None).expect("fine").is_some());
    }

    #[test]
    fn a_key_that_says_two_things_in_one_request_is_refused_by_its_index_there() {
        let events = [event(Some("k"), "a"), event(None, "b"), event(Some("k"), "a"), event(Some("k"), "c")];
        let error = Terms::of(&events, Expected::default(), || Some(vec![4, 5, 6, 9])).expect_err("refused");
        assert_eq!(error.reason(), Reason::IdempotencyKeyReused);
        let fields: Vec<&str> = error.violations().iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["events[9].idempotency_key"]);
        assert_eq!(Terms::of(&events[..3], Expected::default(), || None).expect("fine").expect("terms").keys.len(), 2);
    }

    #[test]
    fn everything_that_does_not_hold_is_said_at_once() {
        let key = |index, key: &str, last_offset| ExpectedKey { index, key: key.into(), last_offset };
        let expected = Expected {
            next_offset: Some(3),
            keys: vec![key(4, "a", Some(1)), key(5, "b", None), key(6, "c", Some(2))],
        };
        let terms = Terms::of(&[event(Some("a"), "1"), event(Some("b"), "2")], expected, || None);
        let terms = terms.expect("fine").expect("terms");
        let fields = |error: &Error| error.violations().iter().map(|v| v.field.clone()).collect::<Vec<_>>();
        let all = terms.refusal(&Unmet { reused: vec![0, 1], ends_at: Some(7), last: vec![(0, Some(2)), (2, None)] });
        let named = [
            "events[0].idempotency_key",
            "events[1].idempotency_key",
            "expected_next_offset",
            "expected_keys[4].last_offset",
            "expected_keys[6].last_offset",
        ];
        assert_eq!((all.reason(), fields(&all)), (Reason::IdempotencyKeyReused, named.map(str::to_owned).to_vec()));
        for fact in [("next_offset", "7".to_owned()), ("last_offset", "2".to_owned())] {
            assert!(all.metadata().contains(&fact), "{all:?}");
        }
        let ends = terms.refusal(&Unmet { ends_at: Some(7), ..Unmet::default() });
        assert_eq!((ends.reason(), fields(&ends).len()), (Reason::ExpectationFailed, 1));
        let last = terms.refusal(&Unmet { last: vec![(1, Some(9))], ..Unmet::default() });
        assert_eq!(last.reason(), Reason::ExpectationFailed);
        assert!(last.message().contains("key `b` has its last event at 9, and none was expected"), "{last:?}");
    }
}
