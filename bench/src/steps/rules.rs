//! Rules: one that masks and one that copies, behind a stream that is published to as fast as it takes events. Counted until the last
//! copy is there.

use std::time::{Duration, Instant};

use eventflow::StreamSpec;
use eventflow::rules::{RuleAction, RuleSpec};
use tokio::time::sleep;

use super::Step;
use crate::Result;
use crate::client_side::{Keys, publish_for};
use crate::figures::Sample;
use crate::payloads::{Kind, Pool};

const STREAM: &str = "ruled";
const COPIES: &str = "ruled-copies";
/// Between looks at how far the copies are.
const LOOK: Duration = Duration::from_millis(20);
/// How long nothing may be copied before it is given up.
const STALL: Duration = Duration::from_secs(20);

pub async fn measure(step: &Step<'_>) -> Result<Vec<Sample>> {
    let ground = step.ground;
    ground.stream(STREAM, StreamSpec::default()).await?;
    ground.stream(COPIES, StreamSpec::default()).await?;
    let client = ground.client()?;
    let mask = RuleSpec::new(RuleAction::Redact { fields: vec!["/id".into()] });
    client.rules().create(STREAM, "mask", mask).await?;
    let copy = RuleSpec::new(RuleAction::Route { stream: COPIES.into() }).with_filter("exists(payload)");
    client.rules().create(STREAM, "copy", copy).await?;
    let producer = client.producer(STREAM).build().await?;
    let mut pool = Pool::new(Kind::Json, 200);
    let warm = publish_for(&producer, &mut pool, Keys::Many, step.warm_up).await?;
    copied(step, warm.events).await?;
    let before = ground.usage().await?;
    let start = Instant::now();
    let published = publish_for(&producer, &mut pool, Keys::Many, step.span).await?;
    copied(step, warm.events + published.events).await?;
    let seconds = start.elapsed().as_secs_f64();
    let spent = ground.usage().await?.since(&before);
    ground.check_stored(STREAM, warm.events + published.events).await?;
    ground.check_stored(COPIES, warm.events + published.events).await?;
    // They compete with what other steps measure.
    client.rules().delete(STREAM, "copy").await?;
    client.rules().delete(STREAM, "mask").await?;
    let sample = Sample::new("rules", published.events as f64 / seconds)
        .with("events", published.events)
        .with("seconds", seconds)
        .with("published_per_second", published.per_second())
        .with("broker_cpu_seconds", spent.broker_seconds)
        .with("postgres_cpu_seconds", spent.postgres_seconds);
    Ok(vec![sample])
}

/// Until so many copies are there.
async fn copied(step: &Step<'_>, wanted: u64) -> Result<()> {
    let client = step.ground.client()?;
    let (mut seen, mut moved) = (0, Instant::now());
    loop {
        let found = u64::try_from(client.streams().statistics(COPIES).await?.events)?;
        if found >= wanted {
            return Ok(());
        }
        if found > seen {
            (seen, moved) = (found, Instant::now());
        } else if moved.elapsed() > STALL {
            return Err(format!("only {found} of {wanted} events were copied").into());
        }
        sleep(LOOK).await;
    }
}
