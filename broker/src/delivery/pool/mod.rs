//! Pools: how the members of a group at one broker share events that each of them settles by itself.
//!
//! A pool is one task a group and broker. In a shared group it claims blocks of offsets, hands their events out, and takes those
//! that failed before as they fall due; in an ordered group that skips failed events it does only the latter. It holds what it has
//! claimed under lease epochs, so that two brokers never hand out the same offset; what it knows beside that (who has what, and
//! until when) is memory: a broker that dies loses it, and its claims go to others, uncounted.
//!
//! **Invariants:** an event that was claimed is in flight, waits to be dealt, or is done; an outcome is answered after it is durable;
//! a failed event becomes a retry or a dead letter in the transaction that marks it as done.

mod by_key;
mod claims;
mod dealing;
mod desk;
mod gathered;
mod holding;
mod keys;
mod looks;
mod pace;
mod scan;
mod sieve;
mod task;
mod waiting;
mod writing;

use crate::delivery::control::{EventOutcome, OutcomeFailure};
use crate::delivery::frame::Frame;
use crate::delivery::{Deliveries, Subscription};
use crate::domain::Result;
use crate::domain::group::{ConsumerGroup, DeliveryMode};
use crate::domain::ids::{GroupId, PartitionId};
use crate::runtime::Kind;
use crate::tail::Waker;
use desk::SeatId;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use task::PoolTask;
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument;
use uuid::Uuid;

/// Messages that wait for a pool; whoever has more waits.
const INBOX: usize = 1_024;
/// Frames that wait for a session; a pool passes over a seat whose frames are not taken.
const DEALS: usize = 16;

/// The pools of this broker. Cheap to clone.
#[derive(Clone, Default)]
pub struct Pools(Arc<PoolMap>);

/// By group and incarnation of the broker, since what another incarnation held is fenced; and by the settings that a pool keeps as it
/// began, so that who joins after a change of the group does not sit down with those of before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct PoolKey {
    group: GroupId,
    incarnation: Uuid,
    ack_timeout_ms: i64,
    /// Initial and longest back-off, bits of the multiplier, attempts.
    retry: (i64, i64, u64, u32),
}

impl PoolKey {
    fn new(group: &ConsumerGroup, incarnation: Uuid) -> Self {
        let retry = &group.retry;
        let retry = (retry.initial_ms, retry.max_ms, retry.multiplier.to_bits(), retry.max_attempts);
        Self { group: group.id, incarnation, ack_timeout_ms: group.ack_timeout_ms, retry }
    }
}

/// How a pool is spoken to.
#[derive(Clone)]
struct Way {
    messages: mpsc::Sender<Message>,
    /// A seat that was passed over has room for frames again.
    waker: Waker,
}

#[derive(Default)]
struct PoolMap {
    pools: Mutex<HashMap<PoolKey, Way>>,
    seats: AtomicU64,
}

/// Who sits down, and with what window.
#[derive(Clone, Debug)]
pub struct Sitting {
    pub member: Arc<str>,
    pub window_events: u64,
    pub window_bytes: u64,
    /// Events and bytes of one frame at most.
    pub batch: (u64, u64),
}

/// What a pool knows of an event.
#[derive(Clone, Debug)]
pub struct Known {
    /// A member has it.
    pub flight: Option<Flying>,
    /// Members here, and how many events they have room for.
    pub members: u64,
    pub room: u64,
    /// Where keys are in order: the event that it waits for.
    pub behind: Option<i64>,
    /// So much waits for this event that nothing behind it is looked at.
    pub full: Option<i64>,
}

impl Known {
    /// With what another pool of the same group knows.
    fn and(self, other: Self) -> Self {
        Self {
            flight: self.flight.or(other.flight),
            members: self.members + other.members,
            room: self.room + other.room,
            behind: self.behind.or(other.behind),
            full: self.full.or(other.full),
        }
    }
}

/// An event that a member has; times are milliseconds since boot.
#[derive(Clone, Debug)]
pub struct Flying {
    pub member: Arc<str>,
    /// When it left the broker, and by when it must be settled. None: it has not left.
    pub since_ms: Option<u64>,
    pub until_ms: Option<u64>,
}

/// A session's place in a pool. Dropped, it counts as a lost stream.
pub struct Seat {
    id: SeatId,
    pool: Way,
    deals: mpsc::Receiver<Result<Frame>>,
}

/// How a member goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Going {
    /// Its unsettled events go to others, uncounted.
    Uncounted,
    /// Its stream was lost: what had left the broker counts as a failed attempt.
    Lost,
}

enum Message {
    Sit {
        seat: SeatId,
        sitting: Sitting,
        deals: mpsc::Sender<Result<Frame>>,
    },
    Outcomes {
        seat: SeatId,
        outcomes: Vec<EventOutcome>,
        reply: oneshot::Sender<Vec<OutcomeFailure>>,
    },
    /// In an ordered group: the member gets retries of the partitions that it holds.
    Holds {
        seat: SeatId,
        partitions: BTreeMap<u32, PartitionId>,
    },
    /// Who has an event?
    Ask {
        partition: u32,
        offset: i64,
        reply: oneshot::Sender<Known>,
    },
    Leave {
        seat: SeatId,
        going: Going,
    },
}

impl Pools {
    /// A place for a member that settles events one by one: in shared groups, and in those that skip what fails.
    pub async fn place(
        &self,
        parts: &Deliveries,
        group: &Arc<ConsumerGroup>,
        member: &str,
        subscription: &Subscription,
    ) -> Option<Seat> {
        // In an ordered group only who asks for it pays for looking.
        if group.mode == DeliveryMode::Ordered && !subscription.redeliveries {
            return None;
        }
        let (window_events, window_bytes) = (subscription.window_events.into(), subscription.window_bytes);
        let batch = subscription.batch;
        Some(self.sit(parts, group, Sitting { member: member.into(), window_events, window_bytes, batch }).await)
    }

    /// Sits a session down, at a pool that is made when there is none.
    async fn sit(&self, parts: &Deliveries, group: &Arc<ConsumerGroup>, sitting: Sitting) -> Seat {
        let id = SeatId(self.0.seats.fetch_add(1, Ordering::Relaxed));
        let (sender, deals) = mpsc::channel(DEALS);
        loop {
            let pool = self.pool(parts, group);
            let message = Message::Sit { seat: id, sitting: sitting.clone(), deals: sender.clone() };
            // A pool that ended at this moment is followed by another.
            if pool.messages.send(message).await.is_ok() {
                return Seat { id, pool, deals };
            }
        }
    }

    fn pool(&self, parts: &Deliveries, group: &Arc<ConsumerGroup>) -> Way {
        let key = PoolKey::new(group, parts.trust.incarnation());
        let mut pools = self.lock();
        if let Some(pool) = pools.get(&key).filter(|pool| !pool.messages.is_closed()) {
            return pool.clone();
        }
        let (messages, inbox) = mpsc::channel(INBOX);
        let task = PoolTask::new(parts.clone(), group.clone(), key.incarnation, inbox);
        let pool = Way { messages, waker: task.waker.clone() };
        pools.insert(key, pool.clone());
        let span = tracing::debug_span!("pool", group = %group.name);
        let (pools, ended) = (self.clone(), pool.messages.clone());
        let run = async move {
            let outcome = task.run(&pools, key).await;
            pools.remove(key, &ended);
            outcome
        };
        parts.tasks.spawn(Kind::Session, run.instrument(span));
        pool
    }

    /// What the group's pools at this broker know; None: there is none.
    pub async fn ask(&self, group: GroupId, incarnation: Uuid, partition: u32, offset: i64) -> Option<Known> {
        let is_its = |key: &PoolKey| (key.group, key.incarnation) == (group, incarnation);
        let pools: Vec<mpsc::Sender<Message>> =
            self.lock().iter().filter(|(key, _)| is_its(key)).map(|(_, pool)| pool.messages.clone()).collect();
        let mut known: Option<Known> = None;
        for pool in pools {
            let (reply, answer) = oneshot::channel();
            if pool.send(Message::Ask { partition, offset, reply }).await.is_err() {
                continue;
            }
            if let Ok(more) = answer.await {
                known = Some(known.map_or(more.clone(), |known| known.and(more)));
            }
        }
        known
    }

    fn remove(&self, key: PoolKey, pool: &mpsc::Sender<Message>) {
        let mut pools = self.lock();
        if pools.get(&key).is_some_and(|known| known.messages.same_channel(pool)) {
            pools.remove(&key);
        }
    }

    /// Closes an inbox when it is empty. False: somebody sat down meanwhile.
    fn close(&self, key: PoolKey, inbox: &mut mpsc::Receiver<Message>) -> bool {
        let mut pools = self.lock();
        if !inbox.is_empty() {
            return false;
        }
        inbox.close();
        pools.remove(&key);
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PoolKey, Way>> {
        self.0.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// The next frame for the member; None: the pool has ended. Cancel-safe.
    pub async fn deal(&mut self) -> Option<Result<Frame>> {
        let frame = self.deals.recv().await;
        // A pool that found no room for frames goes on before the last one is taken.
        if self.deals.len() == DEALS / 2 {
            self.pool.waker.notify_one();
        }
        frame
    }

    /// Settles events; the answer comes when it is durable.
    pub async fn settle(&self, outcomes: Vec<EventOutcome>, reply: oneshot::Sender<Vec<OutcomeFailure>>) {
        // A pool that has ended drops the reply, and the session ends too.
        let _ = self.pool.messages.send(Message::Outcomes { seat: self.id, outcomes, reply }).await;
    }

    /// The member holds these partitions now.
    pub async fn holds(&self, partitions: BTreeMap<u32, PartitionId>) {
        let _ = self.pool.messages.send(Message::Holds { seat: self.id, partitions }).await;
    }

    pub async fn leave(self, going: Going) {
        let _ = self.pool.messages.send(Message::Leave { seat: self.id, going }).await;
    }
}
