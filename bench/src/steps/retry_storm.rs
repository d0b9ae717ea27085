//! A storm of failures: publish latency at 200 a second, alone and while workers fail a hundred thousand events. Not at 1,000: each
//! call waits for the one before, and where the servers use both cores the calls that are late would be all that is measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use eventflow::{Client, DeliveryMode, Event, Failure, GroupSpec, Position, RetryPolicy, StreamSpec, Worker};

use tokio::sync::oneshot;

use super::Step;
use super::publish_latency::paced;
use crate::Result;
use crate::figures::Sample;
use crate::payloads::{Kind, Pool};

const QUIET: &str = "beside-a-storm";
const STORM: &str = "storm";
const EVENTS: u64 = 100_000;
const RATE: u32 = 200;
/// So that what fails comes back after the measurement.
const BACKOFF: Duration = Duration::from_secs(600);
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn measure(step: &Step<'_>) -> Result<Vec<Sample>> {
    step.ground.stream(QUIET, StreamSpec::default()).await?;
    step.ground.stream(STORM, StreamSpec::default()).await?;
    let storm = step.ground.client()?.producer(STORM).build().await?;
    let mut pool = Pool::new(Kind::Json, 200);
    for _ in 0..EVENTS {
        drop(storm.send(Event::new(pool.next())).await?);
    }
    storm.close().await?;
    let retry = RetryPolicy { initial: BACKOFF, max: BACKOFF, ..RetryPolicy::default() };
    let spec = GroupSpec::default().mode(DeliveryMode::Shared).retry(retry);
    let operator = step.ground.client()?;
    operator.groups().create(STORM, STORM, Position::Earliest, spec).await?;
    step.ground.settle().await?;
    let producer = Arc::new(step.ground.client()?.producer(QUIET).build().await?);
    let measured = |span| {
        let producer = producer.clone();
        tokio::task::spawn_blocking(move || paced(&producer, RATE, span))
    };
    measured(step.warm_up).await??;
    let span = step.span * 2;
    let (calm, _) = measured(span).await??;

    let failed = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut storming = elsewhere(step.ground.client()?, failed.clone())?;
    let (stormy, _) = measured(span).await??;
    let within = failed.load(Ordering::Relaxed);
    let all = async {
        while operator.groups().lag(STORM).await?.retries < i64::try_from(EVENTS)? {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok::<(), crate::Failure>(())
    };
    tokio::select! {
        all = tokio::time::timeout(PATIENCE, all) => all.map_err(|_| "not every event failed in time")??,
        ended = &mut storming => return Err(ended.ok().and_then(Result::err).unwrap_or_else(|| "the worker ended".into())),
    }
    let seconds = begun.elapsed().as_secs_f64();
    let ratio = stormy.percentile_ms(99.0) / calm.percentile_ms(99.0);
    let sample = Sample::new("retry_storm_p99", ratio)
        .with("calm", calm.to_json())
        .with("storm", stormy.to_json())
        .with("failed_while_measured", within)
        .with("seconds_for_all", seconds);
    Ok(vec![Sample::new("retry_storm", EVENTS as f64 / seconds), sample])
}

/// Fails events on threads of its own, as another process would: what wakes ten thousand handlers here is not to be measured as the
/// broker's latency. Ends with what was returned, or when that is dropped.
fn elsewhere(client: Client, failed: Arc<AtomicU64>) -> Result<oneshot::Receiver<Result<()>>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (mut ended, end) = oneshot::channel();
    std::thread::spawn(move || {
        runtime.block_on(async {
            let storm = async { fail(client.worker(STORM).build().await?, failed).await };
            let outcome = tokio::select! {
                outcome = storm => outcome,
                () = ended.closed() => Ok(()),
            };
            // Whoever dropped the other end does not want to know.
            let _ = ended.send(outcome);
        });
        runtime.shutdown_background();
    });
    Ok(end)
}

async fn fail(worker: Worker, failed: Arc<AtomicU64>) -> Result<()> {
    while let Some(job) = worker.next().await {
        let failure = job?.fail(Failure::retry("a storm"));
        let failed = failed.clone();
        // Many at once, as an application whose own database is away.
        tokio::spawn(async move {
            if failure.await.is_ok() {
                failed.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    Ok(())
}
