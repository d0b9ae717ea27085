//! Fan-out: ten groups, or as many as asked for, each with one consumer on a connection of its own, follow one producer.

use std::time::Instant;

use super::Step;
use crate::Result;
use crate::client_side::{Follower, Keys, publish_for};
use crate::figures::Sample;
use crate::payloads::{Kind, Pool};

const STREAM: &str = "fan-out";
const GROUPS: u64 = 10;

pub async fn measure(step: &Step<'_>) -> Result<Vec<Sample>> {
    to_groups(step, GROUPS).await
}

/// To so many groups.
pub async fn to_groups(step: &Step<'_>, groups: u64) -> Result<Vec<Sample>> {
    let mut pool = Pool::new(Kind::Json, 200);
    let (producer, warm_up) = step.warm_producer(STREAM, &mut pool, Keys::None).await?;
    let mut followers = Vec::new();
    for number in 0..groups {
        let group = format!("{STREAM}-{number}");
        step.ground.group(&group, STREAM).await?;
        let consumer = step.ground.client()?.consumer(&group).build().await?;
        followers.push(Follower::start(consumer, |_| {}));
    }
    for follower in &followers {
        follower.until(warm_up).await?;
    }
    let before = step.ground.usage().await?;
    let start = Instant::now();
    let published = publish_for(&producer, &mut pool, Keys::None, step.span).await?;
    let slowest = followers.iter().map(|follower| follower.seen().records()).min().unwrap_or(0);
    for follower in &followers {
        follower.until(warm_up + published.events).await?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let spent = step.ground.usage().await?.since(&before);
    step.ground.check_stored(STREAM, warm_up + published.events).await?;
    let sample = Sample::new("fan_out", (published.events * groups) as f64 / seconds)
        .with("published", published.events)
        .with("seconds", seconds)
        .with("published_per_second", published.per_second())
        .with("slowest_behind_when_published", (warm_up + published.events).saturating_sub(slowest))
        .with("broker_cpu_seconds", spent.broker_seconds)
        .with("postgres_cpu_seconds", spent.postgres_seconds);
    Ok(vec![sample])
}
