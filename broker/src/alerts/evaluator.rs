//! Evaluates alerts. Every broker does so, once a second, and takes those that are due and that no other broker is at.

use super::Alerts;
use crate::domain::Result;
use crate::domain::limits::{FIRING_GROUPS_MAX, WEBHOOK_WAITING_MAX};
use crate::store::alerts as stored;
use crate::telemetry::alerts::AlertBoard;
use crate::telemetry::metrics;
use std::time::Duration;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Between two evaluations of an alert.
const INTERVAL_MS: i64 = 5_000;
/// Between looks at what is due.
const LOOK: Duration = Duration::from_secs(1);
/// Alerts that one call evaluates: what one transaction may take.
const AT_ONCE: i32 = 50;
/// Between looks at what fires, for the metrics.
const SHOW: Duration = Duration::from_secs(5);

/// The task, and where it shows what fires.
pub struct Evaluator {
    pub alerts: Alerts,
    pub board: AlertBoard,
}

impl Evaluator {
    /// Evaluates until the broker stops.
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut shown: Option<Instant> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = looks.tick() => {}
            }
            let mut looked = self.evaluate(&stop).await;
            if shown.is_none_or(|shown| shown.elapsed() >= SHOW) {
                shown = Some(Instant::now());
                looked = looked.and(self.show().await);
            }
            if let Err(error) = looked {
                metrics::get().alert_evaluation_failures.increment(1);
                tracing::debug!(?error, "alerts could not be evaluated; trying again");
            }
        }
    }

    /// Everything that is due.
    async fn evaluate(&self, stop: &CancellationToken) -> Result<()> {
        while !stop.is_cancelled() {
            let db = self.alerts.store.conn().await?;
            let done = stored::evaluate(&**db, AT_ONCE, INTERVAL_MS, WEBHOOK_WAITING_MAX).await?;
            let metrics = metrics::get();
            metrics.alert_evaluations.increment(done.evaluated);
            metrics.alerts_fired.increment(done.fired);
            metrics.alerts_resolved.increment(done.resolved);
            metrics.alert_evaluation_failures.increment(done.failed);
            if done.failed > 0 {
                tracing::warn!(failed = done.failed, failure = done.failure, "alerts could not be evaluated");
            }
            if done.evaluated + done.failed < u64::from(AT_ONCE.unsigned_abs()) {
                break;
            }
        }
        Ok(())
    }

    async fn show(&self) -> Result<()> {
        let db = self.alerts.store.conn().await?;
        self.board.show(stored::firing(&**db, FIRING_GROUPS_MAX).await?);
        Ok(())
    }
}
