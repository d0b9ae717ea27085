//! EventFlow and its peers: one file each.

mod eventflow;
mod nats;
mod redis;
mod sql_queue;

use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::figures::Measured;
use crate::workload;

/// A peer in one of its durabilities.
pub const NAMES: [&str; 6] =
    ["eventflow", "redis-everysec", "redis-always", "nats-default", "nats-always", "sql-queue"];

/// One round of all steps on a fresh server.
pub async fn measure(name: &str, dir: &Path, eventflow: &Path, span: Duration) -> Result<Measured> {
    match name {
        "eventflow" => Box::pin(workload::measure(eventflow::EventFlow::start(dir, eventflow).await?, span)).await,
        "redis-everysec" => Box::pin(workload::measure(redis::Redis::start(dir, false).await?, span)).await,
        "redis-always" => Box::pin(workload::measure(redis::Redis::start(dir, true).await?, span)).await,
        "nats-default" => Box::pin(workload::measure(nats::Nats::start(dir, false).await?, span)).await,
        "nats-always" => Box::pin(workload::measure(nats::Nats::start(dir, true).await?, span)).await,
        "sql-queue" => Box::pin(workload::measure(sql_queue::SqlQueue::start(dir).await?, span)).await,
        other => Err(format!("no peer is called {other}").into()),
    }
}
