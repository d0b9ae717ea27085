//! Publish at 1,000 a second, each awaited before the next is sent.

use std::time::{Duration, Instant};

use eventflow::{Event, Producer, StreamSpec};
use tokio::runtime::Handle;

use super::Step;
use crate::Result;
use crate::figures::Sample;
use crate::latency::Latencies;
use crate::pace::Schedule;
use crate::payloads::{Kind, Pool};

const STREAM: &str = "publish-latency";
const RATE: u32 = 1_000;

pub async fn measure(step: &Step<'_>) -> Result<Vec<Sample>> {
    step.ground.stream(STREAM, StreamSpec::default()).await?;
    let producer = step.ground.client()?.producer(STREAM).build().await?;
    step.ground.settle().await?;
    let (warm_up, span) = (step.warm_up, step.span);
    let paced = tokio::task::spawn_blocking(move || {
        paced(&producer, RATE, warm_up)?;
        paced(&producer, RATE, span)
    });
    let (from_due, from_call) = paced.await??;
    let sample = |name, percent| {
        Sample::new(name, from_due.percentile_ms(percent))
            .with("from_due", from_due.to_json())
            .with("from_call", from_call.to_json())
    };
    Ok(vec![sample("publish_p50", 50.0), sample("publish_p99", 99.0)])
}

/// So many events a second, each awaited before the next: latencies from when each call was due, and from when it was made.
pub fn paced(producer: &Producer, rate: u32, span: Duration) -> Result<(Latencies, Latencies)> {
    let runtime = Handle::current();
    let (mut from_due, mut from_call) = (Latencies::new()?, Latencies::new()?);
    let mut pool = Pool::new(Kind::Json, 200);
    let start = Instant::now();
    let schedule = Schedule::new(start, rate);
    let events = span.as_millis() as u64 * u64::from(rate) / 1_000;
    for number in 0..events {
        let event = Event::new(pool.next());
        let due = schedule.wait(number);
        let called = Instant::now();
        runtime.block_on(async { producer.send(event).await?.await })?;
        from_due.record(due.elapsed());
        from_call.record(called.elapsed());
    }
    Ok((from_due, from_call))
}
