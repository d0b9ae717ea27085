//! Events that wait in memory for an earlier one of their key, and how those whose turn has come go together. Pure.

use crate::domain::event::{Batch, Encoder};
use crate::domain::position::Fence;
use crate::domain::publisher::Publishers;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An event that waits in memory, as a batch of its own.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub claim: i64,
    pub fence: Fence,
    pub event: Arc<Batch>,
}

impl Waiting {
    /// Whether both can be of one frame, which has one claim and one time of append.
    fn goes_with(&self, other: &Waiting) -> bool {
        let same = |waiting: &Waiting| {
            let event = &waiting.event;
            (waiting.claim, waiting.fence, event.appended_at_us, event.publishers.runs().is_empty())
        };
        same(self) == same(other)
    }
}

/// Events whose turn it is, by offset.
#[derive(Debug, Default)]
pub(super) struct Chosen(BTreeMap<i64, Waiting>);

impl Chosen {
    pub fn add(&mut self, waiting: Waiting) {
        self.0.insert(waiting.event.base_offset, waiting);
    }

    /// The lowest, and those behind it that can go with it, at most so many events and bytes: one at least, if there is one.
    pub fn take(&mut self, (events, bytes): (u64, u64)) -> Vec<Waiting> {
        let mut taken: Vec<Waiting> = Vec::new();
        let mut left = bytes;
        while let Some(next) = self.0.first_entry() {
            let size = next.get().event.encoded.bytes.len() as u64;
            let fits = |first: &Waiting| first.goes_with(next.get()) && (taken.len() as u64) < events && size <= left;
            if !taken.first().is_none_or(fits) {
                break;
            }
            left = left.saturating_sub(size);
            taken.push(next.remove());
        }
        taken
    }
}

/// An event as a batch of its own: what waits does not keep whole batches in memory.
pub(super) fn alone(batch: &Batch, index: usize) -> Arc<Batch> {
    let mut encoder = Encoder::default();
    encoder.extend(&batch.encoded, index..index + 1);
    let mut publishers = Publishers::default();
    batch.publishers.among(&(index..index + 1)).for_each(|(publisher, events)| publishers.push(publisher, events));
    Arc::new(Batch {
        base_offset: batch.base_offset + index as i64,
        appended_at_us: batch.appended_at_us,
        encoded: encoder.finish(),
        publishers,
    })
}

/// A batch, and which of its places hold events; the others are empty. None: all of them.
pub(super) type Picked = (Arc<Batch>, Option<Arc<[u32]>>);

/// Events that can go together, in one batch. None: there are none.
pub(super) fn together(events: &[Arc<Batch>]) -> Option<Picked> {
    let (first, others) = events.split_first()?;
    if others.is_empty() {
        return Some((first.clone(), None));
    }
    let (mut encoder, mut publishers, mut picked) = (Encoder::default(), Publishers::default(), Vec::new());
    for event in events {
        let place = (event.base_offset - first.base_offset) as usize;
        let before = picked.last().map_or(0, |last| *last as usize + 1);
        encoder.leave_out(place - before);
        encoder.extend(&event.encoded, 0..1);
        event
            .publishers
            .runs()
            .iter()
            .for_each(|(publisher, _)| publishers.push(publisher, (place + 1 - before) as u32));
        picked.push(place as u32);
    }
    let batch = Batch {
        base_offset: first.base_offset,
        appended_at_us: first.appended_at_us,
        encoded: encoder.finish(),
        publishers,
    };
    Some((Arc::new(batch), Some(picked.into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Event;

    fn event(offset: i64, appended_at_us: i64, text: &str) -> Arc<Batch> {
        let mut encoder = Encoder::default();
        encoder.push(Event { key: Some(text.into()), ..Event::default() }.fields());
        let mut publishers = Publishers::default();
        publishers.push(&format!("p{}", offset % 2).into(), 1);
        Arc::new(Batch { base_offset: offset, appended_at_us, encoded: encoder.finish(), publishers })
    }

    fn waiting(offset: i64, claim: i64, appended_at_us: i64) -> Waiting {
        let fence = Fence { log_epoch: 0, lease_epoch: claim + 1 };
        Waiting { claim, fence, event: event(offset, appended_at_us, "abc") }
    }

    fn offsets(taken: &[Waiting]) -> Vec<i64> {
        taken.iter().map(|waiting| waiting.event.base_offset).collect()
    }

    #[test]
    fn what_is_of_one_claim_and_one_append_goes_together_in_the_order_of_the_log() {
        let mut chosen = Chosen::default();
        for (offset, claim, at) in [(7, 0, 1), (3, 0, 1), (12, 10, 2), (8, 0, 2), (5, 0, 1), (11, 10, 2)] {
            chosen.add(waiting(offset, claim, at));
        }
        let all = (u64::MAX, u64::MAX);
        assert_eq!(offsets(&chosen.take((2, u64::MAX))), [3, 5], "so many at most");
        assert_eq!(offsets(&chosen.take((9, 1))), [7], "one of any size");
        assert_eq!(offsets(&chosen.take(all)), [8], "appended later");
        assert_eq!(offsets(&chosen.take(all)), [11, 12]);
        assert!(chosen.take(all).is_empty());
    }

    #[test]
    fn a_batch_of_several_has_each_at_its_place_and_nothing_between_them() {
        assert!(together(&[]).is_none());
        let one = event(4, 9, "a");
        let (batch, picked) = together(std::slice::from_ref(&one)).expect("one");
        assert!(Arc::ptr_eq(&batch, &one) && picked.is_none());
        let (batch, picked) = together(&[one, event(5, 9, "b"), event(9, 9, "c")]).expect("three");
        assert_eq!((batch.base_offset, batch.end_offset(), picked.as_deref()), (4, 10, Some([0, 1, 5].as_slice())));
        let key = |place| batch.encoded.view(place).and_then(|event| event.key).map(str::to_owned);
        assert_eq!([0, 1, 5].map(key), ["a", "b", "c"].map(|key| Some(key.to_owned())));
        assert!(batch.encoded.slice(2..5).is_empty());
        let publisher =
            |place: usize| batch.publishers.among(&(place..place + 1)).next().map(|(name, _)| name.to_string());
        assert_eq!([0, 1, 5].map(publisher), ["p0", "p1", "p1"].map(|name| Some(name.to_owned())));
        assert_eq!(batch.publishers.event_count(), batch.event_count());
    }
}
