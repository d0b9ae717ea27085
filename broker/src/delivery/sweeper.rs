//! Frees what time has taken: members of dead brokers, members whose grace is over, partitions that were not given up in time.
//!
//! A sweeper that could not reach the database for a while does not know who else could not: it starts one TTL after its own first
//! success, so that a restart of Postgres does not cost every lease.

use crate::domain::Result;
use crate::domain::ids::GroupId;
use crate::groups::Groups;
use crate::store::{Store, membership};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// How long after a drain's deadline its partition is taken from a broker that has not handed it back.
const DRAIN_SLACK: Duration = Duration::from_millis(500);

pub struct Sweeper {
    pub store: Store,
    pub groups: Groups,
    pub ttl: Duration,
    pub interval: Duration,
}

impl Sweeper {
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        let mut ticks = tokio::time::interval(self.interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut reachable_since: Option<Instant> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            reachable_since = match self.sweep(reachable_since).await {
                Ok(changed) => {
                    changed.into_iter().for_each(|group| self.groups.changed(group));
                    reachable_since.or_else(|| Some(Instant::now()))
                }
                Err(error) => {
                    tracing::debug!(?error, "could not sweep");
                    None
                }
            };
        }
    }

    /// Sweeps when it may, and otherwise only asks whether the database is there.
    async fn sweep(&self, reachable_since: Option<Instant>) -> Result<Vec<GroupId>> {
        let db = self.store.conn().await?;
        if reachable_since.is_some_and(|since| since.elapsed() >= self.ttl) {
            membership::sweep(&**db, DRAIN_SLACK).await
        } else {
            membership::versions(&**db, &[]).await.map(|_| Vec::new())
        }
    }
}
