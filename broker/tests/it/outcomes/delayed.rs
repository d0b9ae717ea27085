//! Delayed publish: kept at once, delivered to shared groups when it is due.

use super::{retry_rows, shared, stage, until_done};
use crate::support::member::{Member, ack, nack};
use crate::support::process::BrokerProcess;
use crate::support::{Clients, event, text};
use eventflow_proto::v1::{self, DeliveryStatus, read_response::Frame};
use eventflow_testkit::within;
use std::time::{Duration, SystemTime};
use tonic::Code;
use tonic_types::StatusExt;

#[expect(clippy::disallowed_methods, reason = "the test's machine is the database's")]
fn from_now(wait: Duration) -> SystemTime {
    SystemTime::now() + wait
}

fn delayed(name: &str, at: SystemTime) -> v1::Event {
    v1::Event { deliver_at: Some(at.into()), key: Some("k".into()), ..event(name) }
}

async fn publish(clients: &mut Clients, events: Vec<v1::Event>) {
    let request = v1::PublishRequest { stream: "orders".into(), events, partition: Some(0), ..Default::default() };
    clients.publisher.publish(request).await.expect("published");
}

async fn explain(clients: &mut Clients, offset: i64) -> v1::ExplainEventResponse {
    let request = v1::ExplainEventRequest { name: "workers".into(), partition: 0, offset: Some(offset) };
    clients.groups.explain_event(request).await.expect("an explanation").into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_event_is_kept_at_once_and_comes_to_shared_groups_when_it_is_due() {
    let (ground, _app, mut clients) = stage(1, shared(3)).await;
    clients.create_group("audit", "orders").await;
    let mut in_order = Member::join(&clients, "audit", "one").await.expect("joined");
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    let at = from_now(Duration::from_secs(2));
    let past = from_now(Duration::ZERO) - Duration::from_secs(60);
    publish(&mut clients, vec![delayed("later", at), event("now"), delayed("past", past)]).await;
    assert_eq!(in_order.texts(3).await.len(), 3, "an ordered group knows one order only");
    let first = member.some_events(2).await;
    assert_eq!(first.iter().map(|event| event.text.as_str()).collect::<Vec<_>>(), ["now", "past"]);
    let told = explain(&mut clients, 0).await;
    assert_eq!((told.status(), told.until.map(SystemTime::try_from)), (DeliveryStatus::Delayed, Some(Ok(micros(at)))));
    for event in &first {
        assert_eq!(member.settle_one(event, ack()).await, None);
    }
    within("the event set aside", async {
        // poll
        while clients.lag("workers").await.partitions[0].next_offset < 3 {}
    })
    .await;
    assert_eq!(retry_rows(&ground).await, 1, "progress is past it");
    assert_eq!(explain(&mut clients, 0).await.status(), DeliveryStatus::Delayed);

    let request = v1::ReadRequest { stream: "orders".into(), partition: Some(0), ..Default::default() };
    let mut read = clients.log.read(request).await.expect("a read").into_inner();
    let batch = within("a batch", async {
        loop {
            if let Some(Frame::Batch(batch)) = read.message().await.expect("a frame").expect("a frame").frame {
                return batch;
            }
        }
    })
    .await;
    let seen: Vec<_> = batch.head.events.iter().map(|event| (text(event), event.deliver_at.is_some())).collect();
    assert_eq!(seen, [("later".to_owned(), true), ("now".into(), false), ("past".into(), true)]);
    assert!(batch.head.events.iter().all(|event| event.headers.is_empty()), "it is a field, and no header");

    let due = member.some_events(1).await.remove(0);
    assert!(from_now(Duration::ZERO) >= micros(at), "never before");
    assert_eq!((due.text.as_str(), due.attempt), ("later", 1));
    // From here on it is as any event: a failure counts, and is tried again.
    assert_eq!(member.settle_one(&due, nack("busy")).await, None);
    let again = member.some_events(1).await.remove(0);
    assert_eq!((again.attempt, member.settle_one(&again, ack()).await), (2, None));
    until_done(&mut clients).await;
}

/// As the log keeps times.
fn micros(time: SystemTime) -> SystemTime {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    SystemTime::UNIX_EPOCH + Duration::from_micros(since.as_micros() as u64)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_event_survives_its_broker_and_a_seek_and_comes_once() {
    let (ground, _app, mut clients) = stage(1, shared(1)).await;
    let mut doomed = BrokerProcess::start(&ground.database.url(), &[]).await;
    let there = Clients::at(&doomed.url(), &ground.key("acme").await).await;
    let lost = Member::join(&there, "workers", "lost").await.expect("joined");
    let at = from_now(Duration::from_secs(4));
    publish(&mut clients, vec![delayed("later", at)]).await;
    let aside = |wanted: i64| {
        let ground = &ground;
        async move {
            within("the event set aside", async {
                // poll
                while retry_rows(ground).await != wanted {}
            })
            .await;
        }
    };
    aside(1).await;
    doomed.kill().await;
    drop(lost);
    let mut member = Member::join(&clients, "workers", "next").await.expect("joined");
    let to = Some(v1::Position { at: Some(v1::position::At::Earliest(true)) });
    let seek = v1::SeekRequest { name: "workers".into(), to, ..Default::default() };
    let moved = clients.groups.seek(seek).await.expect("moved").into_inner().partitions;
    assert_eq!(moved[0].cleared_retries, 1);
    aside(1).await;
    let due = member.some_events(1).await.remove(0);
    assert!(from_now(Duration::ZERO) >= micros(at), "never before");
    // Its one attempt fails; given back, it does not wait again.
    assert_eq!(member.settle_one(&due, nack("poison")).await, None);
    let redrive = v1::RedriveDeadLettersRequest { group: "workers".into(), ..Default::default() };
    assert_eq!(
        clients.dead_letters.redrive_dead_letters(redrive).await.expect("redriven").into_inner().dead_letters,
        1
    );
    let again = member.some_events(1).await.remove(0);
    assert_eq!((again.text.as_str(), member.settle_one(&again, ack()).await), ("later", None));
    until_done(&mut clients).await;
    assert!(tokio::time::timeout(Duration::from_millis(700), member.events()).await.is_err(), "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_keys_are_in_order_a_delayed_event_holds_its_key_back() {
    let group = v1::ConsumerGroup { key_order: true, ..shared(3) };
    let (_ground, _app, mut clients) = stage(1, group).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    let keyed = |name: &str| v1::Event { key: Some("k".into()), ..event(name) };
    let at = from_now(Duration::from_secs(2));
    publish(&mut clients, vec![keyed("first"), delayed("later", at), keyed("last"), event("other")]).await;
    let mut seen = Vec::new();
    while seen.len() < 4 {
        for event in member.events().await {
            assert_eq!(member.settle_one(&event, ack()).await, None);
            seen.push(event.text);
        }
    }
    seen.retain(|name| name != "other");
    assert_eq!(seen, ["first", "later", "last"]);
    assert!(from_now(Duration::ZERO) >= micros(at));
    until_done(&mut clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delay_beyond_the_limit_is_refused_by_its_field() {
    let (_ground, _app, mut clients) = stage(1, shared(3)).await;
    let far = delayed("far", from_now(Duration::from_secs(31 * 86_400)));
    let request = v1::PublishRequest { stream: "orders".into(), events: vec![event("x"), far], ..Default::default() };
    let refused = clients.publisher.publish(request).await.expect_err("too far");
    assert_eq!(refused.code(), Code::InvalidArgument);
    let violation = refused.get_details_bad_request().expect("a field").field_violations.remove(0);
    assert_eq!(violation.field, "events[1].deliver_at");
    assert!(violation.description.contains("30 days"), "{violation:?}");
}
