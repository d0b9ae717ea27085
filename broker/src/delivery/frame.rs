//! What a session says to its subscriber, before it becomes a wire frame.

use crate::domain::event::Batch;
use crate::domain::position::Fence;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// One frame of a subscription.
#[derive(Clone, Debug)]
pub enum Frame {
    Started(Started),
    Batch(Delivery),
    /// Events that the member settles one by one; the stamp is set when they leave the broker.
    Dealt {
        delivery: Delivery,
        stamp: Stamp,
    },
    /// Events that are tried again.
    Redelivered {
        events: Vec<Redelivered>,
        stamp: Stamp,
    },
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

/// When a frame left the broker, in milliseconds since boot: the moment from which a member can be held to a deadline.
#[derive(Clone, Debug, Default)]
pub struct Stamp(Arc<AtomicU64>);

impl Stamp {
    /// None: not yet.
    pub fn at(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Acquire)).filter(|at| *at > 0)
    }

    /// The frame leaves now. Only the first time counts.
    pub fn flushed_at(&self, now_ms: u64) {
        let _ = self.0.compare_exchange(0, now_ms.max(1), Ordering::AcqRel, Ordering::Relaxed);
    }
}

/// One event that is tried again.
#[derive(Clone, Debug)]
pub struct Redelivered {
    /// The event alone, under the epoch of this delivery.
    pub delivery: Delivery,
    /// Number of this attempt.
    pub attempt: u32,
    pub reason: String,
    pub error_class: String,
    pub in_place: bool,
    /// It was a dead letter, and somebody gave it back.
    pub redriven: bool,
}

impl Frame {
    /// Events and their bytes; None: it carries none.
    pub fn load(&self) -> Option<(u64, u64)> {
        match self {
            Self::Batch(delivery) | Self::Dealt { delivery, .. } => {
                Some((delivery.event_count() as u64, delivery.bytes() as u64))
            }
            Self::Redelivered { events, .. } => {
                Some((events.len() as u64, events.iter().map(|event| event.delivery.bytes() as u64).sum()))
            }
            _ => None,
        }
    }

    /// The transport has taken it.
    pub fn flushed(&self, now_ms: u64) {
        if let Self::Dealt { stamp, .. } | Self::Redelivered { stamp, .. } = self {
            stamp.flushed_at(now_ms);
        }
    }
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
    pub shared: bool,
    pub blocks: bool,
    pub ack_timeout: Duration,
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
    /// Of those only these, ascending and at least one: the others do not match a filter. None: all of them.
    pub picked: Option<Arc<[u32]>>,
}

impl Delivery {
    /// The offset of the first event.
    pub fn base_offset(&self) -> i64 {
        let first = self.picked.as_ref().and_then(|picked| picked.first()).map(|first| *first as usize);
        self.batch.base_offset + first.unwrap_or(self.events.start) as i64
    }

    /// The offset behind the last event, which may lie before [`next_offset`](Self::next_offset).
    pub fn end_offset(&self) -> i64 {
        let last = self.picked.as_ref().and_then(|picked| picked.last()).map(|last| *last as i64 + 1);
        self.batch.base_offset + last.unwrap_or(self.events.end as i64)
    }

    /// How many events.
    pub fn event_count(&self) -> usize {
        self.picked.as_ref().map_or(self.events.len(), |picked| picked.len())
    }

    /// The events as ranges of the batch's.
    pub fn ranges(&self) -> Vec<Range<usize>> {
        let Some(picked) = &self.picked else { return vec![self.events.clone()] };
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for index in picked.iter().map(|index| *index as usize) {
            match ranges.last_mut() {
                Some(last) if last.end == index => last.end += 1,
                _ => ranges.push(index..index + 1),
            }
        }
        ranges
    }

    pub fn next_offset(&self) -> i64 {
        self.batch.base_offset + self.events.end as i64
    }

    /// Encoded bytes of these events.
    pub fn bytes(&self) -> usize {
        let encoded = &self.batch.encoded;
        let size = |range: &Range<usize>| (encoded.start_of(range.end) - encoded.start_of(range.start)) as usize;
        match &self.picked {
            None => size(&self.events),
            Some(_) => self.ranges().iter().map(size).sum(),
        }
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
