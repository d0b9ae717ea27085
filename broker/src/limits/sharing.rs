//! Buckets that all brokers of a database share, through Redis.
//!
//! A call never waits for Redis. It is let through or refused by what its broker knows, and this task tells Redis afterwards
//! what was let through, some ten milliseconds later and many buckets at once; the answer is what all brokers have let
//! through. Redis adds up and decides nothing.
//!
//! Promises: together brokers let through what one would, and at most one reserve (a second's worth) for each further broker,
//! which is then owed before anybody gets more; what is refused is told to nobody; an organization's bucket holds what it used
//! and nothing else. While Redis is away each broker's own limits hold, and what was let through then is not charged later.

use super::{Limits, Owner, buckets::Report};
use crate::domain::Result;
use crate::redis::{Away, Redis, Script};
use crate::telemetry::metrics;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Between two reports of a busy broker: how long others do not know.
const PAUSE: Duration = Duration::from_millis(10);
/// Between looks at a Redis that has nothing to tell, or is away.
const LOOK: Duration = Duration::from_secs(1);
/// Buckets of one report: a script holds up whoever else uses that Redis.
const BUCKETS: usize = 250;
/// Between two lines about a Redis that comes and goes.
const LINES: Duration = Duration::from_secs(60);

/// The task, and what it last knew.
pub struct Sharing {
    limits: Limits,
    redis: Redis,
    script: Script,
    namespace: String,
    /// `None` before the first answer.
    up: Option<bool>,
    /// When it was last said that Redis is away, and whether that was this time.
    said: Option<Instant>,
    known: bool,
}

impl Sharing {
    /// `namespace` is the database's: several may use one Redis.
    pub(super) fn new(limits: Limits, redis: Redis, namespace: &str) -> Self {
        let script = Script::new(include_str!("share.lua"));
        Self { limits, redis, script, namespace: namespace.to_owned(), up: None, said: None, known: false }
    }

    pub async fn run(mut self, stop: CancellationToken) -> Result<()> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.turn() => {}
            }
        }
    }

    async fn turn(&mut self) {
        if self.up != Some(true) {
            match self.compare(Vec::new()).await {
                Ok(()) => self.back(),
                Err(away) => {
                    self.away(&away);
                    sleep(LOOK.mul_f64(rand::random_range(0.5..1.0))).await;
                }
            }
            return;
        }
        // When nothing is asked for long, an empty report shows whether Redis is still there.
        let _ = timeout(LOOK, self.limits.asked()).await;
        let reports = self.limits.reports(BUCKETS);
        let full = reports.len() == BUCKETS;
        match self.compare(reports).await {
            Ok(()) if full => {}
            Ok(()) => sleep(PAUSE).await,
            Err(away) => self.away(&away),
        }
    }

    /// One round trip.
    async fn compare(&mut self, reports: Vec<Report>) -> Result<(), Away> {
        let keys = reports.iter().map(|report| self.name(report)).collect();
        let spent = reports.iter().map(|report| i64::try_from(report.spent_us).unwrap_or(i64::MAX)).collect();
        let left = self.redis.run(&self.script, keys, spent).await?;
        let left: Vec<u64> = left.into_iter().map(|left| u64::try_from(left).unwrap_or_default()).collect();
        self.limits.learn(&reports, &left);
        Ok(())
    }

    /// A bucket's name in Redis. The braces keep all of a database's buckets in one slot of a cluster; ids are ours, not tenants' text.
    fn name(&self, report: &Report) -> String {
        let (owner, quota) = &report.bucket;
        let (namespace, quota) = (&self.namespace, quota.name());
        match owner {
            Owner::Organization(id) => format!("eventflow:{{{namespace}}}:rate:organization:{}:{quota}", id.0),
            Owner::Credential(credential) => format!("eventflow:{{{namespace}}}:rate:{credential}:{quota}"),
        }
    }

    fn back(&mut self) {
        self.limits.forget_untold();
        metrics::get().redis_up.set(1.0);
        if self.up.is_none() || self.known {
            tracing::info!(redis = self.redis.describe(), "rates are shared with other brokers through Redis");
        }
        (self.up, self.known) = (Some(true), false);
    }

    fn away(&mut self, away: &Away) {
        metrics::get().redis_up.set(0.0);
        metrics::get().redis_failures.increment(1);
        self.up = Some(false);
        if !self.known && self.said.is_none_or(|said| said.elapsed() >= LINES) {
            let redis = self.redis.describe();
            tracing::warn!(redis, why = %away, "Redis is away: until it is back, each broker's own rates hold");
            (self.said, self.known) = (Some(Instant::now()), true);
        }
    }
}
