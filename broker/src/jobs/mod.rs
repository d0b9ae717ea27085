//! What happens without being asked. A job ticks: it does a bounded piece of work and says whether there is more. It takes no input,
//! may be run again at any time, and is guarded by an advisory lock, so that one broker at a time is at it.

pub mod audit;
pub mod lag;
pub mod prune;
pub mod quotas;
pub mod retention;
pub mod ring;
pub mod watch;

use crate::domain::Result;
use crate::store::Store;
use crate::telemetry::metrics;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Whether a job should go on at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    Idle,
    Again,
}

/// The jobs that a broker runs by the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    Retention,
    Ring,
    Prune,
    /// The audit log is kept for so long.
    Audit(Duration),
}

impl Job {
    /// One tick, whoever asks for it.
    pub async fn tick(self, store: &Store) -> Result<Tick> {
        match self {
            Self::Retention => retention::tick(store).await,
            Self::Ring => ring::tick(store).await,
            Self::Prune => prune::tick(store).await,
            Self::Audit(kept) => audit::tick(store, kept).await,
        }
    }
}

/// Runs a job every `interval` (jittered, so that brokers do not meet), and at once again while there is more.
pub async fn run(job: Job, store: Store, interval: Duration, stop: CancellationToken) -> Result<()> {
    loop {
        let pause = interval.mul_f64(rand::random_range(0.8..1.2));
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
        loop {
            match job.tick(&store).await {
                Ok(Tick::Again) if !stop.is_cancelled() => {}
                Ok(_) => break,
                Err(error) => {
                    metrics::get().job_failures.increment(1);
                    tracing::warn!(?job, ?error, "a job failed; its next run tries again");
                    break;
                }
            }
        }
    }
}
