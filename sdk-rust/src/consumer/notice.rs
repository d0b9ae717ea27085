//! What happens besides events.

use std::time::{Duration, SystemTime};

use tokio::sync::broadcast;

/// Something that a consumer survived, and that an operator may want to see.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Notice {
    /// The connection broke, and the consumer is a member again.
    Reconnected {
        /// How long it was away.
        after: Duration,
        /// Broker that serves it now.
        broker: String,
        /// Partition and offset where delivery goes on.
        resumed_at: Vec<(u32, i64)>,
    },
    /// These partitions are delivered to this member now.
    Assigned {
        /// Partition and offset where delivery begins.
        partitions: Vec<(u32, i64)>,
    },
    /// These partitions go to another member; nothing more of them is yielded. With explicit commits: commit what is done
    /// before the deadline.
    Revoking {
        /// Partitions, 0-based.
        partitions: Vec<u32>,
        /// By then they are taken, committed or not.
        deadline: SystemTime,
    },
    /// These partitions are no longer held.
    Revoked {
        /// Partitions, 0-based.
        partitions: Vec<u32>,
    },
    /// An operator moved the group; delivery goes on from here.
    Repositioned {
        /// Partition, 0-based.
        partition: u32,
        /// Offset where delivery goes on.
        next_offset: i64,
    },
    /// Events were removed before the group had read them.
    Truncated {
        /// Partition, 0-based.
        partition: u32,
        /// The offset that the group would have read next.
        from_offset: i64,
        /// Where the log goes on.
        to_offset: i64,
        /// True: delivery goes on at `to_offset`. False: the partition waits for a seek.
        resumed: bool,
    },
}

/// How many notices wait for a slow reader.
pub(super) const NOTICES_MAX: usize = 256;

/// Receives [`Notice`]s. At most 256 wait; the oldest are dropped first. From [`Consumer::notices`](super::Consumer::notices).
#[derive(Debug)]
pub struct Notices(pub(super) broadcast::Receiver<Notice>);

impl Notices {
    /// The next notice; `None` once the consumer has ended. Cancel-safe.
    pub async fn next(&mut self) -> Option<Notice> {
        loop {
            match self.0.recv().await {
                Ok(notice) => return Some(notice),
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// A notice that is there already.
    pub fn try_next(&mut self) -> Option<Notice> {
        loop {
            match self.0.try_recv() {
                Ok(notice) => return Some(notice),
                Err(broadcast::error::TryRecvError::Lagged(_)) => {}
                Err(_) => return None,
            }
        }
    }
}
