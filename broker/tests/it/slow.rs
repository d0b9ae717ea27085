//! Subscribers that do not read, and those that read and do not commit.

use crate::support::member::Member;
use crate::support::{Clients, Ground, reason};
use eventflow_broker::telemetry::metrics;
use eventflow_proto::v1::{self, subscribe_response::Frame};
use std::collections::BTreeSet;
use tonic::Code;
use tonic_types::StatusExt;

const TIMES: [(&str, &str); 2] = [("delivery.heartbeat_ms", "250"), ("delivery.silence_limit_ms", "1000")];

/// A metric of this process, which the brokers of other tests share.
fn metric(name: &str) -> f64 {
    let line = metrics::render().lines().find(|line| line.starts_with(&format!("{name} "))).map(str::to_owned);
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("a metric `{name}`"))
}

fn subscribe(member: &str, window_events: u32) -> v1::SubscribeRequest {
    let (group, member_name) = ("billing".to_owned(), member.to_owned());
    v1::SubscribeRequest { group, member_name, window_events, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_does_not_read_loses_its_partitions_to_one_that_does() {
    let ground = Ground::new().await;
    let app = ground.broker(&TIMES).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 2).await;
    clients.create_group("billing", "orders").await;
    let mut lazy = Member::subscribe(&Clients::new(&app, &key).await, subscribe("lazy", 0)).await.expect("joined");
    lazy.until_held(2).await;
    let mut healthy = Member::subscribe(&clients, subscribe("healthy", 0)).await.expect("joined");
    healthy.until_held(1).await;
    lazy.until_held(1).await;
    let ended = metric("eventflow_slow_consumers_total");

    // From here on the lazy one reads nothing; its partition gets more than its connection takes.
    let payload = "x".repeat(100_000);
    let rounds = 60;
    let mut publisher = clients.clone();
    let publish = async {
        for _ in 0..rounds {
            publisher.publish("orders", 0, &[&payload]).await;
            publisher.publish("orders", 1, &[&payload]).await;
        }
    };
    let consume = async {
        let mut seen: BTreeSet<(u32, i64)> = BTreeSet::new();
        while seen.len() < 2 * rounds {
            let batch = healthy.batch().await;
            seen.extend((batch.base_offset..batch.next_offset).map(|offset| (batch.partition, offset)));
            // An answer that it is lost comes when a rebalance was faster.
            healthy.commit(batch.partition, batch.next_offset).await;
        }
    };
    tokio::join!(publish, consume);
    assert_eq!(healthy.held.len(), 2);
    assert!(metric("eventflow_slow_consumers_total") > ended);

    // When it reads again, it is told what happened.
    let status = loop {
        if let Err(status) = lazy.next().await {
            break status;
        }
    };
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "SLOW_CONSUMER"));
    assert!(status.get_details_retry_info().is_some_and(|info| info.retry_delay.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_reads_and_does_not_commit_is_not_slow_and_is_seen() {
    let ground = Ground::new().await;
    let app = ground.broker(&TIMES).await;
    let mut clients = Clients::new(&app, &ground.key("acme").await).await;
    clients.create_stream("orders", 1).await;
    clients.create_group("billing", "orders").await;
    clients.publish("orders", 0, &["a", "b", "c"]).await;
    let mut member = Member::subscribe(&clients, subscribe("one", 2)).await.expect("joined");
    assert_eq!(member.texts(2).await.len(), 2);
    // Longer than the silence limit, heartbeat by heartbeat.
    for _ in 0..8 {
        let frame = member.next().await.expect("a heartbeat");
        assert!(matches!(frame, Frame::Heartbeat(_)), "{frame:?}");
        assert!(metric("eventflow_full_windows") >= 1.0);
    }
    assert_eq!(member.commit(0, 2).await.committed_offset, Some(2));
    assert_eq!(member.texts(1).await[0].2, "c");
}
