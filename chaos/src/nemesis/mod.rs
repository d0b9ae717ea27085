//! Faults: which, when, on what. Five lanes inject them at the same time, each with randomness of its own, so that a seed gives
//! the same faults in the same order; how they meet the workload is up to the machine.
//!
//! A run enables a random part of the faults (a swarm), because faults that are always there hide those that need quiet.

mod clients;
mod network;
mod postgres;
mod process;
mod redis;

use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::Result;
use crate::history::{Fault, Micros, Record};
use crate::load::{World, pick};

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    KillBroker,
    KillAllBrokers,
    PauseBroker,
    PausePastLease,
    RollingRestart,
    PowerLoss,
    SkewClock,
    PostgresFast,
    PostgresImmediate,
    PostgresKill,
    PostgresFreeze,
    FailoverSynchronous,
    FailoverBehind,
    DiskFull,
    LogDiskFull,
    TerminateBackends,
    LongTransaction,
    LockedHead,
    Stall,
    Delay,
    Throttle,
    Reset,
    Cut,
    Refuse,
    CutAppend,
    CutCommit,
    CutOutcome,
    MemberStorm,
    DuplicateMember,
    SuppressedHints,
    Seek,
    Purge,
    RedisKill,
    RedisFreeze,
    RedisForget,
}

/// All of them, with the names that histories and tables use, and the lane that injects them.
pub const KINDS: &[(Kind, &str, usize)] = &[
    (Kind::KillBroker, "broker killed", 0),
    (Kind::KillAllBrokers, "all brokers killed", 0),
    (Kind::PauseBroker, "broker paused", 0),
    (Kind::PausePastLease, "broker paused past its lease", 0),
    (Kind::RollingRestart, "rolling restart", 0),
    (Kind::PowerLoss, "power lost", 0),
    (Kind::SkewClock, "clock skewed", 0),
    (Kind::PostgresFast, "postgres restarted (fast)", 1),
    (Kind::PostgresImmediate, "postgres restarted (immediate)", 1),
    (Kind::PostgresKill, "postgres killed", 1),
    (Kind::PostgresFreeze, "postgres paused", 1),
    (Kind::TerminateBackends, "backends terminated", 1),
    (Kind::LongTransaction, "long transaction", 1),
    (Kind::LockedHead, "partition locked", 1),
    (Kind::FailoverSynchronous, "failover to a synchronous standby", 1),
    (Kind::FailoverBehind, "failover to a standby that is behind", 1),
    (Kind::DiskFull, "disk full", 1),
    (Kind::LogDiskFull, "log disk full", 1),
    (Kind::Stall, "network stalled", 2),
    (Kind::Delay, "network delayed", 2),
    (Kind::Throttle, "network throttled", 2),
    (Kind::Reset, "connections reset", 2),
    (Kind::Cut, "connection cut after n bytes", 2),
    (Kind::Refuse, "connections refused", 2),
    (Kind::CutAppend, "append cut", 2),
    (Kind::CutCommit, "commit cut", 2),
    (Kind::CutOutcome, "outcome cut", 2),
    (Kind::MemberStorm, "member storm", 3),
    (Kind::DuplicateMember, "duplicate member", 3),
    (Kind::SuppressedHints, "hints suppressed", 3),
    (Kind::Seek, "group moved back", 3),
    (Kind::Purge, "stream purged", 3),
    (Kind::RedisKill, "redis down", REDIS),
    (Kind::RedisFreeze, "redis paused", REDIS),
    (Kind::RedisForget, "redis emptied", REDIS),
];

const LANES: usize = 5;
/// The lane of Redis, which half of the runs have.
const REDIS: usize = 4;

/// Which faults a run injects, and how densely.
#[derive(Debug, Clone)]
pub struct Plan {
    pub enabled: Vec<Kind>,
    /// Milliseconds between two faults of a lane, from and to.
    pub gap_ms: (u64, u64),
    /// How long a broker's lease lives.
    pub lease: Duration,
}

impl Plan {
    /// A random part of what is wanted: about two thirds, and at least one of each lane that has any.
    pub fn swarm(rng: &mut StdRng, wanted: &[Kind], gap_ms: (u64, u64), lease: Duration) -> Plan {
        let mut enabled = Vec::new();
        // Drawn beside: what a seed gave before there was a Redis it gives still.
        let has_redis = rng.clone().random_bool(0.5);
        for lane in 0..REDIS {
            let of_lane: Vec<Kind> = in_lane(lane).filter(|kind| wanted.contains(kind)).collect();
            let Some(sure) = of_lane.get(rng.random_range(0..of_lane.len().max(1))).copied() else { continue };
            enabled.extend(of_lane.into_iter().filter(|kind| *kind == sure || rng.random_bool(0.6)));
        }
        enabled.extend(in_lane(REDIS).filter(|kind| has_redis && wanted.contains(kind)));
        Plan { enabled, gap_ms, lease }
    }

    /// Whether brokers share their rates.
    pub fn has_redis(&self) -> bool {
        in_lane(REDIS).any(|kind| self.has(kind))
    }

    pub fn has(&self, kind: Kind) -> bool {
        self.enabled.contains(&kind)
    }
}

fn in_lane(lane: usize) -> impl Iterator<Item = Kind> {
    KINDS.iter().filter(move |(_, _, of)| *of == lane).map(|(kind, _, _)| *kind)
}

/// Faults that need a ground of their own (a standby, a small disk, a preloaded shim), and so are injected when they are named.
const SPECIAL: [Kind; 6] = [
    Kind::PowerLoss,
    Kind::SkewClock,
    Kind::FailoverSynchronous,
    Kind::FailoverBehind,
    Kind::DiskFull,
    Kind::LogDiskFull,
];

/// All kinds that any ground bears.
pub fn all() -> Vec<Kind> {
    KINDS.iter().map(|(kind, _, _)| *kind).filter(|kind| !SPECIAL.contains(kind)).collect()
}

/// The kinds that are meant: those whose name holds one of these texts, or the one that has exactly that name; with `all`, those
/// that any ground bears.
pub fn named(wanted: &[String]) -> Vec<Kind> {
    let is_exact = |text: &String| KINDS.iter().any(|(_, name, _)| name == text);
    let is_meant = |kind: Kind, name: &str| {
        wanted.iter().any(|text| match text.as_str() {
            "all" => all().contains(&kind),
            text if is_exact(&text.to_owned()) => name == text,
            text => name.contains(text),
        })
    };
    KINDS.iter().filter(|(kind, name, _)| is_meant(*kind, name)).map(|(kind, _, _)| *kind).collect()
}

/// The name of a kind.
pub fn name(kind: Kind) -> &'static str {
    KINDS.iter().find(|(known, _, _)| *known == kind).map_or("", |(_, name, _)| name)
}

/// Injects faults until the time is up; returns when the last one is over.
pub async fn run(world: &Arc<World>, plan: &Plan, until: Instant) -> Result<()> {
    if plan.has(Kind::PowerLoss) {
        process::on_disk(world).await?;
    }
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        let (world, plan) = (Arc::clone(world), plan.clone());
        lanes.spawn(async move { inject(&world, &plan, lane, until).await });
    }
    while let Some(ended) = lanes.join_next().await {
        ended??;
    }
    Ok(())
}

async fn inject(world: &Arc<World>, plan: &Plan, lane: usize, until: Instant) -> Result<()> {
    let mut rng = world.rng(1_000 + lane as u64);
    let choices: Vec<(u32, Kind)> = in_lane(lane).filter(|kind| plan.has(*kind)).map(|kind| (1, kind)).collect();
    let mut due = choices.iter().any(|(_, kind)| *kind == Kind::PausePastLease);
    while !choices.is_empty() {
        let gap = Duration::from_millis(rng.random_range(plan.gap_ms.0..plan.gap_ms.1));
        if Instant::now() + gap >= until {
            break;
        }
        sleep_until(Instant::now() + gap).await;
        // Fencing must be tried in every run that is to show it.
        let kind = if std::mem::take(&mut due) { Kind::PausePastLease } else { pick(&mut rng, &choices) };
        let t0 = world.now();
        let target = one(world, plan, kind, &mut rng).await?;
        let t1 = world.now();
        let fault = match target {
            Ok(Hit { target, back }) => Fault { kind: name(kind).into(), target, t0, t1, back, skipped: String::new() },
            Err(skipped) => Fault { kind: name(kind).into(), target: String::new(), t0, t1, back: None, skipped },
        };
        world.recorder.write(&Record::Fault(fault));
    }
    Ok(())
}

/// What was hit.
struct Hit {
    target: String,
    /// When it served again.
    back: Option<Micros>,
}

impl From<String> for Hit {
    fn from(target: String) -> Hit {
        Hit { target, back: None }
    }
}

/// What was hit, or why it could not be.
type Injected = Result<Hit, String>;

async fn one(world: &Arc<World>, plan: &Plan, kind: Kind, rng: &mut StdRng) -> Result<Injected> {
    match kind {
        Kind::PowerLoss => process::power_loss(world).await,
        Kind::KillBroker
        | Kind::KillAllBrokers
        | Kind::PauseBroker
        | Kind::PausePastLease
        | Kind::RollingRestart
        | Kind::SkewClock => process::inject(world, plan, kind, rng).await,
        Kind::PostgresFast
        | Kind::PostgresImmediate
        | Kind::PostgresKill
        | Kind::PostgresFreeze
        | Kind::FailoverSynchronous
        | Kind::FailoverBehind
        | Kind::DiskFull
        | Kind::LogDiskFull
        | Kind::TerminateBackends
        | Kind::LongTransaction
        | Kind::LockedHead => Ok(postgres::inject(world, kind, rng).await),
        Kind::MemberStorm | Kind::DuplicateMember | Kind::SuppressedHints | Kind::Seek | Kind::Purge => {
            Ok(clients::inject(world, kind, rng).await)
        }
        Kind::RedisKill | Kind::RedisFreeze | Kind::RedisForget => Ok(redis::inject(world, kind, rng).await),
        _ => Ok(Ok(network::inject(world, kind, rng).await.into())),
    }
}

/// Undoes everything: the network passes, every broker runs.
pub async fn heal(world: &World, gone: Option<usize>) -> Result<()> {
    for proxy in world.ground.proxies() {
        proxy.pass().await;
    }
    world.ground.postgres.cluster().thaw().await;
    world.ground.postgres.cluster().start().await;
    for (index, place) in world.ground.places.iter().enumerate() {
        let mut broker = place.broker.lock().await;
        if gone == Some(index) {
            let _ = world.gone.set(index);
            broker.kill().await?;
            continue;
        }
        broker.signal(eventflow_testkit::Signal::CONT);
        broker.start().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(wanted: &[&str]) -> Vec<Kind> {
        named(&wanted.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn faults_are_named_by_a_part_of_their_name_or_by_all_of_it() {
        assert_eq!(of(&["broker killed"]), [Kind::KillBroker]);
        assert_eq!(of(&["disk full"]), [Kind::DiskFull]);
        assert_eq!(of(&["killed"]), [Kind::KillBroker, Kind::KillAllBrokers, Kind::PostgresKill]);
        assert_eq!(of(&["none"]), []);
        assert_eq!(of(&["all"]), all());
    }
}
