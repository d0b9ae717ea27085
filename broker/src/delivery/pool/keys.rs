//! Whose turn it is, key by key: one partition of a group that keeps the order of keys. Pure.
//!
//! **Invariant:** of a key at most one event is on its way (chosen to be dealt, or dealt), and it is the lowest that is not done. What
//! stands in `retry` comes before what is in claims, because an event goes there only when it is its key's turn, or behind one that
//! did. Redriven events are out of that order: they only wait until nothing else of their key is on its way.

use crate::delivery::pool::waiting::{Chosen, Waiting};
use crate::domain::reports::HotKey;
use crate::store::dispatch::KeyRow;
use crate::store::outcomes::Key;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// Events of a partition that wait in memory for an earlier one of their key, and bytes of them.
const WAITING_MAX: usize = 10_000;
const WAITING_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What to do with an event that was come to in a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// It is its key's turn.
    Deal,
    /// It waits in memory: [`Keys::wait`].
    Wait,
    /// It goes to `retry`, behind an earlier one of its key.
    Park,
    /// It is there already.
    Done,
    /// So many wait that nothing more is looked at.
    Full,
}

/// An event that is on its way: where it stands, and whether it comes from `retry`.
pub(super) type Way = (i64, bool);

/// What may go on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Freed {
    /// A retry in this pool's hands whose turn it is.
    pub retry: Option<Key>,
    /// The next ones of this key are parked, and may be let go.
    pub unpark: Option<Arc<str>>,
}

#[derive(Debug, Default)]
struct List {
    on_way: Option<Way>,
    waiting: VecDeque<Waiting>,
    /// Events in `retry` that precede what is in claims, and whether they are parked.
    rows: BTreeMap<i64, bool>,
    /// Retries in this pool's hands whose turn has not come.
    taken: BTreeMap<i64, Key>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Those that have something.
    lists: HashMap<Arc<str>, List>,
    on_way: HashMap<Way, Arc<str>>,
    /// Chosen, and in memory.
    pub chosen: Chosen,
    waiting: usize,
    waiting_bytes: u64,
    parked: usize,
    parked_max: usize,
    /// The event for which so much waits that nothing more is looked at.
    full: Option<i64>,
}

impl Keys {
    /// What a partition has in `retry` when it is taken. Also names the keys of which nothing is on its way but parked events.
    pub fn new(rows: Vec<KeyRow>, parked_max: usize) -> (Self, Vec<Arc<str>>) {
        let mut keys = Self { parked_max, ..Self::default() };
        for row in rows {
            keys.parked += usize::from(row.parked);
            keys.lists.entry(row.key).or_default().rows.insert(row.offset, row.parked);
        }
        let stuck = keys.lists.iter().filter(|(_, list)| list.rows.values().all(|parked| *parked));
        let stuck = stuck.map(|(key, _)| key.clone()).collect();
        (keys, stuck)
    }

    /// An event with a key is come to.
    pub fn meet(&mut self, key: &str, offset: i64) -> Met {
        let Some(list) = self.lists.get_mut(key) else {
            let key: Arc<str> = key.into();
            self.on_way.insert((offset, false), key.clone());
            self.lists.insert(key, List { on_way: Some((offset, false)), ..List::default() });
            return Met::Deal;
        };
        if list.on_way == Some((offset, false)) {
            // It came back from a member that has gone.
            return Met::Deal;
        }
        let Some((first, _)) = list.rows.first_key_value() else {
            if self.waiting >= WAITING_MAX || self.waiting_bytes >= WAITING_BYTES_MAX {
                self.full = Some(list.on_way.map_or(offset, |(at, _)| at));
                return Met::Full;
            }
            return Met::Wait;
        };
        if list.rows.contains_key(&offset) {
            return Met::Done;
        }
        if self.parked >= self.parked_max {
            self.full = Some(*first);
            return Met::Full;
        }
        self.parked += 1;
        list.rows.insert(offset, true);
        Met::Park
    }

    /// Keeps an event that was met and waits.
    pub fn wait(&mut self, key: &str, waiting: Waiting) {
        if let Some(list) = self.lists.get_mut(key) {
            self.waiting += 1;
            self.waiting_bytes += waiting.event.memory() as u64;
            list.waiting.push_back(waiting);
        }
    }

    /// An event that was met, and whose turn it is, is not to be delivered yet: it goes to `retry`, and its key waits for it.
    pub fn set_aside(&mut self, offset: i64) {
        let Some(key) = self.on_way.remove(&(offset, false)) else { return };
        if let Some(list) = self.lists.get_mut(&key) {
            list.on_way = None;
            list.rows.insert(offset, false);
        }
    }

    /// A retry came into this pool's hands. Answers the one whose turn it is now.
    pub fn took(&mut self, key: &str, retry: Key, redriven: bool) -> Option<Key> {
        let list = self.lists.entry(key.into()).or_default();
        if !redriven && list.rows.insert(retry.offset, false) == Some(true) {
            self.parked -= 1;
        }
        list.taken.insert(retry.offset, retry);
        let key: Arc<str> = key.into();
        self.choose(&key).retry
    }

    /// An event is done: acknowledged, or given up.
    pub fn settled(&mut self, way: Way) -> Freed {
        let Some(key) = self.on_way.remove(&way) else { return Freed::default() };
        if let Some(list) = self.lists.get_mut(&key) {
            list.on_way = None;
            if way.1 {
                list.rows.remove(&way.0);
            }
        }
        self.choose(&key)
    }

    /// An event failed and is tried again. Answers those that waited behind it in memory: they are to be parked.
    pub fn failed(&mut self, way: Way) -> (Vec<Waiting>, Freed) {
        let Some(key) = self.on_way.remove(&way) else { return (Vec::new(), Freed::default()) };
        let Some(list) = self.lists.get_mut(&key) else { return (Vec::new(), Freed::default()) };
        list.on_way = None;
        let is_redriven = way.1 && !list.rows.contains_key(&way.0);
        let mut parked = Vec::new();
        if !is_redriven {
            list.rows.insert(way.0, false);
            parked.extend(list.waiting.drain(..));
            list.rows.extend(parked.iter().map(|waiting| (waiting.event.base_offset, true)));
        }
        self.parked += parked.len();
        self.waiting -= parked.len();
        self.waiting_bytes -= parked.iter().map(|waiting| waiting.event.memory() as u64).sum::<u64>();
        self.relax();
        (parked, self.choose(&key))
    }

    /// The next event of a key that has nothing on its way.
    fn choose(&mut self, key: &Arc<str>) -> Freed {
        let Some(list) = self.lists.get_mut(key) else { return Freed::default() };
        let mut freed = Freed::default();
        if list.on_way.is_some() {
            return freed;
        }
        let first_row = list.rows.first_key_value().map(|(offset, _)| *offset);
        let redriven = list.taken.keys().find(|offset| !list.rows.contains_key(offset)).copied();
        let next = redriven.or(first_row);
        if let Some(retry) = next.and_then(|offset| list.taken.remove(&offset)) {
            list.on_way = Some((retry.offset, true));
            self.on_way.insert((retry.offset, true), key.clone());
            freed.retry = Some(retry);
        } else if first_row.is_some() {
            // Its first is on the way to another attempt, or all are parked: the database knows.
            freed.unpark = list.taken.is_empty().then(|| key.clone());
        } else if let Some(waiting) = list.waiting.pop_front() {
            self.waiting -= 1;
            self.waiting_bytes -= waiting.event.memory() as u64;
            let way = (waiting.event.base_offset, false);
            list.on_way = Some(way);
            self.on_way.insert(way, key.clone());
            self.chosen.add(waiting);
        } else if list.taken.is_empty() {
            self.lists.remove(key);
        }
        self.relax();
        freed
    }

    /// Goes on looking when a tenth of what waits is gone: not after each event.
    fn relax(&mut self) {
        if self.waiting <= WAITING_MAX / 10 * 9
            && self.waiting_bytes <= WAITING_BYTES_MAX / 10 * 9
            && self.parked <= self.parked_max / 10 * 9
        {
            self.full = None;
        }
    }

    /// An event that is on its way came back, and must be found however much waits for it.
    pub fn look_again(&mut self) {
        self.full = None;
    }

    /// Set when so much waits that nothing more is looked at: for which event.
    pub fn full(&self) -> Option<i64> {
        self.full
    }

    /// The key for which the most events wait.
    pub fn hottest(&self, partition: u32) -> Option<HotKey> {
        let waits = |list: &List| (list.waiting.len() + list.rows.len()) as u64;
        let behind = |list: &List| list.rows.first_key_value().map(|(at, _)| *at).or(list.on_way.map(|(at, _)| at));
        let (key, list) = self.lists.iter().max_by_key(|(_, list)| waits(list))?;
        // The first of them waits for nobody.
        let waiting = waits(list).saturating_sub(u64::from(!list.rows.is_empty()));
        Some(HotKey { partition, key: key.clone(), waiting, behind: behind(list)? }).filter(|hot| hot.waiting > 0)
    }

    /// The event that another one waits for in memory.
    pub fn behind(&self, offset: i64) -> Option<i64> {
        let waits = |list: &&List| list.waiting.iter().any(|waiting| waiting.event.base_offset == offset);
        self.lists.values().find(waits)?.on_way.map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{Batch, Encoder, Event};
    use crate::domain::ids::PartitionId;
    use crate::domain::position::Fence;
    use crate::domain::publisher::Publishers;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn waiting(offset: i64) -> Waiting {
        let mut encoder = Encoder::default();
        encoder.push(Event::default().fields());
        let event = Batch {
            base_offset: offset,
            appended_at_us: 0,
            encoded: encoder.finish(),
            publishers: Publishers::default(),
        };
        Waiting { claim: 0, fence: Fence { log_epoch: 0, lease_epoch: 1 }, event: Arc::new(event) }
    }

    /// Takes everything that is chosen.
    fn take_chosen(keys: &mut Keys) -> Vec<i64> {
        let taken =
            std::iter::from_fn(|| Some(keys.chosen.take((u64::MAX, u64::MAX))).filter(|taken| !taken.is_empty()));
        taken.flatten().map(|waiting| waiting.event.base_offset).collect()
    }

    fn retry(offset: i64) -> Key {
        Key { partition: PartitionId(1), offset, lease_epoch: 1 }
    }

    fn empty() -> Keys {
        Keys::new(Vec::new(), 100).0
    }

    #[test]
    fn a_key_has_one_event_on_its_way_and_others_flow() {
        let mut keys = empty();
        assert_eq!((keys.meet("a", 0), keys.meet("b", 1), keys.meet("a", 2)), (Met::Deal, Met::Deal, Met::Wait));
        keys.wait("a", waiting(2));
        assert_eq!(keys.behind(2), Some(0));
        assert_eq!(keys.settled((1, false)), Freed::default());
        assert!(take_chosen(&mut keys).is_empty());
        keys.settled((0, false));
        assert_eq!(take_chosen(&mut keys), [2]);
        assert_eq!(keys.meet("b", 3), Met::Deal, "its first is done");
    }

    #[test]
    fn what_came_back_is_dealt_again_before_what_waits_behind_it() {
        let mut keys = empty();
        keys.meet("a", 0);
        keys.meet("a", 1);
        keys.wait("a", waiting(1));
        assert_eq!(keys.meet("a", 0), Met::Deal);
        assert!(take_chosen(&mut keys).is_empty());
    }

    #[test]
    fn behind_a_retry_everything_of_the_key_is_parked_and_let_go_in_order() {
        let mut keys = empty();
        keys.meet("a", 0);
        keys.meet("a", 1);
        keys.wait("a", waiting(1));
        let (parked, freed) = keys.failed((0, false));
        assert_eq!(parked.iter().map(|event| event.event.base_offset).collect::<Vec<_>>(), [1]);
        assert_eq!(freed.retry, None);
        assert_eq!((keys.meet("a", 2), keys.meet("a", 2), keys.meet("b", 3)), (Met::Park, Met::Done, Met::Deal));
        assert_eq!(keys.took("a", retry(0), false), Some(retry(0)));
        let freed = keys.settled((0, true));
        assert_eq!((freed.retry, freed.unpark.as_deref()), (None, Some("a")));
        assert_eq!(keys.took("a", retry(2), false), None, "1 comes first");
        assert_eq!(keys.took("a", retry(1), false), Some(retry(1)));
        assert_eq!(keys.settled((1, true)).retry, Some(retry(2)));
        assert_eq!(keys.settled((2, true)), Freed::default());
        assert_eq!(keys.meet("a", 4), Met::Deal);
    }

    #[test]
    fn a_redriven_event_comes_when_nothing_else_of_its_key_is_on_its_way() {
        let mut keys = empty();
        keys.meet("a", 7);
        keys.meet("a", 8);
        keys.wait("a", waiting(8));
        assert_eq!(keys.took("a", retry(3), true), None);
        assert_eq!(keys.settled((7, false)).retry, Some(retry(3)));
        let (parked, _) = keys.failed((3, true));
        assert!(parked.is_empty(), "it holds nothing back while it waits");
        assert_eq!(take_chosen(&mut keys), [8]);
    }

    #[test]
    fn a_redriven_event_and_its_replay_are_never_on_their_way_together() {
        let mut keys = empty();
        assert_eq!(keys.took("a", retry(3), true), Some(retry(3)));
        assert_eq!(keys.meet("a", 3), Met::Wait);
    }

    #[test]
    fn what_stood_in_retry_before_precedes_what_is_claimed() {
        let row = |offset, parked| KeyRow { key: "a".into(), offset, parked };
        let (mut keys, stuck) = Keys::new(vec![row(1, true), row(2, true)], 100);
        assert_eq!(stuck.len(), 1, "nothing would ever let them go");
        assert_eq!(keys.meet("a", 5), Met::Park);
        let (_, stuck) = Keys::new(vec![row(0, false), row(1, true)], 100);
        assert!(stuck.is_empty());
        assert_eq!(keys.hottest(4).map(|hot| (hot.waiting, hot.behind)), Some((2, 1)));
    }

    #[test]
    fn so_many_parked_events_stop_the_partition_until_some_are_done() {
        let mut keys = Keys::new(Vec::new(), 10).0;
        keys.meet("a", 0);
        keys.failed((0, false));
        assert!((1..=10).all(|offset| keys.meet("a", offset) == Met::Park));
        assert_eq!((keys.meet("a", 11), keys.full()), (Met::Full, Some(0)));
        for offset in 0..=1 {
            keys.took("a", retry(offset), false);
            keys.settled((offset, true));
        }
        assert_eq!((keys.full(), keys.meet("a", 11)), (None, Met::Park));
    }

    #[test]
    fn what_came_back_is_found_although_so_much_waits_for_it() {
        let mut keys = empty();
        keys.meet("hot", 0);
        let mut next = 1;
        while keys.meet("hot", next) == Met::Wait {
            keys.wait("hot", waiting(next));
            next += 1;
        }
        assert_eq!(keys.full(), Some(0));
        keys.look_again();
        assert_eq!((keys.full(), keys.meet("hot", 0)), (None, Met::Deal));
    }

    #[test]
    fn a_hot_key_costs_each_event_the_same() {
        const EVENTS: i64 = 200_000;
        let mut keys = empty();
        let (mut next, mut looks) = (0, 0);
        let mut on_way = VecDeque::new();
        for done in 0..EVENTS {
            while next < EVENTS && keys.full().is_none() {
                looks += 1;
                match keys.meet("hot", next) {
                    Met::Deal => on_way.push_back(next),
                    Met::Wait => keys.wait("hot", waiting(next)),
                    _ => break,
                }
                next += 1;
            }
            assert_eq!(on_way.pop_front(), Some(done), "in order, one at a time");
            keys.settled((done, false));
            on_way.extend(take_chosen(&mut keys));
            assert!(next - done <= WAITING_MAX as i64 + 2, "memory is bounded");
        }
        // Each is looked at once, and once more for each time that too much waited.
        assert!(looks <= EVENTS + EVENTS / (WAITING_MAX as i64 / 10) + 1, "{looks} looks");
        assert!(keys.lists.is_empty() && keys.on_way.is_empty());
    }

    proptest! {
        /// Any interleaving of looks, outcomes and retries keeps the order of each key, and ends with everything done.
        #[test]
        fn the_order_of_keys_survives_everything(
            names in proptest::collection::vec(0usize..3, 1..40), steps in proptest::collection::vec((0u8..4, any::<u8>()), 0..200),
        ) {
            let name = |offset: i64| ["a", "b", "c"][names[offset as usize]];
            let mut keys = empty();
            let mut next = 0i64;
            let (mut out, mut rows, mut done) = (BTreeSet::<Way>::new(), BTreeMap::<i64, bool>::new(), Vec::<i64>::new());
            // The wished steps, then until nothing is left.
            let finish = std::iter::repeat_n([(0u8, 0u8), (2, 0), (3, 0)], 200).flatten();
            for (step, pick) in steps.into_iter().chain(finish) {
                let chosen: Option<Way> = out.iter().nth(usize::from(pick) % out.len().max(1)).copied();
                let mut freed = Freed::default();
                match step {
                    0 if (next as usize) < names.len() => {
                        match keys.meet(name(next), next) {
                            Met::Deal => { out.insert((next, false)); }
                            Met::Wait => keys.wait(name(next), waiting(next)),
                            Met::Park => { rows.insert(next, true); }
                            other => prop_assert!(false, "{:?}", other),
                        }
                        next += 1;
                    }
                    1 => if let Some(way) = chosen {
                        out.remove(&way);
                        rows.insert(way.0, false);
                        let (parked, free) = keys.failed(way);
                        rows.extend(parked.iter().map(|event| (event.event.base_offset, true)));
                        freed = free;
                    }
                    2 => if let Some(way) = chosen {
                        out.remove(&way);
                        rows.remove(&way.0);
                        done.push(way.0);
                        freed = keys.settled(way);
                    }
                    _ => {
                        // One that is due and nobody has, the lowest of its key.
                        let due = rows.iter().filter(|(at, parked)| !**parked && !out.contains(&(**at, true)));
                        let due: Vec<i64> = due.map(|(at, _)| *at).collect();
                        if let Some(at) = due.get(usize::from(pick) % due.len().max(1)) {
                            freed.retry = keys.took(name(*at), retry(*at), false);
                        }
                    }
                }
                // The database lets the lowest of a key go when none of it is on its way to another attempt.
                if let Some(key) = freed.unpark {
                    let of_key = |at: &i64| name(*at) == &*key;
                    if !rows.iter().any(|(at, parked)| of_key(at) && !parked)
                        && let Some((_, parked)) = rows.iter_mut().find(|(at, _)| of_key(at)) {
                        *parked = false;
                    }
                }
                out.extend(freed.retry.map(|retry| (retry.offset, true)));
                out.extend(take_chosen(&mut keys).into_iter().map(|offset| (offset, false)));
                let on_way: Vec<&str> = out.iter().map(|(at, _)| name(*at)).collect();
                prop_assert_eq!(on_way.iter().collect::<BTreeSet<_>>().len(), on_way.len(), "one of a key at a time");
            }
            for key in ["a", "b", "c"] {
                let of_key: Vec<i64> = done.iter().copied().filter(|at| name(*at) == key).collect();
                prop_assert!(of_key.is_sorted(), "{:?}", of_key);
            }
            prop_assert_eq!(done.len(), names.len(), "nothing is left behind");
            prop_assert!(keys.lists.is_empty() && keys.on_way.is_empty() && keys.parked == 0 && keys.waiting == 0);
        }
    }
}
