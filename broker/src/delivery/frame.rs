//! What a session says to its subscriber, before it becomes a wire frame.

use crate::domain::event::Batch;
use crate::domain::position::Fence;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// One frame of a subscription.
#[derive(Clone, Debug)]
pub enum Frame {
    Started(Started),
    Batch(Delivery),
    Assigned(Vec<Lease>),
    /// Partitions that are going to somebody else, and how long they may be finished.
    Revoking {
        partitions: Vec<u32>,
        within: Duration,
    },
    Lost(Vec<u32>),
    Heartbeat {
        partitions: Vec<Progress>,
        paused: bool,
    },
    Repositioned(Lease),
    Truncated {
        partition: u32,
        from: i64,
        to: i64,
        resumed: bool,
    },
    GoAway {
        reason: &'static str,
        grace: Duration,
    },
}

#[derive(Clone, Debug)]
pub struct Started {
    pub session: Uuid,
    pub member: String,
    pub stream: String,
    pub partition_count: u32,
    pub broker: String,
    pub silence_limit: Duration,
    pub reattached: bool,
}

/// Events of one batch, or a part of them.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub partition: u32,
    /// The lease that it is delivered under; lease epoch 0 outside a group.
    pub fence: Fence,
    pub batch: Arc<Batch>,
    /// Which of the batch's events, by index.
    pub events: Range<usize>,
}

impl Delivery {
    pub fn base_offset(&self) -> i64 {
        self.batch.base_offset + self.events.start as i64
    }

    pub fn next_offset(&self) -> i64 {
        self.batch.base_offset + self.events.end as i64
    }

    /// Encoded bytes of these events.
    pub fn bytes(&self) -> usize {
        let encoded = &self.batch.encoded;
        (encoded.start_of(self.events.end) - encoded.start_of(self.events.start)) as usize
    }
}

/// A lease on a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    pub partition: u32,
    pub fence: Fence,
    pub next_offset: i64,
}

/// Where a held partition stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub partition: u32,
    pub committed: i64,
    pub next_offset: i64,
    pub head: i64,
    pub lag_events: i64,
}
