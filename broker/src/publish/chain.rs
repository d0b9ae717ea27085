//! Order on a publish stream after a refusal.
//!
//! Requests of a stream are pipelined, so that later ones are under way when an earlier one is refused. They must not be
//! appended: a later request of the stream, of the same producer and to the same partition, fails with `PRECEDING_FAILED` until
//! one arrives that starts at the refused first sequence, or, without a producer, one marked `after_refusal`. Producers that
//! share a stream do not wait for one another.
//!
//! Where the broker chooses partitions, requests that it sent by an old routing version are sent again, in their order. A
//! request by a newer version waits until they are settled, so that it does not overtake them.

use crate::domain::ids::{PartitionId, StreamId};
use crate::domain::{Applied, Error, Reason, Result};
use crate::publish::plan::Work;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use uuid::Uuid;

/// The state of one publish stream, shared with the lanes. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    blocked: Arc<Mutex<HashMap<Place, Block>>>,
    /// The routing version by which the newest request of each stream went.
    routes: Arc<Mutex<HashMap<StreamId, i64>>>,
    /// Counts requests that are queued and not settled.
    unsettled: TaskTracker,
}

/// Order is kept by partition and producer; events without a producer are one.
type Place = (PartitionId, Option<Uuid>);

fn place(work: &Work) -> Place {
    (work.partition, work.producer.map(|producer| producer.id))
}

/// What would lift a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    /// A request that starts at this sequence.
    Sequence(i64),
    /// A request that says it knows.
    Acknowledgement,
}

impl Chain {
    /// Lets in a request whose partitions the broker chooses; the token lives until it is settled. Called for one request after
    /// the other, in their order.
    pub async fn enter(&self, stream: StreamId, routing_version: i64) -> TaskTrackerToken {
        let before = lock(&self.routes).insert(stream, routing_version);
        if before.is_some_and(|before| before != routing_version) {
            self.unsettled.close();
            self.unsettled.wait().await;
            self.unsettled.reopen();
        }
        self.unsettled.token()
    }

    /// Something of this stream was refused: what follows at its place is refused too. The first refusal counts.
    pub fn block(&self, work: &Work) {
        let block = work.producer.map_or(Block::Acknowledgement, |producer| Block::Sequence(producer.first_sequence));
        lock(&self.blocked).entry(place(work)).or_insert(block);
    }

    /// Called by the lane for every submission in its order: lifts the block when this is the one that is waited for, and refuses
    /// it when it stands behind a refusal.
    pub fn admit(&self, work: &Work) -> Result<()> {
        let mut blocked = lock(&self.blocked);
        let Some(block) = blocked.get(&place(work)).copied() else {
            return Ok(());
        };
        let first_sequence = work.producer.map(|producer| producer.first_sequence);
        let lifted = match (block, first_sequence) {
            (Block::Sequence(waited), Some(sequence)) => waited == sequence,
            (Block::Acknowledgement, None) => work.after_refusal,
            _ => false,
        };
        if lifted {
            blocked.remove(&place(work));
            return Ok(());
        }
        let error = Error::new(
            Reason::PrecedingFailed,
            "an earlier request of this publish stream and producer to the same partition was refused; nothing was applied",
        )
        .applied(Applied::No);
        Err(match block {
            Block::Sequence(sequence) => error.fact("expected_sequence", sequence),
            Block::Acknowledgement => error.fact("expected", "after_refusal"),
        })
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::Encoded;
    use crate::domain::ids::OrganizationId;
    use crate::publish::plan::Producer;

    fn work(partition: i64, first_sequence: Option<i64>, after_refusal: bool) -> Work {
        Work {
            organization: OrganizationId(1),
            partition: PartitionId(partition),
            producer: first_sequence.map(|first_sequence| Producer { id: Uuid::nil(), epoch: 0, first_sequence }),
            publisher: "key:one".into(),
            routing_version: 0,
            events: Vec::new(),
            encoded: Encoded::default(),
            alone: false,
            after_refusal,
            terms: None,
        }
    }

    fn of_another(mut work: Work) -> Work {
        work.producer = work.producer.map(|producer| Producer { id: Uuid::max(), ..producer });
        work
    }

    #[test]
    fn what_stands_behind_a_refusal_waits_for_the_refused_sequence() {
        let chain = Chain::default();
        chain.block(&work(1, Some(5), false));
        chain.block(&work(1, Some(9), false));
        let refusal = chain.admit(&work(1, Some(9), false)).expect_err("behind");
        assert_eq!(refusal.reason(), Reason::PrecedingFailed);
        assert!(refusal.metadata().contains(&("expected_sequence", "5".to_owned())));
        chain.admit(&work(2, Some(9), false)).expect("another partition");
        chain.admit(&of_another(work(1, Some(9), false))).expect("another producer");
        chain.admit(&work(1, Some(5), false)).expect("the one that is waited for");
        chain.admit(&work(1, Some(9), false)).expect("lifted");
    }

    #[tokio::test]
    async fn a_newer_routing_version_waits_for_what_went_by_the_older_one() {
        let chain = Chain::default();
        let first = chain.enter(StreamId(1), 1).await;
        let second = chain.enter(StreamId(1), 1).await;
        let mut newer = Box::pin(chain.enter(StreamId(1), 2));
        assert!(futures_util::poll!(&mut newer).is_pending());
        drop(first);
        assert!(futures_util::poll!(&mut newer).is_pending(), "one is left");
        drop(second);
        let _newer = newer.await;
        drop(chain.enter(StreamId(1), 2).await);
    }

    #[test]
    fn without_a_producer_the_client_must_say_that_it_knows() {
        let chain = Chain::default();
        chain.block(&work(1, None, false));
        assert!(chain.admit(&work(1, None, false)).is_err());
        chain.admit(&work(1, None, true)).expect("it knows");
        chain.admit(&work(1, None, false)).expect("lifted");
    }
}
