//! A partition that a member holds: what waits for it, and whether it may go on.

use crate::delivery::frame::{Delivery, Redelivered};
use crate::domain::position::Fence;
use std::collections::VecDeque;
use tokio_util::sync::CancellationToken;

/// What is to be done, one after the other.
pub(super) enum Job {
    Batch(Delivery),
    Again(Redelivered),
}

pub(super) struct Place {
    pub fence: Fence,
    pub waiting: VecDeque<Job>,
    /// Calls off what is being done. None: nothing is.
    pub busy: Option<CancellationToken>,
    /// An event failed where it stands: nothing behind it, until the session says where it goes on.
    pub halted: bool,
    /// So many events more, an earlier holder may have been at.
    pub uncertain: usize,
}

impl Place {
    pub fn new(fence: Fence, uncertain: usize) -> Self {
        Self { fence, waiting: VecDeque::new(), busy: None, halted: false, uncertain }
    }

    /// What was delivered is to be forgotten: it comes again from where the session says. Events that were passed over and come
    /// back stay.
    pub fn reposition(&mut self, fence: Fence, uncertain: usize) {
        self.fence = fence;
        self.halted = false;
        self.uncertain = uncertain;
        self.waiting.retain(|job| matches!(job, Job::Again(again) if !again.in_place));
        self.call_off();
    }

    pub fn call_off(&self) {
        if let Some(busy) = &self.busy {
            busy.cancel();
        }
    }

    /// The next job, when it may begin.
    pub fn next(&mut self) -> Option<Job> {
        if self.busy.is_some() || self.halted { None } else { self.waiting.pop_front() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.call_off();
    }
}
