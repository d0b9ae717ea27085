//! An event in the hands of the application.

use std::{
    ops::Deref,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::oneshot;

use super::{
    failure::Failure,
    outbox::{Said, Which},
    shared::Shared,
};
use crate::{
    error::{Error, Result},
    position::Record,
};

/// A record to be settled. Dropped without an outcome it counts as a failed attempt, so that nothing is forgotten.
#[derive(Debug)]
pub struct Job {
    pub(super) record: Record,
    pub(super) attempt: u32,
    pub(super) last_reason: String,
    pub(super) last_class: String,
    pub(super) which: Which,
    pub(super) shared: Arc<Shared>,
    pub(super) settled: AtomicBool,
}

impl Deref for Job {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

impl Job {
    /// The record.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// Number of this attempt: 1 at first.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Why the attempt before failed; empty at the first.
    pub fn last_reason(&self) -> &str {
        &self.last_reason
    }

    /// Error class of the attempt before.
    pub fn last_class(&self) -> &str {
        &self.last_class
    }

    /// The event is done. Returns once that is durable.
    ///
    /// # Errors
    /// `EVENT_NOT_IN_FLIGHT`, `ACK_DEADLINE_PASSED`, `MEMBER_FENCED`, `SEEK_FENCED`: it is not this worker's any more, and
    /// comes again. `PARTITION_NOT_HELD`: the connection was lost meanwhile; it comes again unless the acknowledgement had been
    /// written by then.
    pub async fn ack(self) -> Result<()> {
        self.say(None).await
    }

    /// Says that the event is done and waits for nothing, like a handler that returns `Ok`. It is written within moments; if it
    /// cannot be, the event comes again.
    pub fn ack_soon(self) {
        self.settle(None);
    }

    /// The attempt failed. Returns once that is durable.
    ///
    /// # Errors
    /// As [`Job::ack`].
    pub async fn fail(self, failure: impl Into<Failure>) -> Result<()> {
        self.say(Some(failure.into())).await
    }

    async fn say(self, failure: Option<Failure>) -> Result<()> {
        let (waiter, durable) = oneshot::channel();
        self.tell(failure, Some(waiter));
        durable.await.unwrap_or_else(|_| Err(Error::closed("worker")))
    }

    /// Says what became of the event, without waiting.
    pub(super) fn settle(&self, failure: Option<Failure>) {
        self.tell(failure, None);
    }

    fn tell(&self, failure: Option<Failure>, waiter: Option<oneshot::Sender<Result<()>>>) {
        if !self.settled.swap(true, Ordering::AcqRel) {
            self.shared.say(Said { which: self.which, failure, waiter });
        }
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        let class = if std::thread::panicking() { "panic" } else { "dropped" };
        self.tell(Some(Failure::retry("the handler ended without an outcome").class(class)), None);
    }
}
