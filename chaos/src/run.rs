//! One run: set up, load and faults, heal, calm, quiet, drain, read the log back, check.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use eventflow_testkit::Settings;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep, timeout};

use crate::Result;
use crate::check::{self, Report};
use crate::dump;
use crate::ground::{BROKERS, BrokerSettings, Ground, OnSmallDisk, Postgres, Replica};
use crate::history::{self, FAILOVER, Outcome, Phase, Record, Recorder, Setup, Step, Surprise};
use crate::load::{self, Clients, Stage, World, fetch};
use crate::mutants::Mutant;
use crate::nemesis::{self, Kind, Plan};

/// Events that a group may have before it in calm.
const BACKLOG: i64 = 5_000;
/// Consumers may take so long to work off what faults have piled up, before calm begins all the same.
const WORK_OFF: Duration = Duration::from_secs(20);
/// Publishing goes on for so long after healing: connections and leases settle, then delivery must be prompt.
const CALM: Duration = Duration::from_secs(12);
/// Consumers may take so long to drain what was published.
const DRAIN: Duration = Duration::from_secs(45);
/// Clients may take so long to end when they are told to.
const END: Duration = Duration::from_secs(90);
/// A call must be answered within this time in calm; the rest of it is for a busy machine.
const CALL: Duration = Duration::from_secs(10);

/// What a run does.
#[derive(Debug, Clone)]
pub struct Order {
    pub seed: u64,
    /// Seconds of faults.
    pub seconds: u64,
    /// Faults to choose from.
    pub faults: Vec<Kind>,
    /// Enable all of them instead of a random part.
    pub all: bool,
    /// Where history and logs go; made when missing.
    pub dir: PathBuf,
    /// `eventflow`, the broker under test.
    pub binary: PathBuf,
    /// Settings for all brokers, on top.
    pub settings: Vec<(String, String)>,
    /// Postgres does not flush, and brokers are told to bear it.
    pub is_unsafe: bool,
    /// Bugs seeded into the database's functions.
    pub mutant: Option<Mutant>,
    /// Multiplies pauses between publishes.
    pub pace: f64,
    /// Room between two faults of a lane, on top of a random pause.
    pub gap: Duration,
}

impl Order {
    /// Where the run writes its history.
    pub fn history(&self) -> PathBuf {
        self.dir.join("history.jsonl")
    }
}

/// Makes a run and checks its history, which is read back from the file: what counts is what was written.
pub async fn run(order: &Order) -> Result<Report> {
    std::fs::create_dir_all(&order.dir)?;
    let recorder = Recorder::create(&order.history())?;
    let mut rng = StdRng::seed_from_u64(order.seed);
    let lease = Duration::from_millis(if rng.random_bool(0.5) { 5_000 } else { 3_000 });
    let plan = plan(order, &mut rng, lease);
    // In a quarter of the runs a broker stays dead: everybody else must do without it.
    let gone = (!plan.enabled.is_empty() && rng.random_bool(0.25)).then(|| rng.random_range(0..BROKERS));
    let settings = broker_settings(order, &plan, &mut rng, lease);
    let setup = setup(order, &plan);
    recorder.write(&Record::Setup(setup.clone()));
    let kind = if order.is_unsafe { Settings::throwaway() } else { Settings::durable() };
    let postgres = postgres(&plan, kind.set("wal_keep_size", "2GB").set("shared_buffers", "64MB")).await?;
    let ground = Arc::new(Ground::new(postgres, &order.dir, order.seed, &settings, &recorder).await?);
    if let Some(mutant) = &order.mutant {
        mutant.apply(&ground.postgres.connect().await?).await?;
    }
    let world = World::new(Arc::clone(&ground), recorder.clone(), setup, order.seed, order.pace);
    let started = wal_position(&ground).await?;
    load::prepare(&world).await?;
    let clients = load::start(&world);
    let watch = tokio::spawn({
        let ground = Arc::clone(&ground);
        async move { ground.watch().await }
    });
    let played = play(order, &plan, gone, &world, clients).await;
    watch.abort();
    played?;
    // Before a row is damaged and mended, which makes it another transaction's.
    dump::flushes(&world, started).await;
    dump::last_reads(&world, gone, &mut rng).await;
    for place in &ground.places {
        place.broker.lock().await.kill().await?;
    }
    dump::log(&world).await?;
    recorder.flush()?;
    drop(world);
    let records = history::read(&order.history())?;
    let report = tokio::task::spawn_blocking(move || check::check(&records)).await?;
    Ok(report)
}

fn plan(order: &Order, rng: &mut StdRng, lease: Duration) -> Plan {
    let room = order.gap.as_millis() as u64;
    let gap_ms = (room + 200, room + 2_500);
    if order.all {
        return Plan { enabled: order.faults.clone(), gap_ms, lease };
    }
    Plan::swarm(rng, &order.faults, gap_ms, lease)
}

/// What the faults need of the database.
async fn postgres(plan: &Plan, settings: Settings) -> Result<Postgres> {
    let replica = match (plan.has(Kind::FailoverSynchronous), plan.has(Kind::FailoverBehind)) {
        (false, false) => Replica::None,
        (true, false) => Replica::Synchronous,
        (false, true) => Replica::Asynchronous,
        (true, true) => return Err("a run has one kind of standby: name the other failover in a run of its own".into()),
    };
    let disk = match (plan.has(Kind::DiskFull), plan.has(Kind::LogDiskFull)) {
        (false, false) => OnSmallDisk::Nothing,
        (true, false) => OnSmallDisk::Data,
        (false, true) => OnSmallDisk::Log,
        (true, true) => return Err("a run has one small disk: name `log disk full` in a run of its own".into()),
    };
    if replica != Replica::None && disk != OnSmallDisk::Nothing {
        return Err("a standby does not stand on a small disk: name the two in runs of their own".into());
    }
    Postgres::start(settings, replica, disk).await
}

fn setup(order: &Order, plan: &Plan) -> Setup {
    let has_failover = plan.has(Kind::FailoverSynchronous) || plan.has(Kind::FailoverBehind);
    Setup {
        seed: order.seed,
        scenario: if has_failover { FAILOVER } else { "standard" }.into(),
        streams: load::streams(),
        groups: load::groups(),
        loss_allowed: plan.has(Kind::FailoverBehind),
        faults_wanted: !plan.enabled.is_empty(),
        fencing_wanted: plan.has(Kind::PausePastLease) && order.seconds >= 15,
        outcomes_wanted: true,
        drain_bound: DRAIN.as_micros() as u64,
        call_bound: CALL.as_micros() as u64,
    }
}

/// Leases and heartbeats are quick, so that a run sees many of them; some brokers hear no hints at all.
fn broker_settings(order: &Order, plan: &Plan, rng: &mut StdRng, lease: Duration) -> BrokerSettings {
    let common = [
        ("groups.lease_ttl_ms", lease.as_millis().to_string()),
        ("groups.member_grace_ms", rng.random_range(1_000..3_000).to_string()),
        ("delivery.heartbeat_ms", "1000".to_owned()),
        ("delivery.silence_limit_ms", "8000".to_owned()),
        ("delivery.tail_cache_bytes", if rng.random_bool(0.3) { "1048576" } else { "67108864" }.to_owned()),
        ("jobs.retention_interval_s", "1".to_owned()),
    ];
    let mut common: Vec<(String, String)> = common.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    common.extend(order.settings.iter().cloned());
    if order.is_unsafe {
        common.push(("database.allow_unsafe_durability".to_owned(), "true".to_owned()));
    }
    let deaf = |rng: &mut StdRng| rng.random_bool(0.15).then(|| ("delivery.hints".to_owned(), "false".to_owned()));
    let own = (0..BROKERS).map(|_| deaf(rng).into_iter().collect()).collect();
    BrokerSettings {
        binary: order.binary.clone(),
        common,
        own,
        has_clocks: plan.has(Kind::SkewClock),
        has_redis: plan.has_redis(),
    }
}

/// The phases of a run, from the first fault until everything is drained and every client has ended.
async fn play(order: &Order, plan: &Plan, gone: Option<usize>, world: &Arc<World>, mut clients: Clients) -> Result<()> {
    sleep(Duration::from_secs(2)).await;
    phase(world, Step::Faults);
    nemesis::run(world, plan, Instant::now() + Duration::from_secs(order.seconds)).await?;
    if plan.enabled.is_empty() {
        sleep(Duration::from_secs(order.seconds)).await;
    }
    nemesis::heal(world, gone).await?;
    work_off(world, gone).await;
    world.stage.send_replace(Stage::Calm);
    phase(world, Step::Healed);
    sleep(CALM).await;
    world.stage.send_replace(Stage::Quiet);
    finish(world, &mut clients.producers, "producers").await;
    phase(world, Step::Quiet);
    drain(world, gone).await;
    phase(world, Step::Drained);
    world.stage.send_replace(Stage::Over);
    finish(world, &mut clients.others, "consumers and readers").await;
    Ok(())
}

fn phase(world: &World, name: Step) {
    world.recorder.write(&Record::Phase(Phase { name, t: world.now() }));
}

/// Waits for clients to end. What does not end, hangs.
async fn finish(world: &World, clients: &mut tokio::task::JoinSet<Result<()>>, who: &str) {
    let ending = async {
        while let Some(ended) = clients.join_next().await {
            if let Err(failure) = ended.map_err(Into::into).and_then(|ended| ended) {
                world.surprise(who, format!("a client failed: {failure}"));
            }
        }
    };
    if timeout(END, ending).await.is_err() {
        let t = world.now();
        let what = format!("{} of them did not end within {} s", clients.len(), END.as_secs());
        world.recorder.write(&Record::Surprise(Surprise { t, who: who.to_owned(), what }));
        clients.abort_all();
        while clients.join_next().await.is_some() {}
    }
}

/// Waits until no group has more to do than is usual, or the time is up: what faults have piled up is no sign that delivery is slow.
async fn work_off(world: &World, gone: Option<usize>) {
    let alive = (0..BROKERS).find(|broker| gone != Some(*broker)).unwrap_or_default();
    let deadline = Instant::now() + WORK_OFF;
    while Instant::now() < deadline {
        let mut most = 0;
        for g in 0..world.setup.groups.len() as u16 {
            most = fetch(world, g, 0, alive).await.unwrap_or(BACKLOG).max(most);
        }
        if most < BACKLOG {
            return;
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until every group has done everything, or the time is up.
async fn drain(world: &World, gone: Option<usize>) {
    let alive = (0..BROKERS).find(|broker| gone != Some(*broker)).unwrap_or_default();
    let deadline = Instant::now() + DRAIN;
    while Instant::now() < deadline {
        let mut left = 0;
        for g in 0..world.setup.groups.len() as u16 {
            left += fetch(world, g, 0, alive).await.unwrap_or(1);
        }
        if left == 0 {
            return;
        }
        sleep(Duration::from_millis(200)).await;
    }
}

async fn wal_position(ground: &Ground) -> Result<u64> {
    let client = ground.postgres.connect().await?;
    let row = client.query_one("select (pg_current_wal_lsn() - '0/0')::bigint", &[]).await?;
    Ok(row.get::<_, i64>(0) as u64)
}

/// The shortest beginning of a history in which a safety violation can still be seen, written beside it. Cheap, because the
/// checker is: no run is repeated. What was sent and what the log holds stays; what clients saw is cut off by time.
pub fn shrink(path: &Path) -> Result<Option<PathBuf>> {
    let records = history::read(path)?;
    let full = check::check(&records);
    let is_safety = |id: &&str| id.starts_with('S');
    let Some(wanted) = full.findings.ids().into_iter().find(is_safety) else { return Ok(None) };
    let fails = |until: u64| {
        let cut: Vec<Record> = records.iter().filter(|record| is_before(record, until)).cloned().collect();
        check::check(&cut).findings.ids().contains(&wanted)
    };
    let (mut low, mut high) = (0, records.iter().filter_map(time).max().unwrap_or_default() + 1);
    if !fails(high) {
        return Ok(None);
    }
    while high - low > 10_000 {
        let middle = low + (high - low) / 2;
        if fails(middle) { high = middle } else { low = middle }
    }
    let prefix = path.with_extension("prefix.jsonl");
    history::write_all(&prefix, records.iter().filter(|record| is_before(record, high)))?;
    Ok(Some(prefix))
}

fn is_before(record: &Record, until: u64) -> bool {
    time(record).is_none_or(|time| time < until)
}

/// When a client saw it; none for what must stay.
fn time(record: &Record) -> Option<u64> {
    match record {
        Record::Lease(lease) => Some(lease.t),
        Record::Deliver(deliver) => Some(deliver.t),
        Record::Truncated(truncated) => Some(truncated.t),
        Record::Ended(ended) => Some(ended.t),
        Record::Commit(commit) => Some(commit.t1),
        Record::Fetch(fetch) => Some(fetch.t1),
        Record::Read(read) => Some(read.t),
        Record::Range(range) => Some(range.t1),
        Record::Foreign(foreign) => Some(foreign.t1),
        Record::Flushed(flushed) => Some(flushed.t),
        Record::Publish(publish) if publish.repeat && publish.outcome == Outcome::Ok => Some(publish.t1),
        Record::Settle(settle) => Some(settle.t1),
        Record::Use(used) => Some(used.t1),
        _ => None,
    }
}
