//! Rates that brokers share through Redis, and what becomes of them when it is slow, dead, empty or shut.

use crate::support::process::BrokerProcess;
use crate::support::{Clients, Ground, event, reason, turn};
use eventflow_proto::v1;
use eventflow_testkit::{RedisOptions, RedisServer, within};
use std::time::{Duration, Instant};
use tonic_types::StatusExt;

/// Events a second that an organization may publish.
const RATE: usize = 100;
/// As `limits::sharing` says: how long brokers may not hear of each other.
const UNHEARD: Duration = Duration::from_millis(260);

fn request(events: usize) -> v1::PublishRequest {
    v1::PublishRequest {
        stream: "orders".into(),
        partition: Some(0),
        events: vec![event("x"); events],
        ..Default::default()
    }
}

/// Publishes five events again and again until `end`; answers how many were taken.
async fn insist(mut clients: Clients, end: Instant) -> usize {
    let mut taken = 0;
    while Instant::now() < end {
        match clients.publisher.publish(request(5)).await {
            Ok(_) => taken += 5,
            Err(status) => {
                assert_eq!(reason(&status), "RATE_LIMITED");
                let info = status.get_details_error_info().expect("an ErrorInfo").metadata;
                assert_eq!((info["quota"].as_str(), info["limit"].as_str()), ("events_per_second", "100"));
                assert_eq!((info["scope"].as_str(), info["applied"].as_str()), ("organization", "no"));
                assert!(status.get_details_retry_info().and_then(|info| info.retry_delay).is_some());
            }
        }
    }
    taken
}

/// What two brokers together let through of one organization in the seconds that are answered beside it.
async fn two_brokers(redis: &str) -> (usize, f64) {
    let ground = Ground::new().await;
    let settings = [("redis.url", redis), ("limits.organization_events_per_second", "100")];
    let (one, two) = (ground.broker(&settings).await, ground.broker(&settings).await);
    let (acme, globex) = (ground.key("acme").await, ground.key("globex").await);
    let (mut here, there) = (Clients::new(&one, &acme).await, Clients::new(&two, &acme).await);
    let mut neighbour = Clients::new(&two, &globex).await;
    here.create_stream("orders", 1).await;
    neighbour.create_stream("orders", 1).await;
    let since = Instant::now();
    let end = since + Duration::from_secs(4);
    let (a, b) = tokio::join!(insist(here.clone(), end), insist(there, end));
    let seconds = since.elapsed().as_secs_f64();
    neighbour.publisher.publish(request(RATE)).await.expect("another organization has all of its own");
    let statistics = v1::GetStreamStatisticsRequest { name: "orders".into() };
    let stored = here.streams.get_stream_statistics(statistics).await.expect("counted").into_inner().events;
    assert_eq!(stored as usize, a + b, "what was refused is not there");
    one.stop().await;
    two.stop().await;
    (a + b, seconds)
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_share_an_organizations_rate_through_redis_and_without_one_each_has_its_own() {
    let _turn = turn().await;
    let Some(redis) = RedisServer::start().await else { return };
    let (shared, seconds) = Box::pin(two_brokers(&redis.url())).await;
    let rate = RATE as f64;
    // bound: the rate and a reserve, one more reserve for the other broker, and what flows while they do not hear
    let most = |seconds: f64| rate * (seconds + 1.0 + 1.0 + 2.0 * UNHEARD.as_secs_f64());
    assert!(shared as f64 <= most(seconds), "{shared} in {seconds} s");
    // bound: what is refused is charged to nobody, so the whole rate comes through, but for what is not asked for in time
    assert!(shared as f64 >= rate * (seconds - 0.5), "{shared} in {seconds} s");
    let (alone, seconds) = Box::pin(two_brokers("")).await;
    assert!(alone as f64 > most(seconds), "each its own: {alone} in {seconds} s");
}

/// A broker whose organization may publish much, and somebody who does.
struct Scene {
    _ground: Ground,
    broker: BrokerProcess,
    clients: Clients,
    settings: Vec<(String, String)>,
}

impl Scene {
    async fn new(settings: &[(&str, &str)]) -> Self {
        let ground = Ground::new().await;
        let mut all = vec![("limits.organization_events_per_second", "1000000")];
        all.extend_from_slice(settings);
        let broker = BrokerProcess::start(&ground.database.url(), &all).await;
        let mut clients = Clients::at(&broker.url(), &ground.key("acme").await).await;
        clients.create_stream("orders", 1).await;
        let settings = all.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        Self { _ground: ground, broker, clients, settings }
    }

    /// Publishes, successfully every time, until the gauge says so.
    async fn publish_until(&self, up: f64) {
        let seen = async {
            while self.broker.metrics().await["eventflow_redis_up"] != up {
                self.publish().await; // poll
            }
        };
        within("the metric of Redis", seen).await;
    }

    async fn publish(&self) {
        self.clients.clone().publisher.publish(request(1)).await.expect("published");
    }

    /// Publishes until Redis has a bucket of the organization.
    async fn publish_until_shared(&self, redis: &RedisServer) {
        let shared = async {
            while !redis.command(&["KEYS", "eventflow:*"]).contains(":rate:organization:") {
                self.clients.clone().publisher.publish(request(2_000)).await.expect("published"); // poll
            }
        };
        within("a shared bucket", shared).await;
    }

    fn said(&self, what: &str) -> Vec<String> {
        self.broker.lines().into_iter().filter(|line| line.contains(what)).collect()
    }

    /// The line that says that Redis is away.
    async fn away(&self) -> String {
        let said = async {
            loop {
                if let Some(line) = self.said("Redis is away").first() {
                    return line.clone();
                }
                tokio::task::yield_now().await; // poll
            }
        };
        within("a line", said).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_dies_fails_nothing_and_is_taken_up_again_when_it_is_back() {
    let Some(mut redis) = RedisServer::start().await else { return };
    let scene = Scene::new(&[("redis.url", &redis.url())]).await;
    scene.publish_until(1.0).await;
    scene.publish_until_shared(&redis).await;
    redis.kill().await;
    scene.publish_until(0.0).await;
    scene.away().await;
    assert!(scene.broker.metrics().await["eventflow_redis_failures_total"] >= 1.0);
    redis.restart().await;
    scene.publish_until(1.0).await;
    scene.publish_until_shared(&redis).await;
    assert_eq!(scene.said("Redis is away").len(), 1, "one line for one absence");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_forgets_its_scripts_and_keys_is_told_them_again() {
    let Some(redis) = RedisServer::start().await else { return };
    let scene = Scene::new(&[("redis.url", &redis.url())]).await;
    scene.publish_until(1.0).await;
    scene.publish_until_shared(&redis).await;
    let failures = scene.broker.metrics().await["eventflow_redis_failures_total"];
    for forget in [["SCRIPT", "FLUSH"], ["FLUSHALL", "SYNC"]] {
        assert_eq!(redis.command(&forget), "+OK\r\n");
        scene.publish_until_shared(&redis).await;
    }
    let expiry = redis.command(&["EVAL", "return redis.call('PTTL', redis.call('KEYS', '*')[1])", "0"]);
    assert_ne!(expiry, ":-1\r\n", "a bucket is gone by itself");
    assert_eq!(scene.broker.metrics().await["eventflow_redis_failures_total"], failures);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_call_waits_for_a_redis_that_does_not_answer() {
    let _turn = turn().await;
    let Some(redis) = RedisServer::start().await else { return };
    let scene = Scene::new(&[("redis.url", &redis.url())]).await;
    scene.publish_until(1.0).await;
    redis.pause();
    let since = Instant::now();
    for _ in 0..100 {
        scene.publish().await;
    }
    // bound: 100 calls that wait the 250 ms that Redis has would take 25 s
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    scene.publish_until(0.0).await;
    redis.resume();
    scene.publish_until(1.0).await;
    scene.publish_until_shared(&redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_opens_redis_and_a_wrong_one_is_a_line_without_it() {
    let options = RedisOptions { password: Some("hunter2"), tls: None };
    let Some(redis) = RedisServer::start_with(options).await else { return };
    let scene = Scene::new(&[("redis.url", &redis.url())]).await;
    scene.publish_until(1.0).await;
    let wrong = redis.url().replace("hunter2", "swordfish");
    let scene = Scene::new(&[("redis.url", &wrong)]).await;
    let line = scene.away().await;
    assert!(line.contains("WRONGPASS"), "{line}");
    scene.publish().await;
    assert_eq!(scene.said("swordfish"), Vec::<String>::new());
    assert!(scene.settings.iter().any(|(_, value)| value.contains("swordfish")), "it was told");
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_spoken_to_through_tls_with_certificates_on_both_sides() {
    let authority = include_str!("../../../../sdk-rust/tests/it/tls/authority.pem");
    let (here, here_key) = (
        include_str!("../../../../sdk-rust/tests/it/tls/here.pem"),
        include_str!("../../../../sdk-rust/tests/it/tls/here.key"),
    );
    let options = RedisOptions { password: Some("hunter2"), tls: Some([here, here_key, authority]) };
    let Some(redis) = RedisServer::start_with(options).await else { return };
    let files = tempfile::tempdir().expect("a directory");
    let file = |name: &str, content: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, content).expect("written");
        path.display().to_string()
    };
    let ca = file("ca.pem", authority);
    let certificate = file("client.pem", include_str!("../../../../sdk-rust/tests/it/tls/client.pem"));
    let key = file("client.key", include_str!("../../../../sdk-rust/tests/it/tls/client.key"));
    let url = redis.url();
    let (url, trust) = (("redis.url", url.as_str()), ("redis.ca_file", ca.as_str()));
    let shown = [("redis.client_certificate_file", certificate.as_str()), ("redis.client_key_file", key.as_str())];
    let scene = Scene::new(&[url, trust, shown[0], shown[1]]).await;
    scene.publish_until(1.0).await;
    // An authority that nobody trusts, and a certificate that is not shown.
    for settings in [&[url, shown[0], shown[1]][..], &[url, trust][..]] {
        let scene = Scene::new(settings).await;
        scene.away().await;
        scene.publish().await;
    }
}
