//! A member of a group: takes every event into the group's tally.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use eventflow::{Consumer, Notice, Record};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    board::{Board, Counter},
    quake,
    tally::Tally,
};
use crate::{
    failure::{Exit, Failure, Result},
    output::span,
};

/// A group: what it saw, and who wants to know when that is everything. Cheap to clone.
#[derive(Clone)]
pub(super) struct Group {
    pub(super) name: &'static str,
    counter: Counter,
    expected: usize,
    tally: Arc<Mutex<Tally>>,
    complete: Arc<Notify>,
    board: Arc<Board>,
}

impl Group {
    pub(super) fn new(name: &'static str, counter: Counter, expected: usize, board: &Arc<Board>) -> Self {
        Self { name, counter, expected, tally: Arc::default(), complete: Arc::default(), board: board.clone() }
    }

    pub(super) fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when the group has seen as many different events as there are.
    pub(super) async fn complete(&self) {
        while self.tally().distinct() < self.expected {
            self.complete.notified().await;
        }
    }

    fn take(&self, record: &Record) -> Result<()> {
        let (quake, row) = quake::read(record.event()).map_err(|cause| {
            let place = format!("{}/{} @ {}", record.stream(), record.partition(), record.offset());
            Failure::new(Exit::Error, "DAMAGED_EVENT", format!("the event at {place} is not what was published"))
                .cause(cause)
        })?;
        let mut tally = self.tally();
        if tally.take((record.partition(), record.offset()), row, quake) {
            let distinct = tally.distinct();
            self.board.set(self.counter, distinct);
            if distinct >= self.expected {
                self.complete.notify_one();
            }
        }
        Ok(())
    }

    /// Follows until `stop`, then commits and leaves.
    pub(super) async fn follow(self, mut consumer: Consumer, stop: CancellationToken) -> Result<()> {
        let mut notices = consumer.notices();
        let mut noticing = true;
        loop {
            tokio::select! {
                biased;
                notice = notices.next(), if noticing => {
                    noticing = notice.is_some();
                    if let Some(notice) = notice {
                        self.tell(consumer.member_name(), &notice);
                    }
                }
                // Asked for before the stop is looked at: that says that the batch before is done.
                batch = consumer.next_batch() => {
                    let Some(batch) = batch else {
                        break;
                    };
                    for record in batch? {
                        self.take(&record)?;
                    }
                }
                () = stop.cancelled() => break,
            }
        }
        Ok(consumer.close().await?)
    }

    fn tell(&self, member: &str, notice: &Notice) {
        if let Notice::Reconnected { after, broker, .. } = notice {
            self.board.tell(format!("{member} reconnected to {broker} after {}", span(*after)));
        }
    }
}
