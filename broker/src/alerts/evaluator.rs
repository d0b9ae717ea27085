//! Evaluates alerts. Every broker does so, once a second, and takes those that are due and that no other broker is at.
//!
//! Counting the lag of a group costs some 0.2 ms a partition. A broker pauses four times as long as a round took, so that alerts take
//! at most a fifth of one connection of each broker; with more to count than that, alerts are evaluated later than they are due.

use super::Alerts;
use crate::domain::limits::{FIRING_GROUPS_MAX, WEBHOOK_WAITING_MAX};
use crate::domain::{Error, Result};
use crate::store::alerts as stored;
use crate::telemetry::alerts::AlertBoard;
use crate::telemetry::metrics;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Between looks at what is due.
const LOOK: Duration = Duration::from_secs(1);
/// What one transaction may take, and how often an alert is evaluated.
const ROUND: stored::Round =
    stored::Round { groups_max: 20, budget_ms: 200, interval_ms: 5_000, waiting_max: WEBHOOK_WAITING_MAX };
/// A pause is so many times as long as the round before it.
const REST: u32 = 4;
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
        let mut shown: Option<Instant> = None;
        loop {
            let began = Instant::now();
            let more = self.round().await.unwrap_or_else(failed);
            let pause = if more { began.elapsed() * REST } else { LOOK };
            if shown.is_none_or(|shown| shown.elapsed() >= SHOW) {
                shown = Some(Instant::now());
                self.show().await.unwrap_or_else(failed);
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Some of what is due. True: there may be more.
    async fn round(&self) -> Result<bool> {
        let done = stored::evaluate(&**self.alerts.store.conn().await?, ROUND).await?;
        let metrics = metrics::get();
        metrics.alert_evaluations.increment(done.evaluated);
        metrics.alerts_fired.increment(done.fired);
        metrics.alerts_resolved.increment(done.resolved);
        metrics.alert_evaluation_failures.increment(done.failed);
        if done.failed > 0 {
            tracing::warn!(failed = done.failed, failure = done.failure, "alerts could not be evaluated");
        }
        Ok(done.more)
    }

    async fn show(&self) -> Result<()> {
        let db = self.alerts.store.conn().await?;
        self.board.show(stored::firing(&**db, FIRING_GROUPS_MAX).await?);
        Ok(())
    }
}

/// The next look tries again.
fn failed<T: Default>(error: Error) -> T {
    metrics::get().alert_evaluation_failures.increment(1);
    tracing::debug!(?error, "alerts could not be evaluated; trying again");
    T::default()
}
