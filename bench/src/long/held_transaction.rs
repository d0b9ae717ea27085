//! A transaction stays open in the same database, so that nothing that has died since can be removed; meanwhile events are
//! published at a fixed rate and a group follows. Latency has to stay near what it was, and the growth of tables is stated.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use eventflow::{DeliveryMode, Event, Failure, GroupSpec, Position, Producer, RetryPolicy, StreamSpec};
use tokio::runtime::Handle;

use super::record::{Record, tables};
use crate::arguments::HeldArguments;
use crate::chart::Panel;
use crate::client_side::Follower;
use crate::ground::Ground;
use crate::latency::Latencies;
use crate::pace::Schedule;
use crate::payloads::{Kind, Pool};
use crate::{Result, output};

const STREAM: &str = "held-transaction";
const FAILING: &str = "failing";
/// How often an event is tried that always fails, and the longest waits between: random ones up to these.
const ATTEMPTS: u32 = 5;
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));
/// Between two handfuls of them.
const HANDFUL: Duration = Duration::from_millis(100);
/// Handlers at a time.
const CONCURRENCY: usize = 1_000;
/// Windows before the transaction begins, and after it has ended.
const WINDOWS_AROUND: u32 = 3;

struct Board {
    stop: AtomicBool,
    acknowledged: AtomicU64,
    failed: Arc<AtomicU64>,
    latencies: Mutex<Latencies>,
}

impl Board {
    fn latencies(&self) -> std::sync::MutexGuard<'_, Latencies> {
        self.latencies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub async fn run(arguments: &HeldArguments) -> Result<()> {
    let long = &arguments.long;
    let ground = Ground::new(&long.place, &[]).await?;
    ground.stream(STREAM, StreamSpec::default()).await?;
    ground.group(STREAM, STREAM).await?;
    let consumer = ground.client()?.consumer(STREAM).build().await?;
    let follower = Follower::start(consumer, |_| {});
    let producer = ground.client()?.producer(STREAM).build().await?;
    let board = Arc::new(Board {
        stop: AtomicBool::new(false),
        acknowledged: AtomicU64::new(0),
        failed: Arc::default(),
        latencies: Mutex::new(Latencies::new()?),
    });
    let (paced_board, rate) = (Arc::clone(&board), arguments.rate);
    let paced = tokio::task::spawn_blocking(move || paced(&producer, rate, &paced_board));
    let outcome = tokio::select! {
        outcome = watch(arguments, &ground, &board) => outcome,
        ended = fail(&ground, arguments.failing, &board.failed) => Err(ended.err().unwrap_or_else(|| "a worker ended".into())),
    };
    board.stop.store(true, Ordering::Relaxed);
    paced.await??;
    let (record, marks) = outcome?;
    let acknowledged = board.acknowledged.load(Ordering::Relaxed);
    ground.check_stored(STREAM, acknowledged).await?;
    follower.until(acknowledged).await?;
    let panels = [
        Panel {
            title: format!("publish at {rate}/s, each awaited, ms"),
            series: vec![
                record.series("p50", record.column("publish_p50_ms")),
                record.series("p99", record.column("publish_p99_ms")),
            ],
        },
        Panel {
            title: "MiB".into(),
            series: vec![
                record.series("event_batch", record.mebibytes("event_batch_bytes")),
                record.series("producer_run", record.mebibytes("producer_run_bytes")),
                record.series("retry", record.mebibytes("retry_bytes")),
                record.series("dead_letter_event", record.mebibytes("dead_letter_event_bytes")),
            ],
        },
    ];
    let title = "Publishing while a transaction is held in the same database";
    let name = if arguments.failing == 0 { "held-transaction" } else { "held-transaction-failing" };
    record.write(&long.results, name, title, &panels, &marks)?;
    ground.tear_down().await
}

/// Windows without the transaction, with it, and without it again.
async fn watch(
    arguments: &HeldArguments,
    ground: &Ground,
    board: &Board,
) -> Result<(Record, Vec<(f64, &'static str)>)> {
    let window = arguments.long.window();
    let around = window * WINDOWS_AROUND;
    let held = arguments.long.span(2.0);
    let phases = [("", around), ("held", held), ("ended", around)];
    let (mut record, mut marks) = (Record::default(), Vec::new());
    // The first window warms up.
    tokio::time::sleep(window).await;
    board.latencies().reset();
    let transaction = ground.connect().await?;
    let start = Instant::now();
    output::show("seconds  transaction  p50 ms  p99 ms  events");
    for (phase, span) in phases {
        match phase {
            "held" => {
                let begin = "begin isolation level repeatable read; select log_epoch from eventflow.log_state";
                transaction.batch_execute(begin).await?;
            }
            "ended" => transaction.batch_execute("commit").await?,
            _ => {}
        }
        if !phase.is_empty() {
            marks.push((start.elapsed().as_secs_f64(), phase));
        }
        let until = start.elapsed() + span;
        while start.elapsed() + Duration::from_secs(1) < until {
            tokio::time::sleep(window.min(until - start.elapsed())).await;
            let second = start.elapsed().as_secs_f64();
            let values = line(ground, board, phase == "held").await?;
            output::show(&format!(
                "{second:>7.0}  {phase:>11}  {:>6.3}  {:>6.3}  {:>6}",
                values["publish_p50_ms"], values["publish_p99_ms"], values["events"]
            ));
            record.push(second, values);
        }
    }
    Ok((record, marks))
}

async fn line(ground: &Ground, board: &Board, held: bool) -> Result<std::collections::BTreeMap<String, f64>> {
    let latencies = std::mem::replace(&mut *board.latencies(), Latencies::new()?);
    let mut values = tables(ground.sql()).await?;
    values.insert("transaction_held".into(), f64::from(u8::from(held)));
    values.insert("events".into(), latencies.count() as f64);
    values.insert("failed_attempts".into(), board.failed.load(Ordering::Relaxed) as f64);
    values.insert("publish_p50_ms".into(), latencies.percentile_ms(50.0));
    values.insert("publish_p99_ms".into(), latencies.percentile_ms(99.0));
    values.insert("publish_max_ms".into(), latencies.percentile_ms(100.0));
    Ok(values)
}

/// So many events a second are published that fail at every attempt, until they are dead letters. Ends only with an error.
async fn fail(ground: &Ground, rate: u32, failed: &Arc<AtomicU64>) -> Result<()> {
    if rate == 0 {
        return std::future::pending().await;
    }
    ground.stream(FAILING, StreamSpec::default()).await?;
    let (initial, max) = BACKOFF;
    let retry = RetryPolicy { initial, max, max_attempts: ATTEMPTS, ..RetryPolicy::default() };
    let spec = GroupSpec::default().mode(DeliveryMode::Shared).retry(retry);
    ground.client()?.groups().create(FAILING, FAILING, Position::Earliest, spec).await?;
    let producer = ground.client()?.producer(FAILING).build().await?;
    let publishing = async {
        let mut pool = Pool::new(Kind::Json, 200);
        let mut ticks = tokio::time::interval(HANDFUL);
        for sent in 1_u64.. {
            ticks.tick().await;
            let per_tick = f64::from(rate) * HANDFUL.as_secs_f64();
            for _ in (per_tick * (sent - 1) as f64) as u64..(per_tick * sent as f64) as u64 {
                drop(producer.send(Event::new(pool.next())).await?);
            }
        }
        Ok(())
    };
    let worker = ground.client()?.worker(FAILING).build().await?;
    let failed = failed.clone();
    let handler = move |_| {
        failed.fetch_add(1, Ordering::Relaxed);
        async { Err(Failure::retry("the database of the application is away")) }
    };
    tokio::select! {
        ended = worker.run(CONCURRENCY, std::future::pending(), handler) => Ok(ended?),
        failed = publishing => failed,
    }
}

fn paced(producer: &Producer, rate: u32, board: &Board) -> Result<()> {
    let runtime = Handle::current();
    let mut pool = Pool::new(Kind::Json, 200);
    let schedule = Schedule::new(Instant::now(), rate);
    for number in 0.. {
        if board.stop.load(Ordering::Relaxed) {
            break;
        }
        let event = Event::new(pool.next());
        let due = schedule.wait(number);
        runtime.block_on(async { producer.send(event).await?.await })?;
        board.latencies().record(due.elapsed());
        board.acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
