//! Two organizations in one flush: what one of them sends badly does not touch the other.
//!
//! The proxy holds the lane's call, so that everything sent meanwhile goes into the next flush; the broker is a process of its own,
//! whose metrics say when it all waits.

use crate::support::process::BrokerProcess;
use crate::support::{Clients, Ground, appended, event, refused, sequenced};
use eventflow_proto::v1;
use eventflow_testkit::{Action, Match, PgProxy, Rule, Step, Upstream, within};
use std::future::Future;
use uuid::Uuid;

/// A broker with one lane, two organizations, and a proxy between it and Postgres.
struct Street {
    ground: Ground,
    proxy: PgProxy,
    broker: BrokerProcess,
    bad: Clients,
    good: Clients,
}

impl Street {
    async fn new() -> Self {
        let ground = Ground::new().await;
        let proxy = PgProxy::start(Upstream::postgres(ground.database.connection()));
        let url = ground.database.through(proxy.address()).url();
        let broker = BrokerProcess::start(&url, &[("database.lanes", "1")]).await;
        let (acme, globex) = (ground.key("acme").await, ground.key("globex").await);
        let mut bad = Clients::at(&broker.url(), &acme).await;
        let mut good = Clients::at(&broker.url(), &globex).await;
        for clients in [&mut bad, &mut good] {
            clients.create_stream("orders", 1).await;
            clients.create_stream("plug", 1).await;
            clients.publish("orders", 0, &["before"]).await;
        }
        Self { ground, proxy, broker, bad, good }
    }

    /// Holds the lane by a publish that waits for Postgres.
    async fn hold(&self) -> (Rule, impl Future<Output = i64>) {
        let rule = self.proxy.on(Match::sql_contains("append_v1"), Step::BeforeForward, Action::Hold);
        let mut clients = self.good.clone();
        #[expect(clippy::disallowed_methods, reason = "a call beside the test's own")]
        let plug = tokio::spawn(async move { clients.publish("plug", 0, &["plug"]).await });
        rule.fired().await;
        (rule, async { plug.await.expect("the plug") })
    }

    /// Returns when so many kilobytes wait for the lane, the held call's one included.
    async fn waiting(&self, kilobytes: f64) {
        let waits = async {
            while self.broker.metrics().await["eventflow_publish_in_flight_bytes"] < kilobytes * 1024.0 {
                tokio::task::yield_now().await; // poll
            }
        };
        within("submissions to wait", waits).await;
        // What is admitted stands in the lane's queue a moment later.
        self.broker.metrics().await;
    }
}

async fn publish(mut clients: Clients, request: v1::PublishRequest) -> v1::PartitionResult {
    clients.publisher.publish(request).await.expect("answered").into_inner().results.remove(0)
}

fn plain(text: &str) -> v1::PublishRequest {
    v1::PublishRequest { stream: "orders".into(), events: vec![event(text)], partition: Some(0), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_neighbour_in_the_same_flush_is_not_touched_by_what_is_refused() {
    let street = Street::new().await;
    let producer = Uuid::new_v4();
    let stale = v1::PublishRequest { routing_version: 7, ..sequenced("orders", Uuid::new_v4(), 0, 0, &["stale"]) };
    let foreign = v1::PublishRequest { partition: Some(1), ..plain("foreign") };
    let too_large = plain(&"x".repeat(1 << 20));

    let calls = street.proxy.on(Match::sql_contains("append_v1").every(), Step::BeforeForward, Action::Pass);
    let (rule, plug) = street.hold().await;
    let release = async {
        street.waiting(5.0).await;
        rule.release();
    };
    let (gap, stale, kept, neighbour, (), plug, refused_early) = tokio::join!(
        publish(street.bad.clone(), sequenced("orders", producer, 0, 5, &["gap"])),
        publish(street.bad.clone(), stale),
        publish(street.bad.clone(), plain("kept")),
        publish(street.good.clone(), plain("neighbour")),
        release,
        plug,
        async {
            let mut publisher = street.bad.publisher.clone();
            let foreign = publisher.publish(foreign).await.expect_err("no such partition");
            let too_large = publisher.publish(too_large).await.expect_err("too large");
            [foreign, too_large].map(|status| crate::support::reason(&status))
        },
    );
    assert_eq!(plug, 0);
    assert_eq!(appended(&neighbour).base_offset, 1);
    assert_eq!(refused(&gap).0, "PRODUCER_UNKNOWN");
    assert_eq!(refused(&stale).0, "STALE_ROUTING");
    assert_eq!(refused_early, ["PARTITION_OUT_OF_RANGE", "EVENT_TOO_LARGE"]);
    // Its own good event in the same partition as the bad ones comes through as well.
    assert_eq!(appended(&kept).base_offset, 1);
    assert_eq!(calls.times(), 3, "the plug, one flush for all, and what it put off");
}

/// Postgres itself refuses a row with this payload: a trigger of the test's own, which counts how often it did.
const POISON: &str = "create sequence public.refusals; grant usage on sequence public.refusals to public;
    create function public.refuse() returns trigger language plpgsql as $$
    begin
        if exists (select from unnest(new.payloads) as p(payload) where payload = 'poison'::bytea) then
            perform nextval('public.refusals');
            raise exception 'poison';
        end if;
        return new;
    end $$;
    create trigger refuse before insert on eventflow.event_batch for each row execute function public.refuse()";

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_postgres_refuses_fails_alone_and_its_flush_goes_through_without_it() {
    let street = Street::new().await;
    let client = street.ground.database.connect().await;
    client.batch_execute(POISON).await.expect("a trigger");
    let (rule, plug) = street.hold().await;
    let release = async {
        street.waiting(5.0).await;
        rule.release();
    };
    let (one, poison, two, three, (), plug) = tokio::join!(
        publish(street.good.clone(), plain("one")),
        publish(street.bad.clone(), plain("poison")),
        publish(street.good.clone(), plain("two")),
        publish(street.bad.clone(), plain("three")),
        release,
        plug,
    );
    assert_eq!(plug, 0);
    let (reason, facts) = refused(&poison);
    assert_eq!((reason.as_str(), facts["applied"].as_str()), ("INTERNAL", "no"));
    let mut good = [appended(&one).base_offset, appended(&two).base_offset];
    good.sort_unstable();
    assert_eq!(good, [1, 2]);
    assert_eq!(appended(&three).base_offset, 1, "its own neighbour in the same partition");
    let refusals: i64 = client.query_one("select last_value from public.refusals", &[]).await.expect("a count").get(0);
    assert_eq!(refusals, 3, "the flush, its half, and the row alone");
}
