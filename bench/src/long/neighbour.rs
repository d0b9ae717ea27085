//! One organization asks for ten times what its quota allows, and another publishes quietly: what the quiet one notices.
//!
//! Phases take turns, so that an hour in which the machine is slower touches all of them: nobody else, the loud one within its
//! quota, the loud one at ten times its quota. What the loud one is refused counts as well: it asks again at the same pace.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use eventflow::{Event, Producer, StreamSpec};
use serde_json::json;
use tokio::runtime::Handle;

use crate::arguments::NeighbourArguments;
use crate::figures::median;
use crate::ground::Ground;
use crate::latency::Latencies;
use crate::pace::Schedule;
use crate::payloads::{Kind, Pool};
use crate::unary::Caller;
use crate::{Result, output};

const STREAM: &str = "neighbour";
/// Calls a second of the quiet organization, each awaited: far from what the machine can do.
const QUIET_RATE: u32 = 200;
/// Calls of the loud one that may be under way, as a client would bound them.
const LOUD_IN_FLIGHT: usize = 64;
/// What the design promises.
const BAR: f64 = 1.2;

/// How many times its quota the loud organization asks for.
const PHASES: [(&str, u32); 3] = [("alone", 0), ("within its quota", 1), ("ten times its quota", 10)];

pub async fn run(arguments: &NeighbourArguments) -> Result<()> {
    let limit = arguments.quota.to_string();
    let ground = Ground::new(&arguments.place, &[("limits.organization_events_per_second", &limit)]).await?;
    ground.stream(STREAM, StreamSpec::default()).await?;
    let (loud_client, loud_key) = ground.another_organization("loud").await?;
    loud_client.streams().create(STREAM, StreamSpec::default()).await?;
    let loud = Loud::start(&ground.url(), &loud_key, arguments.quota, arguments.call_events)?;
    let producer = Arc::new(ground.client()?.producer(STREAM).build().await?);
    let mut all = Vec::new();
    for _ in PHASES {
        all.push((Latencies::new()?, Vec::new()));
    }
    // A first turn of everything warms up.
    for round in 0..=arguments.rounds {
        for (phase, (name, times)) in PHASES.into_iter().enumerate() {
            let before = loud.counts();
            loud.ask_for(times);
            let span = if round == 0 { Duration::from_secs(1) } else { Duration::from_secs(arguments.seconds) };
            let quiet = Arc::clone(&producer);
            let latencies = tokio::task::spawn_blocking(move || paced(&quiet, span)).await??;
            if round == 0 {
                continue;
            }
            let (taken, refused) = (loud.counts().0 - before.0, loud.counts().1 - before.1);
            let (p50, p99) = (latencies.percentile_ms(50.0), latencies.percentile_ms(99.0));
            output::show(&format!(
                "round {round:>2}  {name:<20}  p50 {p50:>6.3} ms  p99 {p99:>7.3} ms  loud: {taken} calls taken, {refused} refused"
            ));
            all[phase].0.add(&latencies)?;
            all[phase].1.push(p99);
        }
    }
    loud.stop()?;
    report(arguments, &all)?;
    ground.tear_down().await
}

fn report(arguments: &NeighbourArguments, all: &[(Latencies, Vec<f64>)]) -> Result<()> {
    let pooled: Vec<f64> = all.iter().map(|(latencies, _)| latencies.percentile_ms(99.0)).collect();
    let ratios = |other: usize| -> Vec<f64> { all[2].1.iter().zip(&all[other].1).map(|(p, q)| p / q).collect() };
    let (to_alone, to_within) = (pooled[2] / pooled[0], pooled[2] / pooled[1]);
    for (phase, (name, _)) in PHASES.into_iter().enumerate() {
        let all = &all[phase].0;
        output::show(&format!(
            "{name:<20}  p50 {:>6.3} ms  p99 {:>7.3} ms  calls {}",
            all.percentile_ms(50.0),
            pooled[phase],
            all.count()
        ));
    }
    let met = if to_alone <= BAR { "met" } else { "NOT met" };
    output::show(&format!(
        "p99 at ten times the quota: {to_alone:.2} × alone (bar {BAR}: {met}), {to_within:.2} × within; medians of rounds {:.2} and {:.2}",
        median(&ratios(0)),
        median(&ratios(1))
    ));
    let figures = json!({
        "quota_events_per_second": arguments.quota,
        "call_events": arguments.call_events,
        "rounds": arguments.rounds,
        "seconds": arguments.seconds,
        "phases": PHASES.iter().zip(all).map(|((name, times), (latencies, p99s))| json!({
            "name": name, "times_its_quota": times, "latencies": latencies.to_json(), "p99_ms_by_round": p99s,
        })).collect::<Vec<_>>(),
        "p99_to_alone": to_alone,
        "p99_to_within": to_within,
        "bar": BAR,
    });
    std::fs::create_dir_all(&arguments.results)?;
    let path = arguments.results.join("neighbour.json");
    std::fs::write(&path, serde_json::to_string_pretty(&figures)? + "\n")?;
    output::note(&format!("written: {}", path.display()));
    Ok(())
}

/// Latencies of single events, each awaited, counted from when each was due.
fn paced(producer: &Producer, span: Duration) -> Result<Latencies> {
    let (runtime, mut latencies) = (Handle::current(), Latencies::new()?);
    let mut pool = Pool::new(Kind::Json, 200);
    let schedule = Schedule::new(Instant::now(), QUIET_RATE);
    for number in 0..span.as_millis() as u64 * u64::from(QUIET_RATE) / 1_000 {
        let event = Event::new(pool.next());
        let due = schedule.wait(number);
        runtime.block_on(async { producer.send(event).await?.await })?;
        latencies.record(due.elapsed());
    }
    Ok(latencies)
}

/// The loud organization: a thread and a runtime of its own, so that the quiet one's client shares nothing with it but the machine.
struct Loud {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<()>>,
}

#[derive(Default)]
struct Shared {
    /// How many times its quota it asks for.
    times: AtomicU32,
    stop: AtomicBool,
    taken: AtomicU64,
    refused: AtomicU64,
    failed: AtomicBool,
}

impl Loud {
    fn start(url: &str, key: &str, quota: u32, call_events: u32) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let (of_thread, url, key) = (Arc::clone(&shared), url.to_owned(), key.to_owned());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let caller = Caller::connect(&url, &key, STREAM, call_events).await?;
                ask(caller, f64::from(quota) / f64::from(call_events), of_thread).await
            })
        });
        Ok(Self { shared, thread })
    }

    fn ask_for(&self, times: u32) {
        self.shared.times.store(times, Ordering::Relaxed);
    }

    /// Calls taken and refused so far.
    fn counts(&self) -> (u64, u64) {
        (self.shared.taken.load(Ordering::Relaxed), self.shared.refused.load(Ordering::Relaxed))
    }

    fn stop(self) -> Result<()> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the loud organization panicked")??;
        if self.shared.failed.load(Ordering::Relaxed) {
            return Err("a call of the loud organization ended otherwise than by its quota".into());
        }
        Ok(())
    }
}

/// Calls at so many times `calls_per_second`, in ticks of ten milliseconds.
async fn ask(caller: Caller, calls_per_second: f64, shared: Arc<Shared>) -> Result<()> {
    let tick = Duration::from_millis(10);
    let mut ticks = tokio::time::interval(tick);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let room = Arc::new(tokio::sync::Semaphore::new(LOUD_IN_FLIGHT));
    let mut due = 0.0;
    while !shared.stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        due += calls_per_second * f64::from(shared.times.load(Ordering::Relaxed)) * tick.as_secs_f64();
        while due >= 1.0 {
            due -= 1.0;
            let (permit, shared) = (Arc::clone(&room).acquire_owned().await?, Arc::clone(&shared));
            tokio::spawn(call(caller.clone(), shared, permit));
        }
    }
    Ok(())
}

async fn call(caller: Caller, shared: Arc<Shared>, permit: tokio::sync::OwnedSemaphorePermit) {
    match caller.publish().await {
        Ok(()) => shared.taken.fetch_add(1, Ordering::Relaxed),
        Err(status) if status.code() == tonic::Code::ResourceExhausted => {
            shared.refused.fetch_add(1, Ordering::Relaxed)
        }
        Err(_) => u64::from(shared.failed.swap(true, Ordering::Relaxed)),
    };
    drop(permit);
}
