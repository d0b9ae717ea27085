//! Looking through a claim for what may be dealt: what the filter lets through, what is not delayed, and where keys are in order,
//! whose turn it is. Pure.

use crate::delivery::picking::LOOKS_MAX;
use crate::delivery::pool::claims::Found;
use crate::delivery::pool::keys::{Keys, Met};
use crate::delivery::pool::waiting::{Waiting, alone};
use crate::domain::event::Batch;
use crate::domain::event_view::EventView;
use crate::domain::filter::Filter;
use crate::domain::position::Fence;
use crate::domain::ranges::Ranges;
use std::ops::Range;
use std::sync::Arc;

/// What is looked at, and how many events and bytes of it may be dealt.
pub(super) struct Bounds {
    pub claim: i64,
    pub fence: Fence,
    pub events: Range<usize>,
    pub room: (u64, u64),
}

/// Looks until the room is full, and one event at least is found if one is there. None: nothing may be looked at.
pub(super) fn scan(
    batch: Arc<Batch>,
    bounds: &Bounds,
    filter: Option<&Filter>,
    mut keys: Option<&mut Keys>,
) -> Option<Found> {
    let (claim, fence, room) = (bounds.claim, bounds.fence, bounds.room);
    let start = bounds.events.start;
    let until = bounds.events.end.min(batch.event_count()).min(start.saturating_add(LOOKS_MAX));
    let (mut passed, mut asides, mut picked) = (Ranges::default(), Vec::new(), Vec::new());
    let (mut bytes, mut index) = (0u64, start);
    while index < until {
        let offset = batch.base_offset + index as i64;
        let view = batch.encoded.view(index);
        // What does not decode is shown rather than hidden.
        if let (Some(filter), Some(event)) = (filter, &view)
            && !filter.matches(event)
        {
            passed.add(offset..offset + 1);
            index += 1;
            continue;
        }
        let size = u64::from(batch.encoded.ends[index] - batch.encoded.start_of(index));
        if !picked.is_empty() && (picked.len() as u64 >= room.0 || bytes + size > room.1) {
            break;
        }
        let key = view.as_ref().and_then(|event| event.key);
        let due_at = view.as_ref().and_then(|event| due_at(event, &batch));
        match (key, &mut keys) {
            (Some(key), Some(keys)) => match keys.meet(key, offset) {
                Met::Deal if due_at.is_some() => {
                    keys.set_aside(offset);
                    asides.push((offset, due_at));
                }
                Met::Deal => picked.push(index as u32),
                Met::Wait => keys.wait(key, Waiting { claim, fence, event: alone(&batch, index) }),
                Met::Park => asides.push((offset, None)),
                Met::Done => passed.add(offset..offset + 1),
                Met::Full => break,
            },
            _ if due_at.is_some() => asides.push((offset, due_at)),
            _ => picked.push(index as u32),
        }
        bytes += if picked.last() == Some(&(index as u32)) { size } else { 0 };
        index += 1;
    }
    let looked = start..index;
    let picked = (picked.len() < looked.len()).then(|| picked.into());
    (!looked.is_empty()).then_some(Found { claim, fence, batch, looked, picked, passed, asides })
}

/// When an event is due that was published for later, by the times that are kept of it: such an event goes to `retry`, where the
/// database's clock decides.
pub(super) fn due_at(event: &EventView<'_>, batch: &Batch) -> Option<i64> {
    event.deliver_at_us.filter(|at| *at > batch.appended_at_us)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{DELIVER_AT, Encoder, Event, headers_text};
    use crate::domain::publisher::Publishers;

    const ALL: (u64, u64) = (u64::MAX, u64::MAX);

    /// Events of keys, `-` is none, of types `a` and `b` in turns.
    fn batch(keys: &[&str]) -> Arc<Batch> {
        let mut encoder = Encoder::default();
        for (place, key) in keys.iter().enumerate() {
            let key = (*key != "-").then(|| (*key).to_owned());
            let kind = ["a", "b"][place % 2].to_owned();
            encoder.push(Event { kind, key, ..Event::default() }.fields());
        }
        Arc::new(Batch {
            base_offset: 100,
            appended_at_us: 0,
            encoded: encoder.finish(),
            publishers: Publishers::default(),
        })
    }

    fn bounds(events: Range<usize>, room: (u64, u64)) -> Bounds {
        Bounds { claim: 100, fence: Fence { log_epoch: 0, lease_epoch: 1 }, events, room }
    }

    fn dealt(found: &Found) -> Vec<usize> {
        let all = || found.looked.clone().collect();
        found.picked.as_ref().map_or_else(all, |picked| picked.iter().map(|index| *index as usize).collect())
    }

    #[test]
    fn one_of_each_key_is_dealt_and_those_without_one_all() {
        let mut keys = Keys::new(Vec::new(), 10).0;
        let found = scan(batch(&["x", "x", "-", "y", "-", "y"]), &bounds(0..6, ALL), None, Some(&mut keys));
        let found = found.expect("something");
        assert_eq!((dealt(&found), found.looked.clone()), (vec![0, 2, 3, 4], 0..6));
        assert!(found.passed.is_empty() && found.asides.is_empty());
        keys.failed((100, false));
        keys.settled((103, false));
        let next = keys.chosen.take(ALL).pop().expect("the next of `y`");
        assert_eq!((next.event.base_offset, next.event.encoded.view(0).and_then(|event| event.key)), (105, Some("y")));
        let found = scan(batch(&["x", "x"]), &bounds(1..2, ALL), None, Some(&mut keys)).expect("a look");
        assert_eq!((dealt(&found).len(), found.passed.to_string()), (0, "{[101,102)}".to_owned()), "parked before");
    }

    #[test]
    fn what_the_filter_leaves_out_holds_no_key_up() {
        let filter = Filter::parse("filter", "type == \"b\"").expect("parses").expect("a filter");
        let mut keys = Keys::new(Vec::new(), 10).0;
        let found = scan(batch(&["x", "x", "x"]), &bounds(0..3, ALL), Some(&filter), Some(&mut keys)).expect("a look");
        assert_eq!((dealt(&found), found.passed.to_string()), (vec![1], "{[100,101),[102,103)}".to_owned()));
    }

    #[test]
    fn what_was_published_for_later_is_set_aside_and_holds_its_key_back() {
        let mut encoder = Encoder::default();
        for (key, at) in [("x", "9"), ("x", "0"), ("y", "5")] {
            let headers = std::collections::BTreeMap::from([(DELIVER_AT.to_owned(), at.to_owned())]);
            encoder.push(Event { key: Some(key.into()), headers: headers_text(&headers), ..Event::default() }.fields());
        }
        let encoded = encoder.finish();
        let batch = Arc::new(Batch { encoded, appended_at_us: 5, ..(*batch(&[])).clone() });
        let mut keys = Keys::new(Vec::new(), 10).0;
        let found = scan(batch.clone(), &bounds(0..3, ALL), None, Some(&mut keys)).expect("a look");
        assert_eq!((dealt(&found), found.asides), (vec![2], vec![(100, Some(9)), (101, None)]));
        let found = scan(batch, &bounds(0..3, ALL), None, None).expect("a look");
        assert_eq!(
            (dealt(&found), found.asides),
            (vec![1, 2], vec![(100, Some(9))]),
            "without an order it holds nothing"
        );
    }

    #[test]
    fn a_look_stops_when_the_room_is_full_and_leaves_the_rest_unmet() {
        let mut keys = Keys::new(Vec::new(), 10).0;
        let batch = batch(&["x", "y", "z"]);
        let found = scan(batch.clone(), &bounds(0..3, (2, u64::MAX)), None, Some(&mut keys)).expect("a look");
        assert_eq!(dealt(&found), [0, 1]);
        let found = scan(batch.clone(), &bounds(2..3, (1, 1)), None, Some(&mut keys)).expect("one of any size");
        assert_eq!(dealt(&found), [2]);
        assert!(scan(batch, &bounds(3..3, ALL), None, None).is_none());
    }
}
