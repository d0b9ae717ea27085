//! Feeds the tail with what others appended: looks at the bounds of all watched partitions (on a timer, or when a hint says so) and
//! reads what the cache does not have.
//!
//! One statement a round covers up to [`POLLED`] partitions; above that the rounds take turns. Without hints an event reaches this
//! broker within the poll interval and a read.

use crate::domain::Result;
use crate::domain::ids::{OrganizationId, PartitionId};
use crate::store::{Pooled, Store, log};
use crate::tail::Tail;
use crate::telemetry::metrics;
use std::collections::HashSet;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Partitions of one poll.
const POLLED: usize = 1_000;
/// Bytes read for one partition at a time: what is further away, readers fetch for themselves.
const READ_BYTES: usize = 1024 * 1024;
const READ_BATCHES: usize = 1_024;

/// Runs until told to stop.
pub struct Feeder {
    store: Store,
    tail: Tail,
    polled: usize,
}

impl Feeder {
    pub fn new(store: Store, tail: Tail) -> Self {
        Self { store, tail, polled: 0 }
    }

    pub async fn run(mut self, poll: Duration, stop: CancellationToken) -> Result<()> {
        let mut ticks = tokio::time::interval(poll);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let due = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.tail.stale_news() => HashSet::from_iter(self.tail.take_stale()),
                _ = ticks.tick() => {
                    metrics::get().tail_cache_bytes.set(self.tail.bytes() as f64);
                    let mut due = self.round();
                    due.extend(self.tail.take_stale());
                    due
                }
            };
            if due.is_empty() {
                continue;
            }
            let due: Vec<PartitionId> = due.into_iter().collect();
            if let Err(error) = self.feed(&due).await {
                tracing::debug!(?error, "the tail could not be fed; the next round tries again");
                due.into_iter().for_each(|partition| self.tail.stale(partition));
                tokio::time::sleep(poll).await;
            }
        }
    }

    /// The watched partitions whose turn it is.
    fn round(&mut self) -> HashSet<PartitionId> {
        let mut watched: Vec<PartitionId> = self.tail.watched().into_iter().map(|(partition, _)| partition).collect();
        if watched.len() > POLLED {
            watched.sort_unstable();
            let start = self.polled % watched.len();
            watched.rotate_left(start);
            watched.truncate(POLLED);
            self.polled = start + POLLED;
        }
        watched.into_iter().collect()
    }

    async fn feed(&mut self, due: &[PartitionId]) -> Result<()> {
        let db = self.store.conn().await?;
        for (partition, organization, bounds) in log::bounds(&db, due).await? {
            match self.tail.end(partition) {
                Some(end) if end >= bounds.head => {}
                Some(end) => self.read(&db, organization, partition, end, bounds.head).await?,
                // Newly watched: start at the head; whoever is behind it reads the log.
                None => self.tail.refill(partition, bounds.head, Vec::new(), bounds.head),
            }
        }
        Ok(())
    }

    async fn read(
        &self,
        db: &Pooled,
        organization: OrganizationId,
        partition: PartitionId,
        end: i64,
        head: i64,
    ) -> Result<()> {
        let Some(page) = log::read(db, organization, partition, end, READ_BYTES, READ_BATCHES).await? else {
            return Ok(());
        };
        if page.cut.is_some() {
            // Readers who stand there must hear of it, and they do from the log.
            self.tail.forget(partition);
            return Ok(());
        }
        let reached = page.end(end);
        self.tail.refill(partition, end, page.batches, page.head);
        if reached < head {
            // Too far for one read: start anew at the head, readers catch up from the log.
            self.tail.refill(partition, head, Vec::new(), head);
        }
        Ok(())
    }
}
