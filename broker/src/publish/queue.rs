//! What waits for a lane's next flush, shared fairly among organizations. Pure.
//!
//! Each organization has its own first-in first-out queue, so that the order within a partition is kept (a partition belongs to
//! one organization). A flush gives every waiting organization the same share of its bytes; what one does not use goes to the
//! others.

use crate::domain::ids::{OrganizationId, PartitionId};
use crate::publish::plan::Work;
use std::collections::{HashSet, VecDeque};

/// The queue of a lane.
#[derive(Debug)]
pub struct FairQueue<T> {
    organizations: VecDeque<(OrganizationId, VecDeque<T>)>,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { organizations: VecDeque::new() }
    }
}

impl<T: AsRef<Work>> FairQueue<T> {
    pub fn is_empty(&self) -> bool {
        self.organizations.is_empty()
    }

    pub fn push(&mut self, item: T) {
        self.of(item.as_ref().organization).push_back(item);
    }

    /// Puts items back ahead of everything newer, in their order.
    pub fn push_front(&mut self, items: Vec<T>) {
        for item in items.into_iter().rev() {
            self.of(item.as_ref().organization).push_front(item);
        }
    }

    fn of(&mut self, organization: OrganizationId) -> &mut VecDeque<T> {
        let place = self.organizations.iter().position(|(id, _)| *id == organization).unwrap_or_else(|| {
            self.organizations.push_back((organization, VecDeque::new()));
            self.organizations.len() - 1
        });
        &mut self.organizations[place].1
    }

    /// Takes about `bytes_max` bytes of items, at most `items_max`; at least one when anything can be taken. Items of `parked`
    /// partitions stay, in their order.
    pub fn take(&mut self, bytes_max: usize, items_max: usize, parked: &HashSet<PartitionId>) -> Vec<T> {
        let mut taken = Vec::new();
        let mut left = bytes_max;
        loop {
            let mut waiting = self.organizations.iter().filter(|(_, queue)| !queue.is_empty()).count();
            let mut progress = false;
            for place in 0..self.organizations.len() {
                if self.organizations[place].1.is_empty() {
                    continue;
                }
                let share = left / waiting.max(1);
                waiting -= 1;
                let used = Self::take_share(&mut self.organizations[place].1, share, items_max, parked, &mut taken);
                progress |= used > 0;
                left = left.saturating_sub(used);
            }
            if !progress || left == 0 || taken.len() >= items_max {
                break;
            }
        }
        self.organizations.retain(|(_, queue)| !queue.is_empty());
        // Whoever was first goes last next time, so that rounding favours nobody.
        self.organizations.rotate_left(usize::from(self.organizations.len() > 1));
        taken
    }

    fn take_share(
        queue: &mut VecDeque<T>,
        share: usize,
        items_max: usize,
        parked: &HashSet<PartitionId>,
        taken: &mut Vec<T>,
    ) -> usize {
        let mut used = 0;
        let mut place = 0;
        while place < queue.len() && taken.len() < items_max {
            let work = queue[place].as_ref();
            if parked.contains(&work.partition) {
                place += 1;
                continue;
            }
            let bytes = work.bytes().max(1);
            // One item always goes, however large: an event may be larger than a share.
            if used + bytes > share && !taken.is_empty() {
                break;
            }
            used += bytes;
            taken.extend(queue.remove(place));
        }
        used
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Encoder;
    use bytes::Bytes;

    impl AsRef<Work> for Work {
        fn as_ref(&self) -> &Work {
            self
        }
    }

    fn work(organization: i64, partition: i64, bytes: usize) -> Work {
        let event = crate::domain::event::Event { payload: Bytes::from(vec![1; bytes]), ..Default::default() };
        let mut encoder = Encoder::default();
        encoder.push(event.fields());
        Work {
            organization: OrganizationId(organization),
            partition: PartitionId(partition),
            producer: None,
            publisher: "key:one".into(),
            routing_version: 0,
            events: vec![event],
            encoded: encoder.finish(),
            alone: false,
            after_refusal: false,
            terms: None,
        }
    }

    fn partitions(works: &[Work]) -> Vec<i64> {
        works.iter().map(|work| work.partition.0).collect()
    }

    #[test]
    fn a_flood_of_one_organization_leaves_room_for_the_others() {
        let mut queue = FairQueue::default();
        (0..100).for_each(|_| queue.push(work(1, 10, 1_000)));
        queue.push(work(2, 20, 1_000));
        let taken = queue.take(10_000, 1_000, &HashSet::new());
        assert!(partitions(&taken).contains(&20));
        assert!(taken.len() >= 9, "unused shares go to the others: {}", taken.len());
    }

    #[test]
    fn parked_partitions_stay_in_order_and_hold_nobody_up() {
        let mut queue = FairQueue::default();
        [10, 11, 10, 12].into_iter().for_each(|partition| queue.push(work(1, partition, 10)));
        let taken = queue.take(10_000, 1_000, &HashSet::from([PartitionId(10)]));
        assert_eq!(partitions(&taken), [11, 12]);
        assert_eq!(partitions(&queue.take(10_000, 1_000, &HashSet::new())), [10, 10]);
        assert!(queue.is_empty());
    }

    #[test]
    fn what_is_put_back_stands_ahead_of_everything_newer() {
        let mut queue = FairQueue::default();
        queue.push(work(1, 3, 10));
        queue.push_front(vec![work(1, 1, 10), work(1, 2, 10)]);
        assert_eq!(partitions(&queue.take(10_000, 1_000, &HashSet::new())), [1, 2, 3]);
    }

    #[test]
    fn an_event_larger_than_a_flush_still_goes() {
        let mut queue = FairQueue::default();
        queue.push(work(1, 1, 5_000));
        assert_eq!(queue.take(100, 10, &HashSet::new()).len(), 1);
    }
}
