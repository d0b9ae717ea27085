//! End to end: one consumer in auto-commit follows while a producer publishes as fast as it can.

use std::time::Instant;

use eventflow::StreamSpec;

use super::Step;
use crate::Result;
use crate::client_side::{Follower, Keys, publish_for};
use crate::figures::Sample;
use crate::payloads::{Kind, Pool};

const STREAM: &str = "end-to-end";

pub async fn measure(step: &Step<'_>) -> Result<Vec<Sample>> {
    through(step, StreamSpec::default(), Keys::None).await
}

/// Through a stream with this spec, its events with keys or without.
pub async fn through(step: &Step<'_>, spec: StreamSpec, keys: Keys) -> Result<Vec<Sample>> {
    let mut pool = Pool::new(Kind::Json, 200);
    let (producer, warm_up) = step.warm_producer_of(STREAM, spec, &mut pool, keys).await?;
    step.ground.group(STREAM, STREAM).await?;
    let consumer = step.ground.client()?.consumer(STREAM).build().await?;
    let follower = Follower::start(consumer, |_| {});
    follower.until(warm_up).await?;
    let before = step.ground.usage().await?;
    let start = Instant::now();
    let published = publish_for(&producer, &mut pool, keys, step.span).await?;
    let behind = (warm_up + published.events).saturating_sub(follower.seen().records());
    follower.until(warm_up + published.events).await?;
    let seconds = start.elapsed().as_secs_f64();
    let spent = step.ground.usage().await?.since(&before);
    step.ground.check_stored(STREAM, warm_up + published.events).await?;
    let sample = Sample::new("end_to_end", published.events as f64 / seconds)
        .with("events", published.events)
        .with("seconds", seconds)
        .with("published_per_second", published.per_second())
        .with("behind_when_published", behind)
        .with("broker_cpu_seconds", spent.broker_seconds)
        .with("postgres_cpu_seconds", spent.postgres_seconds);
    Ok(vec![sample])
}
