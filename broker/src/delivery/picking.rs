//! Filters of deliveries: which events of a batch go, and what becomes of progress over the others.

use crate::delivery::frame::{Delivery, Frame};
use crate::delivery::held::{InPlace, State};
use crate::delivery::session::{Done, Session};
use crate::domain::event::Batch;
use crate::domain::filter::Filter;
use crate::domain::ranges::Ranges;
use crate::store::progress::Progress;
use crate::telemetry::metrics;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

/// Events that are looked at before others get their turn: a filter may have to parse each of them.
pub const LOOKS_MAX: usize = 1_024;

/// What was found from a place on.
#[derive(Debug, PartialEq, Eq)]
pub struct Picked {
    /// What was looked at.
    pub looked: Range<usize>,
    /// What matches of it, ascending.
    pub matching: Vec<u32>,
}

impl Picked {
    /// The offsets of what does not match.
    pub fn passed(&self, base_offset: i64) -> Ranges {
        let mut passed = Ranges::default();
        let mut next = self.looked.start as i64;
        for index in self.matching.iter().map(|index| i64::from(*index)) {
            passed.add(base_offset + next..base_offset + index);
            next = index + 1;
        }
        passed.add(base_offset + next..base_offset + self.looked.end as i64);
        passed
    }

    /// As a delivery carries it: None when everything matches.
    pub fn picked(self) -> Option<Arc<[u32]>> {
        (self.matching.len() < self.looked.len()).then(|| self.matching.into())
    }
}

/// Looks from `start` on, before `until`, for events that match: at most so many events and bytes of them, but one at least if one
/// is there.
pub fn pick(batch: &Batch, start: usize, until: usize, (events, bytes): (u64, u64), filter: &Filter) -> Picked {
    let mut matching = Vec::new();
    let (mut found_bytes, mut index) = (0u64, start);
    let until = until.min(batch.event_count()).min(start.saturating_add(LOOKS_MAX));
    while index < until {
        // What does not decode is shown rather than hidden.
        if batch.encoded.view(index).is_none_or(|event| filter.matches(&event)) {
            let size = u64::from(batch.encoded.ends[index] - batch.encoded.start_of(index));
            let full = matching.len() as u64 >= events || found_bytes + size > bytes;
            if full && !matching.is_empty() {
                break;
            }
            found_bytes += size;
            matching.push(index as u32);
        }
        index += 1;
    }
    Picked { looked: start..index, matching }
}

/// Which events of a batch go: from `next` on, as many as there is room for, at least one.
pub(super) fn cut(batch: &Batch, next: i64, (events, bytes): (u64, u64)) -> Range<usize> {
    let start = (next - batch.base_offset).max(0) as usize;
    let mut end = batch.event_count().min(start.saturating_add(events.try_into().unwrap_or(usize::MAX)));
    let size = |end: usize| u64::from(batch.encoded.start_of(end) - batch.encoded.start_of(start));
    if bytes < size(end) {
        let over = batch.encoded.ends[start..end]
            .partition_point(|event_end| u64::from(event_end - batch.encoded.start_of(start)) <= bytes);
        end = start + over.max(1);
    }
    start..end
}

/// What a session knows of its group's filter.
#[derive(Debug, Default)]
pub(super) struct Filtering {
    /// As the newest snapshot has it. None: every event matches.
    pub filter: Option<Filter>,
    /// Whether there was one since the session began.
    has_filtered: bool,
    /// Events that were looked at since the loop last heard what else there is.
    pub looked: usize,
}

impl Filtering {
    pub(super) fn set(&mut self, filter: Option<&Filter>) {
        self.filter = filter.cloned();
        self.has_filtered |= self.filter.is_some();
    }
}

impl Session {
    /// Sends of a batch what matches and has room. True: something was sent or passed over.
    pub(super) fn send(&mut self, index: u32, batch: Arc<Batch>) -> bool {
        let Ok(permit) = self.frames.try_reserve() else {
            self.blocked.get_or_insert_with(Instant::now);
            return false;
        };
        let Some(held) = self.held.get_mut(&index) else { return false };
        let start = held.source.next();
        let (events, picked) = match &self.filtering.filter {
            None => (cut(&batch, start, self.window.room()), None),
            Some(filter) => {
                let first = (start - batch.base_offset).max(0) as usize;
                let found = pick(&batch, first, usize::MAX, self.window.room(), filter);
                self.filtering.looked += found.looked.len();
                held.passed.add_all(&found.passed(batch.base_offset));
                if found.matching.is_empty() {
                    held.source.advance(batch.base_offset + found.looked.end as i64);
                    return true;
                }
                (found.looked.clone(), found.picked())
            }
        };
        let delivery = Delivery { partition: index, fence: held.fence, batch, events, picked };
        let (base, next, bytes) = (delivery.base_offset(), delivery.next_offset(), delivery.bytes());
        let count = delivery.event_count() as u64;
        held.source.advance(next);
        self.window.sent(index, base, delivery.end_offset(), count, bytes as u64);
        let metrics = metrics::get();
        metrics.deliveries.increment(count);
        metrics.delivery_bytes.increment(bytes as u64);
        tracing::trace!(partition = index, base, next, bytes, "delivery");
        permit.send(Ok(Frame::Batch(delivery)));
        true
    }

    /// Writes progress over what does not match the filter, where everything that was delivered is done: nobody else would, and the
    /// next holder would look through it again.
    pub(super) fn commit_skipped(&mut self) {
        if !self.filtering.has_filtered || !self.parts.trust.holds() {
            return;
        }
        for held in self.held.values_mut() {
            let next_offset = held.source.next();
            // An event in place is passed by its own call.
            let holds = matches!(held.state, State::Flowing | State::Draining { .. }) && held.in_place == InPlace::No;
            if !holds || held.skipping || held.committed >= next_offset || !self.window.is_done(held.index) {
                continue;
            }
            held.skipping = true;
            let progress = Progress {
                organization: self.group.organization,
                group: self.group.id,
                partition: held.source.partition(),
                session: self.id,
                fence: held.fence,
                next_offset,
            };
            self.commits_under_way += 1;
            let (partition, fence, write) = (held.index, held.fence, self.parts.commits.clone().write(progress));
            self.work.push(Box::pin(async move { Done::Passed { partition, fence, outcome: write.await } }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{Encoder, Event};
    use crate::domain::publisher::Publishers;

    fn batch(kinds: &[&str]) -> Batch {
        let mut encoder = Encoder::default();
        for kind in kinds {
            encoder.push(Event { kind: (*kind).to_owned(), ..Event::default() }.fields());
        }
        let publishers = Publishers::default();
        Batch { base_offset: 100, appended_at_us: 0, encoded: encoder.finish(), publishers }
    }

    fn picked(kinds: &[&str], start: usize, until: usize, room: (u64, u64)) -> (Range<usize>, Vec<u32>) {
        let filter = Filter::parse("filter", "type == \"a\"").expect("parses").expect("a filter");
        let picked = pick(&batch(kinds), start, until, room, &filter);
        (picked.looked, picked.matching)
    }

    #[test]
    fn what_matches_is_picked_within_its_bounds_and_room() {
        let kinds = ["a", "b", "a", "b", "a", "b"];
        let all = (u64::MAX, u64::MAX);
        assert_eq!(picked(&kinds, 0, 6, all), (0..6, vec![0, 2, 4]));
        assert_eq!(picked(&kinds, 1, 4, all), (1..4, vec![2]));
        assert_eq!(picked(&kinds, 5, 6, all), (5..6, vec![]));
        // It stops before the first that has no room, and goes over what does not match.
        assert_eq!(picked(&kinds, 0, 6, (2, u64::MAX)), (0..4, vec![0, 2]));
        assert_eq!(picked(&kinds, 0, 6, (9, 1)), (0..2, vec![0]));
        assert_eq!(picked(&kinds, 0, 6, (0, 0)), (0..2, vec![0]), "one goes whatever its size");
    }

    #[test]
    fn what_is_passed_is_all_that_does_not_match() {
        let passed = |kinds: &[&str]| {
            let filter = Filter::parse("filter", "type == \"a\"").expect("parses").expect("a filter");
            let picked = pick(&batch(kinds), 0, kinds.len(), (u64::MAX, u64::MAX), &filter);
            picked.passed(100).to_string()
        };
        assert_eq!(passed(&["b", "a", "b", "b", "a"]), "{[100,101),[102,104)}");
        assert_eq!(passed(&["a", "a"]), "{}");
        assert_eq!(passed(&["b", "b"]), "{[100,102)}");
    }

    #[test]
    fn a_look_ends_so_that_others_get_their_turn() {
        let kinds = vec!["b"; 3 * LOOKS_MAX];
        assert_eq!(picked(&kinds, 7, kinds.len(), (1, 1)), (7..7 + LOOKS_MAX, vec![]));
    }
}
