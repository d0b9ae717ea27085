//! What a Commit stream, or an operator, asks of a session.

use crate::domain::position::Fence;
use crate::domain::{Error, Reason, Result};
use tokio::sync::oneshot;

/// One request to a session; the session answers when it is durable.
#[derive(Debug)]
pub enum Control {
    /// A Commit stream has attached.
    Attached,
    /// The Commit stream is gone; the session goes on without it.
    Detached,
    /// A sign of life.
    Heartbeat,
    Commit {
        commits: Vec<PartitionCommit>,
        reply: oneshot::Sender<Vec<CommitAnswer>>,
    },
    /// Done with partitions that are being revoked.
    Release {
        partitions: Vec<u32>,
        reply: oneshot::Sender<Vec<CommitAnswer>>,
    },
    Leave,
}

/// Cumulative progress in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionCommit {
    pub partition: u32,
    pub fence: Fence,
    pub next_offset: i64,
}

/// The fate of one commit or release: the durable offset, or why nothing changed.
#[derive(Clone, Debug)]
pub struct CommitAnswer {
    pub partition: u32,
    pub outcome: Result<i64>,
}

/// The session does not hold the partition, or not any more.
pub fn member_fenced(partition: u32) -> Error {
    Error::new(
        Reason::MemberFenced,
        format!("the session does not hold partition {partition} any more; nothing was changed"),
    )
    .fact("partition", partition)
}

/// The session holds the partition, but the group was moved under it.
pub fn seek_fenced(partition: u32) -> Error {
    Error::new(
        Reason::SeekFenced,
        format!("the group was moved in partition {partition}; go on from where `repositioned` says"),
    )
    .fact("partition", partition)
}

pub fn commit_out_of_range(partition: u32, offset: i64, delivered: i64) -> Error {
    Error::new(
        Reason::CommitOutOfRange,
        format!("offset {offset} of partition {partition} lies beyond {delivered}, up to which it was delivered"),
    )
    .fact("partition", partition)
    .fact("delivered_offset", delivered)
}
