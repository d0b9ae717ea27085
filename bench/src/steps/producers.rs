//! A thousand producers, or as many as asked for, each of which waits for its event to be durable before it sends the next.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use eventflow::{Event, Producer, StreamSpec};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinSet;

use super::Step;
use crate::Result;
use crate::figures::Sample;
use crate::payloads::{Kind, Pool};

const STREAM: &str = "producers";
const PRODUCERS: usize = 1_000;
/// Connections that they share.
const CONNECTIONS: usize = 10;
/// Producers that start at the same time.
const STARTING: usize = 20;

#[derive(Default)]
struct Board {
    stop: AtomicBool,
    acknowledged: AtomicU64,
}

pub async fn measure(step: &Step<'_>) -> Result<Vec<Sample>> {
    together(step, PRODUCERS).await
}

/// So many of them.
pub async fn together(step: &Step<'_>, count: usize) -> Result<Vec<Sample>> {
    step.ground.stream(STREAM, StreamSpec::default()).await?;
    let producers = start_all(step, count).await?;
    let board = Arc::new(Board::default());
    let mut tasks = JoinSet::new();
    let pool = Pool::new(Kind::Json, 200);
    for producer in producers {
        tasks.spawn(one_at_a_time(producer, pool.clone(), Arc::clone(&board)));
    }
    tokio::time::sleep(step.warm_up).await;
    let before = (step.ground.usage().await?, board.acknowledged.load(Ordering::Relaxed), Instant::now());
    tokio::time::sleep(step.span).await;
    let events = board.acknowledged.load(Ordering::Relaxed) - before.1;
    let seconds = before.2.elapsed().as_secs_f64();
    let spent = step.ground.usage().await?.since(&before.0);
    board.stop.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    step.ground.check_stored(STREAM, board.acknowledged.load(Ordering::Relaxed)).await?;
    let sample = Sample::new("producers", events as f64 / seconds)
        .with("events", events)
        .with("seconds", seconds)
        .with("producers", count)
        .with("connections", CONNECTIONS)
        .with("broker_cpu_seconds", spent.broker_seconds)
        .with("postgres_cpu_seconds", spent.postgres_seconds)
        .with("wal_bytes", spent.wal_bytes);
    Ok(vec![sample])
}

async fn start_all(step: &Step<'_>, count: usize) -> Result<Vec<Producer>> {
    let clients: Vec<_> = (0..CONNECTIONS).map(|_| step.ground.client()).collect::<Result<_>>()?;
    let starts = (0..count).map(|number| clients[number % CONNECTIONS].producer(STREAM).build());
    Ok(stream::iter(starts).buffer_unordered(STARTING).try_collect().await?)
}

async fn one_at_a_time(producer: Producer, mut pool: Pool, board: Arc<Board>) -> Result<()> {
    while !board.stop.load(Ordering::Relaxed) {
        producer.send(Event::new(pool.next())).await?.await?;
        board.acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
