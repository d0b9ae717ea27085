//! Catch-up: one consumer of a new group reads what is in the log.

use std::time::Instant;

use super::Step;
use crate::Result;
use crate::client_side::{Follower, Keys, publish_for};
use crate::figures::Sample;
use crate::payloads::{Kind, Pool};

/// A stream and how many events it holds.
pub struct Written {
    pub stream: String,
    pub events: u64,
}

pub async fn measure(step: &Step<'_>, written: Option<Written>) -> Result<Vec<Sample>> {
    let written = match written {
        Some(written) => written,
        None => write(step).await?,
    };
    Ok(vec![read_all(step, "catch-up", &written).await?])
}

/// A new group of this name reads everything.
pub async fn read_all(step: &Step<'_>, group: &str, written: &Written) -> Result<Sample> {
    step.ground.settle().await?;
    step.ground.group(group, &written.stream).await?;
    let before = step.ground.usage().await?;
    // Joining and the first assignment count.
    let start = Instant::now();
    let consumer = step.ground.client()?.consumer(group).build().await?;
    let follower = Follower::start(consumer, |_| {});
    follower.until(written.events).await?;
    let seconds = start.elapsed().as_secs_f64();
    let spent = step.ground.usage().await?.since(&before);
    Ok(Sample::new("catch_up", written.events as f64 / seconds)
        .with("events", written.events)
        .with("seconds", seconds)
        .with("broker_cpu_seconds", spent.broker_seconds)
        .with("postgres_cpu_seconds", spent.postgres_seconds))
}

async fn write(step: &Step<'_>) -> Result<Written> {
    let mut pool = Pool::new(Kind::Json, 200);
    let (producer, warm_up) = step.warm_producer("catch-up", &mut pool, Keys::None).await?;
    let published = publish_for(&producer, &mut pool, Keys::None, step.span).await?;
    producer.close().await?;
    Ok(Written { stream: "catch-up".into(), events: warm_up + published.events })
}
