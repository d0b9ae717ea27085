//! Publish, acknowledged and flushed, and what it costs the servers.

use eventflow::StreamSpec;

use super::Step;
use super::catch_up::Written;
use crate::Result;
use crate::client_side::{Keys, Published, publish_for};
use crate::figures::Sample;
use crate::ground::Spent;
use crate::payloads::{Kind, Pool};

/// Also answers where the events of 200 B stand, for catch-up.
pub async fn measure(step: &Step<'_>) -> Result<(Vec<Sample>, Written)> {
    let small = one(step, "publish-200", Kind::Json, 200, Keys::None).await?;
    let keyed = one(step, "publish-200-keyed", Kind::Json, 200, Keys::Many).await?;
    let random = one(step, "publish-200-incompressible", Kind::Incompressible, 200, Keys::None).await?;
    let large = one(step, "publish-1000", Kind::Json, 1_000, Keys::None).await?;
    let written = Written { stream: "publish-200".into(), events: small.stored };
    let millions = small.published.events as f64 / 1e6;
    let samples = vec![
        small.sample("publish_200"),
        keyed.sample("publish_200_keyed"),
        random.sample("publish_200_incompressible"),
        large.sample("publish_1000"),
        Sample::new("broker_cpu", small.spent.broker_seconds / millions),
        Sample::new("server_cpu", (small.spent.broker_seconds + small.spent.postgres_seconds) / millions),
        Sample::new("postgres_cpu", small.spent.postgres_seconds / millions),
        Sample::new("disk_200", small.disk_per_event()),
        Sample::new("disk_200_incompressible", random.disk_per_event()),
        Sample::new("disk_1000", large.disk_per_event()),
        Sample::new("wal_200", small.spent.wal_bytes as f64 / small.published.events as f64),
    ];
    Ok((samples, written))
}

/// What one stream took.
pub struct Outcome {
    pub published: Published,
    /// With the warm-up.
    stored: u64,
    spent: Spent,
}

/// Payloads of one kind and size to a new stream.
pub async fn one(step: &Step<'_>, stream: &str, kind: Kind, size: usize, keys: Keys) -> Result<Outcome> {
    let ground = step.ground;
    ground.stream(stream, StreamSpec::default()).await?;
    let producer = ground.client()?.producer(stream).build().await?;
    let mut pool = Pool::new(kind, size);
    let warm_up = publish_for(&producer, &mut pool, keys, step.warm_up).await?;
    ground.settle().await?;
    let before = ground.usage().await?;
    let published = publish_for(&producer, &mut pool, keys, step.span).await?;
    let spent = ground.usage().await?.since(&before);
    producer.close().await?;
    let stored = warm_up.events + published.events;
    ground.check_stored(stream, stored).await?;
    Ok(Outcome { published, stored, spent })
}

impl Outcome {
    fn sample(&self, name: &'static str) -> Sample {
        Sample::new(name, self.published.per_second())
            .with("events", self.published.events)
            .with("seconds", self.published.seconds)
            .with("broker_cpu_seconds", self.spent.broker_seconds)
            .with("postgres_cpu_seconds", self.spent.postgres_seconds)
            .with("disk_bytes", self.spent.log_bytes)
            .with("wal_bytes", self.spent.wal_bytes)
    }

    pub fn disk_per_event(&self) -> f64 {
        self.spent.log_bytes as f64 / self.published.events as f64
    }
}
