//! Shared groups: workers take a backlog and acknowledge each event by itself; then the same with the order of keys kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use eventflow::{Client, DeliveryMode, GroupSpec, Position, Worker};
use tokio::task::JoinSet;

use super::Step;
use crate::Result;
use crate::client_side::{Keys, publish_for};
use crate::figures::Sample;
use crate::payloads::{Kind, Pool};

const STREAM: &str = "shared";
const WORKERS: usize = 2;
/// How long the backlog is published for, at most.
const BACKLOG: Duration = Duration::from_millis(500);
/// How long it may take until everything is done.
const PATIENCE: Duration = Duration::from_secs(120);

pub async fn measure(step: &Step<'_>) -> Result<Vec<Sample>> {
    let mut pool = Pool::new(Kind::Json, 200);
    let (producer, warm_up) = step.warm_producer(STREAM, &mut pool, Keys::Many).await?;
    let published = publish_for(&producer, &mut pool, Keys::Many, step.span.min(BACKLOG)).await?;
    let backlog = warm_up + published.events;
    step.ground.settle().await?;
    let plain = GroupSpec::default().mode(DeliveryMode::Shared);
    let keyed = plain.clone().key_order();
    Ok(vec![take(step, "shared", plain, backlog).await?, take(step, "shared_by_key", keyed, backlog).await?])
}

/// Takes the whole backlog as a new group.
async fn take(step: &Step<'_>, name: &'static str, spec: GroupSpec, backlog: u64) -> Result<Sample> {
    let operator = step.ground.client()?;
    operator.groups().create(name, STREAM, Position::Earliest, spec).await?;
    let before = step.ground.usage().await?;
    let start = Instant::now();
    let handled = Arc::new(AtomicU64::new(0));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let worker = step.ground.client()?.worker(name).build().await?;
        workers.spawn(work(worker, handled.clone()));
    }
    until_done(&operator, name, backlog, &handled, &mut workers).await?;
    let seconds = start.elapsed().as_secs_f64();
    let spent = step.ground.usage().await?.since(&before);
    let seen = handled.load(Ordering::Relaxed);
    if seen != backlog {
        return Err(format!("{seen} events were handled of {backlog}").into());
    }
    Ok(Sample::new(name, backlog as f64 / seconds)
        .with("events", backlog)
        .with("seconds", seconds)
        .with("workers", WORKERS)
        .with("broker_cpu_seconds", spent.broker_seconds)
        .with("postgres_cpu_seconds", spent.postgres_seconds))
}

/// Acknowledges whatever comes.
async fn work(worker: Worker, handled: Arc<AtomicU64>) -> Result<()> {
    while let Some(job) = worker.next().await {
        job?.ack_soon();
        handled.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Returns when the group's progress says that every event is done: acknowledged, and durably so. It is asked only when the last
/// one was handled: the question costs the database something, too.
async fn until_done(
    operator: &Client,
    group: &str,
    backlog: u64,
    handled: &AtomicU64,
    workers: &mut JoinSet<Result<()>>,
) -> Result<()> {
    let done = async {
        while handled.load(Ordering::Relaxed) < backlog {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        while operator.groups().lag(group).await?.events > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok::<(), crate::Failure>(())
    };
    tokio::select! {
        done = tokio::time::timeout(PATIENCE, done) => done.map_err(|_| "not everything was done in time")?,
        _ = workers.join_next() => Err("a worker ended".into()),
    }
}
