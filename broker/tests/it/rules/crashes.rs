//! A broker that dies between the copies of events and the progress over them: no event is lost, and none is copied twice.

use super::{arrived, create, publish, route, rule, settled, stored};
use crate::support::process::BrokerProcess;
use crate::support::{Clients, Ground, broker_at, event, text};
use eventflow_proto::v1;
use eventflow_testkit::{Action, Match, PgProxy, Rule, Step, Upstream};

const EVENTS: usize = 300;

/// A broker of its own whose progress is held at a step, and `orders` of one partition with a rule that copies.
struct Doomed {
    ground: Ground,
    broker: BrokerProcess,
    clients: Clients,
    progress: Rule,
    _proxy: PgProxy,
}

impl Doomed {
    async fn new(step: Step) -> Self {
        let ground = Ground::new().await;
        let proxy = PgProxy::start(Upstream::postgres(ground.database.connection()));
        let url = ground.database.through(proxy.address()).url();
        let broker = BrokerProcess::start(&url, &[("groups.lease_ttl_ms", "3000")]).await;
        let mut clients = Clients::at(&broker.url(), &ground.key("acme").await).await;
        clients.create_stream("orders", 1).await;
        clients.create_stream("copies", 2).await;
        create(&mut clients, rule("copy", "", route("copies"))).await;
        settled(&mut clients).await;
        let progress = proxy.on(Match::sql_contains("commit_v1").every(), step, Action::Hold);
        Self { ground, broker, clients, progress, _proxy: proxy }
    }

    /// Publishes; returns when everything was copied and progress is held.
    async fn copied(&mut self) {
        let numbered =
            |number: usize| v1::Event { key: Some(format!("k{}", number % 17)), ..event(&number.to_string()) };
        publish(&mut self.clients, (0..EVENTS).map(numbered).collect()).await;
        arrived(&mut self.clients, "copies", EVENTS).await;
        self.progress.fired().await;
    }
}

/// Each event once, and the events of a key in their order.
async fn assert_whole(clients: &mut Clients) {
    let copies = stored(clients, "copies").await;
    let numbers: Vec<usize> = copies.iter().map(|copy| text(copy).parse().expect("a number")).collect();
    for key in 0..17 {
        let of_key: Vec<usize> = numbers.iter().copied().filter(|number| number % 17 == key).collect();
        let expected: Vec<usize> = (0..EVENTS).filter(|number| number % 17 == key).collect();
        assert_eq!(of_key, expected, "key {key}");
    }
}

async fn dies_at(step: Step) {
    let mut doomed = Doomed::new(step).await;
    doomed.copied().await;
    doomed.broker.kill().await;
    let heir = broker_at(&doomed.ground.database.url(), &[("groups.lease_ttl_ms", "3000")]).await;
    let mut clients = Clients::new(&heir, &doomed.ground.key("acme").await).await;
    let status = settled(&mut clients).await;
    assert_eq!(status.dead_letters, 0);
    assert_whole(&mut clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_before_its_progress_is_written_leaves_no_second_copy() {
    dies_at(Step::BeforeForward).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_dies_when_its_progress_is_written_leaves_no_second_copy() {
    dies_at(Step::BeforeReply).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_from_before_their_stream_got_more_partitions_are_not_made_again_elsewhere() {
    let mut doomed = Doomed::new(Step::BeforeForward).await;
    doomed.copied().await;
    doomed.broker.kill().await;
    // Nobody runs rules while the stream grows, because the heir sweeps no sooner than one TTL after its start: then it finds
    // other partitions for most keys.
    let heir = broker_at(&doomed.ground.database.url(), &[("groups.lease_ttl_ms", "6000")]).await;
    let mut clients = Clients::new(&heir, &doomed.ground.key("acme").await).await;
    let more =
        v1::AddPartitionsRequest { name: "copies".into(), partitions: 7, allow_key_remap: true, ..Default::default() };
    clients.streams.add_partitions(more).await.expect("more");
    settled(&mut clients).await;
    assert_whole(&mut clients).await;
    publish(&mut clients, vec![v1::Event { key: Some("new".into()), ..event("300") }]).await;
    settled(&mut clients).await;
    assert_eq!(stored(&mut clients, "copies").await.len(), EVENTS + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_paused_makes_no_second_copy_when_it_comes_back() {
    let mut doomed = Doomed::new(Step::BeforeForward).await;
    doomed.copied().await;
    doomed.broker.pause();
    let heir = broker_at(&doomed.ground.database.url(), &[("groups.lease_ttl_ms", "3000")]).await;
    let mut clients = Clients::new(&heir, &doomed.ground.key("acme").await).await;
    settled(&mut clients).await;
    doomed.broker.resume();
    doomed.progress.remove();
    doomed.progress.release();
    for _ in 0..20 {
        publish(&mut clients, vec![event("17")]).await;
    }
    settled(&mut clients).await;
    let copies = stored(&mut clients, "copies").await;
    assert_eq!(copies.iter().filter(|copy| copy.key.is_some()).count(), EVENTS);
    assert_eq!(copies.len(), EVENTS + 20);
}
