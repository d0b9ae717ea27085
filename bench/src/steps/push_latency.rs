//! Push at 1,000 a second: from the publish call to the consumer's hands.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use eventflow::{Event, Producer, Record, StreamSpec};
use tokio::runtime::Handle;

use super::Step;
use crate::Result;
use crate::client_side::Follower;
use crate::figures::Sample;
use crate::latency::Latencies;
use crate::pace::Schedule;
use crate::payloads::{Kind, Pool};

const STREAM: &str = "push-latency";
const RATE: u32 = 1_000;
/// The number of an event stands in its first bytes.
const NUMBER_BYTES: usize = 8;

struct Board {
    schedule: Schedule,
    warm_up_events: u64,
    latencies: Mutex<Latencies>,
}

pub async fn measure(step: &Step<'_>) -> Result<Vec<Sample>> {
    step.ground.stream(STREAM, StreamSpec::default()).await?;
    step.ground.group(STREAM, STREAM).await?;
    step.ground.settle().await?;
    let producer = step.ground.client()?.producer(STREAM).build().await?;
    let consumer = step.ground.client()?.consumer(STREAM).build().await?;
    let count = |span: std::time::Duration| span.as_millis() as u64 * u64::from(RATE) / 1_000;
    let warm_up_events = count(step.warm_up);
    let events = warm_up_events + count(step.span);
    let schedule = Schedule::new(Instant::now(), RATE);
    let board = Arc::new(Board { schedule, warm_up_events, latencies: Mutex::new(Latencies::new()?) });
    let seen = Arc::clone(&board);
    let follower = Follower::start(consumer, move |record| seen.record(record));
    tokio::task::spawn_blocking(move || paced(&producer, schedule, events)).await??;
    follower.until(events).await?;
    let latencies = board.latencies.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let sample =
        |name, percent| Sample::new(name, latencies.percentile_ms(percent)).with("from_due", latencies.to_json());
    Ok(vec![sample("push_p50", 50.0), sample("push_p99", 99.0)])
}

/// Does not wait for receipts: a slow one must not hold up the next.
fn paced(producer: &Producer, schedule: Schedule, events: u64) -> Result<()> {
    let runtime = Handle::current();
    let mut pool = Pool::new(Kind::Incompressible, 200 - NUMBER_BYTES);
    for number in 0..events {
        let payload = [&number.to_be_bytes()[..], &pool.next()].concat();
        schedule.wait(number);
        drop(runtime.block_on(producer.send(Event::new(Bytes::from(payload))))?);
    }
    Ok(runtime.block_on(producer.flush())?)
}

impl Board {
    fn record(&self, record: &Record) {
        let number = record.payload().first_chunk::<NUMBER_BYTES>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        if number >= self.warm_up_events {
            let latency = self.schedule.due(number).elapsed();
            self.latencies.lock().unwrap_or_else(PoisonError::into_inner).record(latency);
        }
    }
}
