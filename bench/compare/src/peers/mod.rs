//! EventFlow and its peers: one file each.

mod eventflow;
mod kafka;
mod nats;
mod rabbitmq;
mod redis;
mod sql_queue;
mod stream_protocol;

use std::path::Path;

use crate::Result;
use crate::workload::Round;

/// A peer in one of its durabilities.
pub const NAMES: [&str; 9] = [
    "eventflow",
    "redis-everysec",
    "redis-always",
    "rabbitmq-streams",
    "kafka-default",
    "kafka-always",
    "nats-default",
    "nats-always",
    "sql-queue",
];

/// Where the programs are that are not on the PATH.
pub struct Programs<'a> {
    pub eventflow: &'a Path,
    /// What `scripts/compare-setup.sh` has fetched.
    pub tools: &'a Path,
}

/// One round of all steps on a fresh server.
pub async fn measure(name: &str, dir: &Path, programs: &Programs<'_>, round: &mut Round) -> Result<()> {
    let tools = programs.tools;
    match name {
        "eventflow" => Box::pin(round.run(eventflow::EventFlow::start(dir, programs.eventflow).await?)).await,
        "redis-everysec" => Box::pin(round.run(redis::Redis::start(dir, false).await?)).await,
        "redis-always" => Box::pin(round.run(redis::Redis::start(dir, true).await?)).await,
        "rabbitmq-streams" => Box::pin(round.run(rabbitmq::RabbitMq::start(dir).await?)).await,
        "kafka-default" => Box::pin(round.run(kafka::Kafka::start(dir, tools, false).await?)).await,
        "kafka-always" => Box::pin(round.run(kafka::Kafka::start(dir, tools, true).await?)).await,
        "nats-default" => Box::pin(round.run(nats::Nats::start(dir, tools, false).await?)).await,
        "nats-always" => Box::pin(round.run(nats::Nats::start(dir, tools, true).await?)).await,
        "sql-queue" => Box::pin(round.run(sql_queue::SqlQueue::start(dir).await?)).await,
        other => Err(format!("no peer is called {other}").into()),
    }
}
