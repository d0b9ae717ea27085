//! The window of a subscription: what is delivered and not yet committed, in events and bytes. Pure.

use std::collections::{HashMap, VecDeque};

/// Counts what is on its way, partition by partition.
#[derive(Debug)]
pub struct Window {
    events_max: u64,
    bytes_max: u64,
    /// What goes together at most.
    batch: (u64, u64),
    events: u64,
    bytes: u64,
    partitions: HashMap<u32, VecDeque<Sent>>,
}

/// Consecutive events that were delivered together.
#[derive(Clone, Copy, Debug)]
struct Sent {
    base: i64,
    end: i64,
    /// Fewer than offsets when some between them do not match a filter.
    events: u64,
    bytes: u64,
}

impl Window {
    pub fn new(events_max: u32, bytes_max: u64) -> Self {
        let batch = (u64::MAX, u64::MAX);
        Self { events_max: u64::from(events_max), bytes_max, batch, events: 0, bytes: 0, partitions: HashMap::new() }
    }

    /// So many events and bytes go together at most.
    pub fn in_batches(self, batch: (u64, u64)) -> Self {
        Self { batch, ..self }
    }

    /// How many events may go now, and how many bytes. An empty window lets one batch through, whatever its bytes.
    pub fn room(&self) -> (u64, u64) {
        let events = self.events_max.saturating_sub(self.events);
        let bytes = if self.events == 0 { u64::MAX } else { self.bytes_max.saturating_sub(self.bytes) };
        (events.min(self.batch.0), bytes.min(self.batch.1))
    }

    pub fn is_open(&self) -> bool {
        let (events, bytes) = self.room();
        events > 0 && bytes > 0
    }

    /// So many events of a partition were delivered, the first at `base`, the last before `end`.
    pub fn sent(&mut self, partition: u32, base: i64, end: i64, events: u64, bytes: u64) {
        self.events += events;
        self.bytes += bytes;
        self.partitions.entry(partition).or_default().push_back(Sent { base, end, events, bytes });
    }

    /// Whether everything that was delivered of a partition is done.
    pub fn is_done(&self, partition: u32) -> bool {
        self.partitions.get(&partition).is_none_or(VecDeque::is_empty)
    }

    /// Everything of a partition below `offset` is done.
    pub fn committed(&mut self, partition: u32, offset: i64) {
        let Some(sent) = self.partitions.get_mut(&partition) else { return };
        while let Some(first) = sent.front_mut() {
            if first.base >= offset {
                break;
            }
            let is_contiguous = first.events == (first.end - first.base) as u64;
            if offset < first.end && !is_contiguous {
                // Which of them are done is not known here: they are given back together.
                break;
            }
            let done = if is_contiguous { (offset.min(first.end) - first.base) as u64 } else { first.events };
            self.events -= done;
            first.events -= done;
            first.base = offset.min(first.end);
            if first.base < first.end {
                break;
            }
            // Bytes are given back when all that was delivered together is done.
            self.bytes -= first.bytes;
            sent.pop_front();
        }
    }

    /// A partition went away or was moved: what was delivered of it no longer counts.
    pub fn forget(&mut self, partition: u32) {
        for sent in self.partitions.remove(&partition).into_iter().flatten() {
            self.events -= sent.events;
            self.bytes -= sent.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_window_closes_and_opens_with_commits() {
        let mut window = Window::new(10, 1_000);
        assert!(window.is_open());
        window.sent(0, 0, 10, 10, 100);
        assert!(!window.is_open());
        window.committed(0, 4);
        assert_eq!(window.room(), (4, 900));
        window.committed(0, 3);
        assert_eq!(window.room(), (4, 900), "a commit below changes nothing");
        window.committed(0, 10);
        assert_eq!(window.room(), (10, u64::MAX));
    }

    #[test]
    fn a_batch_larger_than_the_window_in_bytes_goes_alone() {
        let mut window = Window::new(10, 10);
        window.sent(0, 0, 1, 1, 5_000);
        assert!(!window.is_open());
        window.forget(0);
        assert!(window.is_open());
    }

    proptest! {
        #[test]
        fn what_is_committed_or_forgotten_always_comes_back(
            steps in proptest::collection::vec((0u32..4, 1i64..20, 0i64..100, 1i64..4), 0..60),
        ) {
            let mut window = Window::new(1_000_000, 1 << 40);
            let mut next = [0i64; 4];
            for (partition, count, commit, share) in steps {
                let base = next[partition as usize];
                let events = (count / share).max(1) as u64;
                window.sent(partition, base, base + count, events, count as u64 * 7);
                next[partition as usize] = base + count;
                window.committed(partition, commit.min(base + count));
            }
            (0..4).for_each(|partition| window.committed(partition, next[partition as usize]));
            prop_assert_eq!(window.room(), (1_000_000, u64::MAX));
            prop_assert_eq!(window.bytes, 0);
            prop_assert!((0..4).all(|partition| window.is_done(partition)));
        }
    }
}
