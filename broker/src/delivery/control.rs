//! What a Commit stream, or an operator, asks of a session.

use crate::delivery::explain::Sent;
use crate::domain::position::Fence;
use crate::domain::retry::Why;
use crate::domain::{Error, Reason, Result};
use std::ops::Range;
use std::time::Duration;
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
    /// What became of single events.
    Outcomes {
        outcomes: Vec<EventOutcome>,
        reply: oneshot::Sender<Vec<OutcomeFailure>>,
    },
    Leave,
    /// What was sent of a partition; None: it is not held.
    Tell {
        partition: u32,
        reply: oneshot::Sender<Option<Sent>>,
    },
}

/// What became of events that follow one another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventOutcome {
    pub partition: u32,
    pub fence: Fence,
    pub offsets: Range<i64>,
    pub verdict: Verdict,
}

/// See [`EventOutcome`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ack,
    Nack {
        why: Why,
        delay_ms: Option<i64>,
    },
    DeadLetter {
        why: Why,
    },
    /// None: by the group's ack timeout.
    Extend {
        by: Option<Duration>,
    },
}

/// An outcome that was not taken.
#[derive(Clone, Debug)]
pub struct OutcomeFailure {
    pub partition: u32,
    /// What the refused outcome was under: one frame may speak of two deliveries of an event.
    pub fence: Fence,
    pub offsets: Range<i64>,
    pub error: Error,
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

/// The session does not have the event, or has settled it before.
pub fn event_not_in_flight(partition: u32, offset: i64) -> Error {
    let message = format!(
        "event {offset} of partition {partition} is not in flight with this session: it was settled before, or is another's"
    );
    Error::new(Reason::EventNotInFlight, message).fact("partition", partition).fact("offset", offset)
}

/// In an ordered group only the next event can be settled.
pub fn outcome_out_of_order(partition: u32, offset: i64, next: i64) -> Error {
    let message = format!(
        "event {offset} of partition {partition} is not the next one, which is {next}: commit what stands before it first"
    );
    Error::new(Reason::OutcomeOutOfOrder, message).fact("partition", partition).fact("next_offset", next)
}

/// A request for the other delivery mode.
pub fn mode_mismatch(message: &'static str) -> Error {
    Error::new(Reason::DeliveryModeMismatch, message)
}
