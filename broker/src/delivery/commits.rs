//! Progress on its way to the database: one task, one connection, coalesced.
//!
//! A row is written at most once per interval, with the newest value that any commit asked for; every commit that a write covers is
//! answered after it. What is fenced changes nothing, whatever was gathered. A lost connection is no question: commits are
//! cumulative, so the same call is made again. Whoever waits is told after [`UNKNOWN_AFTER`] that nobody knows; the write goes on,
//! and takes effect if the lease still stands when the database is back.

use crate::delivery::session::draining;
use crate::domain::ids::{GroupId, PartitionId};
use crate::domain::{Applied, Error, Reason, Result};
use crate::store::epoch::LogEpochs;
use crate::store::progress::{self, Committed, Progress};
use crate::store::{Connection, Statement, Store, error};
use crate::telemetry::metrics;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument;

/// Commits waiting to be gathered; what comes then waits in its sender.
const QUEUE: usize = 1_024;
/// Rows of one write.
const ROWS: usize = 2_048;
const BACKOFF: Duration = Duration::from_millis(100);
/// How long a commit waits for the database before its sender is told that nobody knows. `docs/limits.md` and `CommitResult` say so.
const UNKNOWN_AFTER: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(500);

/// The way to the committer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CommitHandle {
    sender: mpsc::Sender<Request>,
}

#[derive(Debug)]
struct Request {
    progress: Progress,
    reply: oneshot::Sender<Committed>,
}

impl CommitHandle {
    /// Writes progress; answers when it is durable or fenced, or when nobody could say so in time.
    pub async fn write(self, progress: Progress) -> Result<Committed> {
        let (reply, receiver) = oneshot::channel();
        let written = async {
            // A committer that is gone drops the reply: the receiver tells.
            let _ = self.sender.send(Request { progress, reply }).await;
            receiver.await
        };
        match tokio::time::timeout(UNKNOWN_AFTER, written).await {
            Ok(written) => written.map_err(|_| draining()),
            Err(_) => Err(unknown()),
        }
    }
}

fn unknown() -> Error {
    let seconds = UNKNOWN_AFTER.as_secs();
    let message =
        format!("the database did not answer within {seconds} s; progress may be written or not: commit again");
    Error::new(Reason::OutcomeUnknown, message).applied(Applied::Unknown).retry_after(RETRY)
}

/// A row under one lease: what another session commits to the same row is another entry.
type Key = (GroupId, PartitionId, uuid::Uuid, crate::domain::position::Fence);

struct Gathered {
    progress: Progress,
    replies: Vec<oneshot::Sender<Committed>>,
}

/// Gathers and writes.
pub struct Committer {
    store: Store,
    epochs: LogEpochs,
    interval: Duration,
    receiver: mpsc::Receiver<Request>,
    gathered: HashMap<Key, Gathered>,
    written: HashMap<(GroupId, PartitionId), Instant>,
    connection: Option<(Connection, Statement)>,
}

impl Committer {
    /// `interval`: how long a row rests between two writes.
    pub fn new(store: Store, epochs: LogEpochs, interval: Duration) -> (CommitHandle, Self) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let committer = Self {
            store,
            epochs,
            interval,
            receiver,
            gathered: HashMap::new(),
            written: HashMap::new(),
            connection: None,
        };
        (CommitHandle { sender }, committer)
    }

    /// Runs until every handle is gone and everything gathered is written.
    pub async fn run(mut self) -> Result<()> {
        let mut open = true;
        while open || !self.gathered.is_empty() {
            let due = self.next_due();
            tokio::select! {
                biased;
                request = self.receiver.recv(), if open => match request {
                    Some(request) => {
                        self.gather(request);
                        while let Ok(request) = self.receiver.try_recv() {
                            self.gather(request);
                        }
                    }
                    None => open = false,
                },
                () = sleep_until(due), if due.is_some() => {}
            }
            self.write_due(!open).await;
        }
        Ok(())
    }

    fn gather(&mut self, request: Request) {
        let Request { progress, reply } = request;
        let key = (progress.group, progress.partition, progress.session, progress.fence);
        let entry = self.gathered.entry(key).or_insert_with(|| Gathered { progress, replies: Vec::new() });
        entry.progress.next_offset = entry.progress.next_offset.max(progress.next_offset);
        // Whoever was told that nobody knows waits no more.
        entry.replies.retain(|waiting| !waiting.is_closed());
        entry.replies.push(reply);
    }

    /// When a row may be written again.
    fn rested(&self, key: &Key) -> Option<Instant> {
        self.written.get(&(key.0, key.1)).map(|written| *written + self.interval)
    }

    fn next_due(&self) -> Option<Instant> {
        self.gathered.keys().map(|key| self.rested(key).unwrap_or_else(Instant::now)).min()
    }

    async fn write_due(&mut self, all: bool) {
        let now = Instant::now();
        let due: Vec<Key> = self
            .gathered
            .keys()
            .filter(|key| all || self.rested(key).is_none_or(|rested| rested <= now))
            .take(ROWS)
            .copied()
            .collect();
        if due.is_empty() {
            return;
        }
        let entries: Vec<Gathered> = due.iter().filter_map(|key| self.gathered.remove(key)).collect();
        let commits: Vec<Progress> = entries.iter().map(|entry| entry.progress).collect();
        let span = tracing::debug_span!("commit", rows = commits.len());
        let outcomes = self.write(&commits).instrument(span).await;
        let written = Instant::now();
        metrics::get().commit_seconds.record(written - now);
        self.written.retain(|_, last| written.duration_since(*last) < self.interval);
        self.written.extend(due.iter().map(|key| ((key.0, key.1), written)));
        for (entry, outcome) in entries.into_iter().zip(outcomes) {
            match outcome {
                Committed::Durable(_) => metrics::get().commits.increment(1),
                _ => metrics::get().fenced_commits.increment(1),
            }
            // A session that has ended does not need its answers.
            for reply in entry.replies {
                let _ = reply.send(outcome);
            }
        }
    }

    /// Writes until it is known, however long the database is away: nobody waits for it longer than [`UNKNOWN_AFTER`].
    async fn write(&mut self, commits: &[Progress]) -> Vec<Committed> {
        loop {
            let problem = match self.connection().await {
                Ok((connection, statement)) => match progress::commit(connection, statement, commits).await {
                    Ok(outcomes) if outcomes.len() == commits.len() => return outcomes,
                    Ok(_) => Error::internal("the commit gave too few answers"),
                    Err(problem) => error::from_postgres(problem),
                },
                Err(problem) => problem,
            };
            tracing::warn!(?problem, rows = commits.len(), "progress could not be written; trying again");
            self.connection = None;
            tokio::time::sleep(BACKOFF).await;
        }
    }

    async fn connection(&mut self) -> Result<&(Connection, Statement)> {
        let usable = self.connection.take().filter(|(connection, _)| !connection.is_closed());
        let ready = match usable {
            Some(ready) => ready,
            None => {
                let connection = self.store.connect("commits").await?;
                self.epochs.check(connection.client()).await?;
                let statement = progress::prepare(&connection).await.map_err(error::from_postgres)?;
                (connection, statement)
            }
        };
        Ok(self.connection.insert(ready))
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
