//! Fifty members that come and go for a minute, over sixteen partitions and two brokers, while events are published.
//!
//! At no instant has a partition two owners in one epoch, by what members are told and by what the database says; no partition
//! lacks a live holder longer than its bound; everything that is published is delivered, and in the end committed.

mod actor;
mod watch;

use crate::support::member::Member;
use crate::support::{Clients, Ground, turn};
use actor::Actor;
use eventflow_proto::v1;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use watch::Watch;

pub(super) const PARTITIONS: u32 = 16;
pub(super) const MEMBERS: usize = 50;
/// The group's drain; shorter than its default, so that deadlines pass.
pub(super) const DRAIN: Duration = Duration::from_secs(1);
/// `groups.member_grace_ms` as it is by default.
pub(super) const GRACE: Duration = Duration::from_secs(3);

/// The variable that shortens the minute, for the inner loop.
const SECONDS: &str = "EVENTFLOW_TEST_CHURN_SECONDS";
/// The variable that replays a run: it is printed with every failure.
const SEED: &str = "EVENTFLOW_TEST_SEED";

#[expect(clippy::disallowed_methods, reason = "a test has no configuration")]
fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("`{variable}`: {text}")))
}

/// A lease, as the pair of epochs of a partition.
pub(super) type LeaseKey = (u32, u64, u64);

/// How a session ended, as its member knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Left,
    Broken,
}

/// What everybody knows together.
#[derive(Default)]
pub(super) struct World {
    pub(super) over: tokio_util::sync::CancellationToken,
    told: Mutex<Told>,
}

/// What members were told and have done.
#[derive(Default)]
pub(super) struct Told {
    /// The one session of each lease.
    owners: HashMap<LeaseKey, String>,
    /// Sessions that have ended, by their members' account; the others live.
    pub(super) ended: HashMap<String, (Ending, Instant)>,
    pub(super) present: usize,
    pub(super) delivered: BTreeMap<u32, BTreeSet<i64>>,
    pub(super) lives: BTreeMap<&'static str, u64>,
}

impl Told {
    /// Somebody says that this session has this lease: nobody else may ever have had it.
    pub(super) fn owns(&mut self, lease: LeaseKey, session: &str) {
        let owner = self.owners.entry(lease).or_insert_with(|| session.to_owned());
        assert_eq!(owner, session, "two owners of (partition, log epoch, lease epoch) {lease:?}");
    }
}

impl World {
    pub(super) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_members_come_and_go_for_a_minute_and_every_partition_has_one_owner() {
    let _turn = turn().await;
    let (seconds, seed) = (number(SECONDS, 60), number(SEED, 20_261_127));
    eprintln!("{seconds} s of churn, {SEED}={seed}");
    let ground = Ground::new().await;
    let (one, two) = (ground.broker(&[]).await, ground.broker(&[]).await);
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&one, &key).await;
    clients.create_stream("orders", PARTITIONS).await;
    let group = v1::ConsumerGroup {
        name: "billing".into(),
        stream: "orders".into(),
        drain_timeout: Some(prost_types::Duration { seconds: DRAIN.as_secs() as i64, nanos: 0 }),
        ..Default::default()
    };
    let request = v1::CreateConsumerGroupRequest { group: Some(group), ..Default::default() };
    clients.groups.create_consumer_group(request).await.expect("a group");

    let world = World::default();
    let addresses = [&one, &two].map(|app| format!("http://{}", app.grpc_address()));
    let mut actors = Vec::new();
    for number in 0..MEMBERS {
        let doors = [Clients::at(&addresses[0], &key).await, Clients::at(&addresses[1], &key).await];
        actors.push(Actor::new(number, seed, doors, &world).run());
    }
    let minute = async {
        let end = tokio::time::Instant::now() + Duration::from_secs(seconds);
        let published = publish(clients.clone(), end).await;
        world.over.cancel();
        published
    };
    let watch = Watch::new(ground.database.connect().await, &world);
    let (published, watched, _) = tokio::join!(minute, watch.run(), futures_util::future::join_all(actors));
    eprintln!("{} events, {:?}, {watched}", published.iter().sum::<i64>(), world.told().lives);
    settle(&mut clients, &world, &published).await;
}

/// Publishes round after round to every partition until `end`; answers how many events each has.
async fn publish(mut clients: Clients, end: tokio::time::Instant) -> Vec<i64> {
    let mut published = vec![0; PARTITIONS as usize];
    let mut round = tokio::time::interval(Duration::from_millis(50));
    round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while tokio::time::Instant::now() < end {
        round.tick().await;
        for partition in 0..PARTITIONS {
            let next = &mut published[partition as usize];
            assert_eq!(clients.publish("orders", partition, &["x"]).await, *next);
            *next += 1;
        }
    }
    published
}

/// A few who stay take the rest: then everything was delivered, and everything is committed.
async fn settle(clients: &mut Clients, world: &World, published: &[i64]) {
    let mut last = Member::join(clients, "billing", "the-last").await.expect("joined");
    let caught_up = async {
        loop {
            actor::take_frame(&mut last, world).await.expect("a frame");
            let request = v1::GetLagRequest { name: "billing".into() };
            let lag = clients.groups.get_lag(request).await.expect("a lag").into_inner();
            if lag.lag_events == 0 {
                break lag; // poll
            }
        }
    };
    let lag = eventflow_testkit::within("everything to be committed", caught_up).await;
    let heads: Vec<i64> = lag.partitions.iter().map(|partition| partition.head).collect();
    assert_eq!(heads, published);
    for (partition, count) in published.iter().enumerate() {
        let told = world.told();
        let delivered = told.delivered.get(&(partition as u32)).map_or(0, BTreeSet::len);
        assert_eq!(delivered as i64, *count, "partition {partition}: delivered of published");
    }
}
