//! Workers of a shared group: each event is handled by one of them and acknowledged by itself. They fail the events of one network
//! until that is fixed.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use eventflow::{Job, Worker};
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{
    board::{Board, Counter},
    quake,
};
use crate::failure::{Exit, Failure, Result};

/// Events that a worker has in hand at most.
const CONCURRENCY: usize = 256;

/// Class of the failures.
pub(super) const ERROR_CLASS: &str = "StationMap";

/// What the workers of a group have done.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// Partition and offset of what was handled, and the row that stood there.
    pub(super) handled: HashMap<(u32, i64), usize>,
    /// What was acknowledged, durably. Of the rest the answer was lost with the broker: it may have been written, or comes again.
    pub(super) acknowledged: HashSet<(u32, i64)>,
    /// Events that came again after their acknowledgement.
    pub(super) again: Vec<String>,
    /// Events of the failing network that failed.
    pub(super) failed: HashSet<(u32, i64)>,
    /// Events that a person has reviewed.
    pub(super) reviewed: Vec<(u32, i64)>,
}

/// A group of workers. Cheap to clone.
#[derive(Clone)]
pub(super) struct Crew {
    pub(super) name: &'static str,
    failing: Arc<str>,
    is_fixed: Arc<AtomicBool>,
    book: Arc<Mutex<Book>>,
    progress: Arc<Notify>,
    board: Arc<Board>,
}

impl Crew {
    pub(super) fn new(name: &'static str, failing: &str, board: &Arc<Board>) -> Self {
        let failing = failing.into();
        Self {
            name,
            failing,
            is_fixed: Arc::default(),
            book: Arc::default(),
            progress: Arc::default(),
            board: board.clone(),
        }
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nothing fails.
    pub(super) fn fix(&self) {
        self.is_fixed.store(true, Ordering::Relaxed);
    }

    /// Returns when so many different events are handled.
    pub(super) async fn handled(&self, events: usize) {
        while self.book().handled.len() < events {
            self.progress.notified().await;
        }
    }

    /// Works until `stop`, then leaves.
    pub(super) async fn work(self, worker: Worker, stop: CancellationToken) -> Result<()> {
        let mut handlers = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                Some(done) = handlers.join_next() => done.map_err(|_| panicked())??,
                job = worker.next(), if handlers.len() < CONCURRENCY => {
                    let Some(job) = job else { break };
                    handlers.spawn(self.clone().handle(job?));
                }
                () = stop.cancelled() => break,
            }
        }
        while let Some(done) = handlers.join_next().await {
            done.map_err(|_| panicked())??;
        }
        Ok(worker.close().await?)
    }

    async fn handle(self, job: Job) -> Result<()> {
        let place = (job.partition(), job.offset());
        let at = format!("{}/{} @ {}", job.stream(), place.0, place.1);
        let (quake, row) = quake::read(job.event()).map_err(|cause| {
            Failure::new(Exit::Error, "DAMAGED_EVENT", format!("the event at {at} is not what was published"))
                .cause(cause)
        })?;
        {
            let mut book = self.book();
            if book.acknowledged.contains(&place) {
                book.again.push(format!("{at} came again, as attempt {}", job.attempt()));
            }
        }
        if *quake.network == *self.failing && !self.is_fixed.load(Ordering::Relaxed) {
            self.book().failed.insert(place);
            let failure = eventflow::Failure::retry(format!("no map of the stations of {}", quake.network));
            // A refusal says that it is another worker's by now, which will fail it as well.
            let _ = job.fail(failure.class(ERROR_CLASS)).await;
            return Ok(());
        }
        let is_durable = job.ack().await.is_ok();
        let mut book = self.book();
        if is_durable {
            book.acknowledged.insert(place);
        }
        if book.handled.insert(place, row).is_none() && quake.is_reviewed {
            book.reviewed.push(place);
        }
        self.board.set(Counter::Handled, book.handled.len());
        self.progress.notify_one();
        Ok(())
    }
}

fn panicked() -> Failure {
    Failure::new(Exit::Error, "INTERNAL", "a worker panicked")
}
