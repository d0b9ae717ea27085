//! A rolling upgrade: two brokers of the commit that `scripts/previous-broker` names, on a database that this version has
//! migrated, are replaced one after the other while events come and go. And one is taken back.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use eventflow::{Client, ClientOptions, Consumer, Event, GroupSpec, HostOrder, Position, Result, StreamSpec};
use eventflow_testkit::{Database, Process, Signal, built_binary, free_ports, within};
use serde_json::Value;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::support::{Home, ended};

const RECORD: &str = include_str!("../../../scripts/previous-broker");
const STREAM: &str = "orders";
const GROUP: &str = "billing";
const PARTITIONS: u32 = 4;
const KEYS: usize = 7;
/// Events that come and go between two replacements.
const EVENTS_BETWEEN: usize = 500;

#[tokio::test(flavor = "multi_thread")]
async fn brokers_are_replaced_one_after_the_other_and_nobody_notices() {
    let Some(previous) = previous() else { return };
    let this = built_binary("eventflow");
    let ground = Ground::new().await;
    let mut brokers = [ground.serve(0, &previous).await, ground.serve(1, &previous).await];
    let [old, new] = [version(&previous), version(&this)];
    assert_ne!(old, new);
    ground.until_served_by(&[&old]).await;

    let traffic = Traffic::start(&ground).await;
    traffic.goes_on().await;
    ground.replace(&mut brokers, 0, &this).await;
    traffic.goes_on().await;
    ground.until_served_by(&[&old, &new]).await;
    ground.both_keep_up_the_last_event_of_a_key().await;
    ground.replace(&mut brokers, 1, &this).await;
    traffic.goes_on().await;
    ground.until_served_by(&[&new]).await;
    // An upgrade that somebody thinks better of.
    ground.replace(&mut brokers, 0, &previous).await;
    traffic.goes_on().await;
    ground.until_served_by(&[&old, &new]).await;
    traffic.everything_arrived().await;
}

/// The binary that `scripts/previous-broker.sh` has built. That script, a part of `make test`, says when it cannot.
fn previous() -> Option<PathBuf> {
    let commit = RECORD.lines().find(|line| !line.starts_with('#')).expect("a commit");
    let here = built_binary("eventflow");
    let path = here.with_file_name("previous").join(commit).join("eventflow");
    if path.exists() {
        return Some(path);
    }
    // Not through a macro, whose words a passing test keeps for itself.
    let line = "skipped: the rolling upgrade (scripts/previous-broker.sh builds the broker that it starts from)\n";
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    None
}

fn version(program: &Path) -> String {
    let told = ended(&mut Home::new().command_of(program, &["--version"]));
    told.out.trim().rsplit(' ').next().unwrap().to_owned()
}

/// A database, and two places for brokers.
struct Ground {
    home: Home,
    database: Database,
    key: String,
    ports: [[u16; 2]; 2],
}

impl Ground {
    async fn new() -> Self {
        let (home, database) = (Home::new(), Database::empty().await);
        let [a, b, c, d]: [u16; 4] = free_ports();
        let mut ground = Self { home, database, key: String::new(), ports: [[a, b], [c, d]] };
        // Expand first, contract later: the schema goes ahead, and brokers follow one by one.
        ground.operate(&["migrate"]);
        ground.key = ground.operate(&["admin", "key", "create", "--organization", "acme"]).trim().to_owned();
        ground
    }

    /// Runs an operator's command of this version on the database.
    fn operate(&self, arguments: &[&str]) -> String {
        let url = self.database.url();
        let ended = self.home.run(&[arguments, &["--database-url", &url]].concat());
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        ended.out
    }

    async fn serve(&self, place: usize, program: &Path) -> Process {
        let [grpc, http] = self.ports[place];
        let set = [
            format!("database.url={}", self.database.url()),
            format!("server.listen=127.0.0.1:{grpc}"),
            format!("http.listen=127.0.0.1:{http}"),
            format!("broker.name=broker-{place}"),
        ];
        let mut arguments = vec!["serve", "--allow-unsafe-durability"];
        set.iter().for_each(|set| arguments.extend(["--set", set]));
        let mut broker = Process::start(self.home.command_of(program, &arguments));
        broker.wait_for_line("serving").await;
        broker
    }

    /// Stops a broker in order, and starts another program in its place.
    async fn replace(&self, brokers: &mut [Process; 2], place: usize, program: &Path) {
        brokers[place].signal(Signal::TERM);
        let status = brokers[place].wait().await;
        assert!(status.success(), "{status}: {:?}", brokers[place].lines());
        brokers[place] = self.serve(place, program).await;
    }

    /// Returns when `status` shows brokers of these versions and no others. One that was stopped is shown until the grace of
    /// its members is over.
    async fn until_served_by(&self, versions: &[&String]) {
        let wanted: BTreeSet<String> = versions.iter().map(|version| (*version).clone()).collect();
        within("the versions that status shows", async {
            while self.versions() != wanted {
                tokio::task::yield_now().await; // poll
            }
        })
        .await;
    }

    /// Versions of the brokers that are alive.
    fn versions(&self) -> BTreeSet<String> {
        let status: Value = serde_json::from_str(&self.operate(&["status", "-o", "json"])).unwrap();
        let brokers = status["brokers"].as_array().expect("brokers").iter();
        let alive = brokers.filter(|broker| broker["alive"] == true);
        alive.map(|broker| broker["version"].as_str().unwrap().to_owned()).collect()
    }

    /// The broker at the first place knows of it, the one at the second does not.
    async fn both_keep_up_the_last_event_of_a_key(&self) {
        let [new, old] = [self.client(0).await, self.client(1).await];
        new.streams().create("accounts", StreamSpec::default().partitions(2).track_keys()).await.unwrap();
        let opened =
            new.publish_expecting_last("accounts", "account-7", None, vec![Event::new("opened")]).await.unwrap();
        let producer = old.producer("accounts").build().await.unwrap();
        let credited = Event::new("credited").with_key("account-7");
        let credited = producer.send(credited).await.unwrap().await.unwrap();
        producer.close().await.unwrap();
        let closes =
            |last: i64| new.publish_expecting_last("accounts", "account-7", Some(last), vec![Event::new("closed")]);
        let late = closes(opened[0].offset).await.unwrap_err();
        assert_eq!((late.reason(), late.metadata()["last_offset"].as_str()), ("EXPECTATION_FAILED", "1"));
        assert_eq!(closes(credited.offset).await.unwrap()[0].offset, 2);
    }

    /// A client that prefers one place.
    async fn client(&self, place: usize) -> Client {
        let [[one, _], [other, _]] = self.ports;
        let (first, second) = if place == 0 { (one, other) } else { (other, one) };
        let url = format!("eventflow://127.0.0.1:{first},127.0.0.1:{second}");
        let options = ClientOptions::new(&url).unwrap().api_key(&self.key).host_order(HostOrder::AsGiven);
        Client::connect_with(options).await.unwrap()
    }
}

/// Where an event stands, and its number.
type Place = (u32, i64);

/// What was acknowledged and what has arrived.
#[derive(Default)]
struct History {
    acknowledged: BTreeMap<Place, usize>,
    arrived: BTreeMap<Place, usize>,
    /// The highest number of each key that has arrived.
    newest: BTreeMap<usize, usize>,
}

/// A producer at each broker, and a group with a member at each.
struct Traffic {
    history: Arc<Mutex<History>>,
    changed: watch::Sender<()>,
    stop: CancellationToken,
    leave: CancellationToken,
    producers: JoinSet<Result<()>>,
    members: JoinSet<Result<()>>,
}

impl Traffic {
    async fn start(ground: &Ground) -> Self {
        let operator = ground.client(0).await;
        operator.streams().create(STREAM, StreamSpec::default().partitions(PARTITIONS)).await.unwrap();
        operator.groups().create(GROUP, STREAM, Position::Earliest, GroupSpec::default()).await.unwrap();
        let mut traffic = Self {
            history: Arc::default(),
            changed: watch::channel(()).0,
            stop: CancellationToken::new(),
            leave: CancellationToken::new(),
            producers: JoinSet::new(),
            members: JoinSet::new(),
        };
        for place in [0, 1] {
            let client = ground.client(place).await;
            let member = client.consumer(GROUP).member_name(format!("member-{place}")).build().await.unwrap();
            let (history, changed) = (traffic.history.clone(), traffic.changed.clone());
            traffic.members.spawn(follow(member, history, changed, traffic.leave.clone()));
            let (history, changed) = (traffic.history.clone(), traffic.changed.clone());
            traffic.producers.spawn(publish(client, place, history, changed, traffic.stop.clone()));
        }
        traffic
    }

    /// Waits until so many more events have been acknowledged, and have arrived.
    async fn goes_on(&self) {
        let (acknowledged, arrived) = self.counts();
        self.until("more events", |now| now.0 >= acknowledged + EVENTS_BETWEEN && now.1 >= arrived + EVENTS_BETWEEN)
            .await;
    }

    fn counts(&self) -> (usize, usize) {
        let history = self.history.lock().unwrap();
        (history.acknowledged.len(), history.arrived.len())
    }

    async fn until(&self, what: &str, wanted: impl Fn((usize, usize)) -> bool) {
        let mut changes = self.changed.subscribe();
        let wait = async {
            while !wanted(self.counts()) {
                changes.changed().await.unwrap();
            }
        };
        within(what, wait).await;
    }

    /// Ends it, and compares what arrived with what was acknowledged.
    async fn everything_arrived(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.producers.join_next().await {
            ended.unwrap().expect("producers see no error");
        }
        self.until("every event to arrive", |(acknowledged, arrived)| arrived >= acknowledged).await;
        self.leave.cancel();
        while let Some(ended) = self.members.join_next().await {
            ended.unwrap().expect("members see no error");
        }
        let history = self.history.lock().unwrap();
        assert_eq!(history.acknowledged, history.arrived);
        for partition in 0..PARTITIONS {
            let offsets = history.arrived.keys().filter(|place| place.0 == partition).map(|place| place.1);
            assert!(offsets.enumerate().all(|(index, offset)| offset == index as i64), "a gap in {partition}");
        }
    }
}

/// Publishes numbers, a few at a time, until it is told to stop. Each producer has keys of its own.
async fn publish(
    client: Client,
    place: usize,
    history: Arc<Mutex<History>>,
    changed: watch::Sender<()>,
    stop: CancellationToken,
) -> Result<()> {
    let producer = client.producer(STREAM).build().await?;
    let mut number = 0;
    while !stop.is_cancelled() {
        let mut receipts = Vec::new();
        for _ in 0..20 {
            let key = place * KEYS + number % KEYS;
            receipts.push((number, producer.send(Event::new(number.to_string()).with_key(key.to_string())).await?));
            number += 1;
        }
        for (number, receipt) in receipts {
            let appended = receipt.await?;
            history.lock().unwrap().acknowledged.insert((appended.partition, appended.offset), number);
        }
        changed.send_replace(());
    }
    producer.close().await
}

async fn follow(
    mut member: Consumer,
    history: Arc<Mutex<History>>,
    changed: watch::Sender<()>,
    leave: CancellationToken,
) -> Result<()> {
    loop {
        let batch = tokio::select! {
            batch = member.next_batch() => batch.expect("nobody has closed it")?,
            () = leave.cancelled() => return member.close().await,
        };
        let mut history = history.lock().unwrap();
        for record in batch {
            let number = std::str::from_utf8(record.payload()).unwrap().parse().unwrap();
            let key = record.key().unwrap().parse().unwrap();
            let place = (record.partition(), record.offset());
            if history.arrived.insert(place, number).is_none() {
                let before = history.newest.insert(key, number);
                assert!(before.is_none_or(|before| before < number), "{key}: {number} came after {before:?}");
            }
        }
        drop(history);
        changed.send_replace(());
    }
}
