//! The partitions that a session holds.

use crate::delivery::frame::{Lease, Progress};
use crate::delivery::source::Source;
use crate::domain::position::{Fence, LogEpoch};
use std::time::Instant;

/// A held partition: its lease, its place, and what is happening to it.
pub(super) struct Held {
    pub index: u32,
    pub fence: Fence,
    pub source: Source,
    /// Durable progress.
    pub committed: i64,
    /// A page of the log is being read for it.
    pub reading: bool,
    /// Of what the member was given, a failover or restore has taken everything from the first offset on; the log goes on at the
    /// second. To be told when delivery comes there.
    pub cut: Option<(i64, i64)>,
    pub state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Flowing,
    /// It is going to somebody else: nothing more is sent. `release` says that it may go now.
    Draining {
        deadline: Instant,
        release: bool,
    },
    /// Being handed back.
    Releasing,
    /// Events were removed unread, and the group waits for a seek.
    Stopped,
}

impl Held {
    pub fn lease(&self) -> Lease {
        Lease { partition: self.index, fence: self.fence, next_offset: self.committed }
    }

    pub fn progress(&self) -> Progress {
        let head = self.source.head();
        // Counted, not subtracted across epochs: a later epoch starts far above the end of the one before.
        let from = self.committed.max(LogEpoch::of(head).first_offset().min(head));
        let lag_events =
            if LogEpoch::of(self.committed) == LogEpoch::of(head) { head - self.committed } else { head - from };
        Progress {
            partition: self.index,
            committed: self.committed,
            next_offset: self.source.next(),
            head,
            lag_events: lag_events.max(0),
        }
    }

    /// Everything that was delivered is committed.
    pub fn is_settled(&self) -> bool {
        self.committed >= self.source.next()
    }
}
