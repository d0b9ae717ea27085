//! The cache of one partition, and the reader's hold on it.

use super::{Tail, Waker, lock};
use crate::domain::event::Batch;
use crate::domain::ids::PartitionId;
use crate::domain::position::{LogEpoch, follows};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// Consecutive batches, newest last, bounded in bytes.
pub(super) struct Cache {
    batches: VecDeque<Arc<Batch>>,
    /// Where the next batch must start; None: unknown.
    end: Option<i64>,
    bytes: usize,
    wakers: Vec<Waker>,
}

/// What the cache has for a position.
#[derive(Debug)]
pub enum Found {
    /// Batches from the position on: the first holds it.
    Batches(Vec<Arc<Batch>>),
    /// The position is the end: park, and be woken.
    AtEnd,
    /// Read the log: the position is older than the cache, or the cache does not know.
    Behind,
}

impl Cache {
    pub(super) fn new() -> Self {
        Self { batches: VecDeque::new(), end: None, bytes: 0, wakers: Vec::new() }
    }

    pub(super) fn register(&mut self, waker: &Waker) {
        self.wakers.push(waker.clone());
    }

    /// True when nobody is left.
    pub(super) fn unregister(&mut self, waker: &Waker) -> bool {
        if let Some(place) = self.wakers.iter().position(|known| Arc::ptr_eq(known, waker)) {
            self.wakers.swap_remove(place);
        }
        self.wakers.is_empty()
    }

    pub(super) fn end(&self) -> Option<i64> {
        self.end
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes a batch that was appended. False: it does not follow, so the gap must be read from the log first. Also across the end of
    /// a log epoch: only the log knows whether the cache's end is still the end of that epoch.
    pub(super) fn append(&mut self, batch: Arc<Batch>, bytes_max: usize) -> bool {
        let same_life = self.end.is_some_and(|end| LogEpoch::of(end) == LogEpoch::of(batch.base_offset));
        same_life && self.push(batch, bytes_max)
    }

    /// False: it does not follow. A batch that is known already is no gap.
    fn push(&mut self, batch: Arc<Batch>, bytes_max: usize) -> bool {
        let Some(end) = self.end else { return false };
        if batch.end_offset() <= end {
            return true;
        }
        if !follows(end, batch.base_offset) {
            return false;
        }
        self.end = Some(batch.end_offset());
        self.bytes += batch.memory();
        self.batches.push_back(batch);
        while self.bytes > bytes_max && self.batches.len() > 1 {
            if let Some(old) = self.batches.pop_front() {
                self.bytes -= old.memory();
            }
        }
        self.wake();
        true
    }

    pub(super) fn refill(&mut self, from: i64, batches: Vec<Arc<Batch>>, head: i64, bytes_max: usize) {
        if self.end.is_none_or(|end| end < from) {
            // What lies between was not read: start anew.
            self.batches.clear();
            self.bytes = 0;
            self.end = Some(from);
        }
        for batch in batches {
            self.push(batch, bytes_max);
        }
        // Nothing lies between the last row and the head that the same read saw (a jump to a later log epoch).
        if self.end.is_some_and(|end| end < head && follows(end, head)) {
            self.end = Some(head);
        }
        self.wake();
    }

    pub(super) fn clear(&mut self) {
        self.batches.clear();
        self.bytes = 0;
        self.end = None;
        self.wake();
    }

    fn wake(&self) {
        self.wakers.iter().for_each(|waker| waker.notify_one());
    }

    /// Batches from `position` on, at most `batches_max`.
    fn find(&self, position: i64, batches_max: usize) -> Found {
        let Some(end) = self.end else { return Found::Behind };
        if position >= end {
            return if position == end { Found::AtEnd } else { Found::Behind };
        }
        let first = self.batches.partition_point(|batch| batch.end_offset() <= position);
        match self.batches.get(first) {
            Some(batch) if batch.base_offset <= position => {
                Found::Batches(self.batches.range(first..).take(batches_max).cloned().collect())
            }
            _ => Found::Behind,
        }
    }
}

/// A reader's hold on a partition: as long as it lives, the partition is watched and the reader is woken.
pub struct Watch {
    partition: PartitionId,
    cache: Arc<Mutex<Cache>>,
    waker: Waker,
    tail: Tail,
}

impl Watch {
    pub(super) fn new(partition: PartitionId, cache: Arc<Mutex<Cache>>, waker: Waker, tail: Tail) -> Self {
        Self { partition, cache, waker, tail }
    }

    pub fn find(&self, position: i64, batches_max: usize) -> Found {
        lock(&self.cache).find(position, batches_max)
    }

    /// A read of the log saw nothing at or above `position` below `head`: the cache may start there.
    pub fn learn(&self, position: i64, head: i64) {
        lock(&self.cache).refill(position, Vec::new(), head, 0);
    }

    /// The end of the cache: the head as this broker knows it.
    pub fn end(&self) -> Option<i64> {
        lock(&self.cache).end()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.tail.unwatch(self.partition, &self.waker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::{Encoder, Fields};
    use crate::domain::position::LogEpoch;
    use crate::domain::publisher::Publishers;

    const MAX: usize = 1_000;

    fn batch(base_offset: i64, events: usize) -> Arc<Batch> {
        let mut encoder = Encoder::default();
        (0..events).for_each(|_| encoder.push(Fields { payload: &[0; 100], ..Fields::default() }));
        Arc::new(Batch { base_offset, appended_at_us: 0, encoded: encoder.finish(), publishers: Publishers::default() })
    }

    fn bases(found: Found) -> Vec<i64> {
        match found {
            Found::Batches(batches) => batches.iter().map(|batch| batch.base_offset).collect(),
            Found::AtEnd => vec![-1],
            Found::Behind => vec![-2],
        }
    }

    #[test]
    fn a_batch_enters_only_at_the_end() {
        let mut cache = Cache::new();
        assert!(!cache.push(batch(0, 1), MAX), "an empty cache knows no end");
        cache.refill(5, vec![batch(5, 2)], 7, MAX);
        assert!(!cache.push(batch(8, 1), MAX), "a gap");
        assert!(cache.push(batch(5, 1), MAX), "known already");
        assert!(cache.push(batch(7, 1), MAX));
        assert_eq!(bases(cache.find(6, 10)), [5, 7]);
        assert_eq!(bases(cache.find(8, 10)), [-1]);
        assert_eq!(bases(cache.find(4, 10)), [-2]);
    }

    #[test]
    fn old_batches_make_room_but_the_newest_stays() {
        let mut cache = Cache::new();
        cache.refill(0, vec![], 0, MAX);
        (0..100).for_each(|n| assert!(cache.push(batch(n * 5, 5), MAX)));
        assert!(cache.bytes() <= 1_000);
        assert_eq!(bases(cache.find(495, 10)), [495]);
        assert_eq!(bases(cache.find(0, 10)), [-2]);
    }

    #[test]
    fn a_jump_to_a_later_log_epoch_is_no_gap() {
        let mut cache = Cache::new();
        let epoch_1 = LogEpoch(1).first_offset();
        cache.refill(0, vec![batch(0, 3)], epoch_1, MAX);
        assert_eq!(cache.end(), Some(epoch_1));
        assert!(cache.push(batch(epoch_1, 1), MAX));
        assert_eq!(bases(cache.find(epoch_1, 10)), [epoch_1]);
    }

    #[test]
    fn a_gap_that_was_not_read_starts_the_cache_anew() {
        let mut cache = Cache::new();
        cache.refill(0, vec![batch(0, 3)], 3, MAX);
        cache.refill(100, vec![batch(100, 1)], 101, MAX);
        assert_eq!(bases(cache.find(0, 10)), [-2]);
        assert_eq!(bases(cache.find(100, 10)), [100]);
    }
}
