//! The partitions that a session holds.

use crate::delivery::frame::{Lease, Progress};
use crate::delivery::source::Source;
use crate::domain::position::{Fence, LogEpoch};
use crate::domain::ranges::Ranges;
use std::time::Instant;

/// A held partition: its lease, its place, and what is happening to it.
pub(super) struct Held {
    pub index: u32,
    pub fence: Fence,
    pub source: Source,
    /// Durable progress.
    pub committed: i64,
    /// Everything below was committed, or the member has asked for it.
    pub asked: i64,
    /// What becomes of an event that is retried where it stands.
    pub in_place: InPlace,
    /// A page of the log is being read for it.
    pub reading: bool,
    /// What was passed over since the last commit, because it does not match the filter.
    pub passed: Ranges,
    /// Progress over events that do not match the filter is being written, or was refused under this lease.
    pub skipping: bool,
    /// Of what the member was given, a failover or restore has taken everything from the first offset on; the log goes on at the
    /// second. To be told when delivery comes there.
    pub cut: Option<(i64, i64)>,
    pub state: State,
}

/// An event that is retried where it stands, and nothing behind it is sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InPlace {
    /// There is none.
    No,
    /// A failure is being written.
    Failing,
    /// The database knows which one, and when.
    Look,
    Looking,
    /// It waits for its back-off.
    Until(Instant),
    /// It was sent, after so many failed attempts.
    Sent {
        offset: i64,
        failed: u32,
    },
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

    /// The first event that is neither asked to be done nor passed over: the only one that can fail.
    pub fn next_to_settle(&self) -> i64 {
        self.passed.range_of(self.asked).map_or(self.asked, |passed| passed.end)
    }

    /// Goes back to what is committed, or to where it stands by now.
    pub fn restart(&mut self, offset: i64) {
        self.source.seek(offset);
        self.passed.take(offset..i64::MAX);
    }

    /// May events be sent?
    pub fn flows(&self) -> bool {
        let is_free = matches!(self.in_place, InPlace::No | InPlace::Sent { .. });
        self.state == State::Flowing && is_free && !self.reading
    }

    /// Everything that was delivered is committed.
    pub fn is_settled(&self) -> bool {
        self.committed >= self.source.next()
    }
}
