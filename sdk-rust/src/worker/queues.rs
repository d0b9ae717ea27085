//! What a membership holds: everything delivered and not settled, and in an ordered group the order of each partition. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{outbox::Which, shared::Waiting};

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Queues {
    held: BTreeSet<Which>,
    /// In an ordered group: by partition.
    orders: BTreeMap<u32, Order>,
}

#[derive(Debug, Default)]
struct Order {
    waiting: VecDeque<Waiting>,
    /// The event in the application's hands; nothing else of the partition is given out.
    out: Option<Which>,
}

impl Queues {
    /// Events that may be given out at once, in any order.
    pub(super) fn free(&mut self, waiting: Vec<Waiting>) -> Vec<Waiting> {
        self.held.extend(waiting.iter().map(|waiting| waiting.which));
        waiting
    }

    /// Events that stand in order. Gives those that may be given out.
    pub(super) fn in_order(&mut self, waiting: Vec<Waiting>) -> Option<Waiting> {
        let partition = waiting.first()?.which.partition;
        self.held.extend(waiting.iter().map(|waiting| waiting.which));
        let order = self.orders.entry(partition).or_default();
        order.waiting.extend(waiting);
        order.next()
    }

    /// An event was settled. Gives the next one of its partition, unless a failure holds the partition until it is moved.
    pub(super) fn settled(&mut self, which: &Which, holds: bool) -> Option<Waiting> {
        self.held.remove(which);
        let order = self.orders.get_mut(&which.partition).filter(|order| order.out == Some(*which))?;
        if holds {
            return None;
        }
        order.out = None;
        order.next()
    }

    /// What was delivered of a partition is void.
    pub(super) fn forget(&mut self, partition: u32) {
        self.orders.remove(&partition);
        self.held.retain(|which| which.partition != partition);
    }

    /// Everything that is held, in order.
    pub(super) fn held(&self) -> impl Iterator<Item = Which> + '_ {
        self.held.iter().copied()
    }

    pub(super) fn holds(&self, which: &Which) -> bool {
        self.held.contains(which)
    }
}

impl Order {
    fn next(&mut self) -> Option<Waiting> {
        if self.out.is_some() {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.out = Some(next.which);
        Some(next)
    }
}
