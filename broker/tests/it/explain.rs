//! Explain: where an event of a group is, or the first true reason why no member has it.

use crate::filters::publish;
use crate::support::member::{Member, ack, nack};
use crate::support::process::BrokerProcess;
use crate::support::{Clients, Ground, reason};
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1::{self, DeliveryMode, DeliveryStatus as Is, OnFailure, position::At};
use eventflow_testkit::within;

fn group(mode: DeliveryMode) -> v1::ConsumerGroup {
    let hour = Some(prost_types::Duration { seconds: 3_600, nanos: 0 });
    v1::ConsumerGroup {
        name: "workers".into(),
        stream: "orders".into(),
        delivery_mode: mode.into(),
        // What failed once stays away for the test.
        retry_policy: Some(v1::RetryPolicy {
            initial_backoff: hour,
            multiplier: Some(1.0),
            max_backoff: hour,
            max_attempts: Some(2),
        }),
        ..Default::default()
    }
}

fn shared() -> v1::ConsumerGroup {
    group(DeliveryMode::Shared)
}

fn ordered() -> v1::ConsumerGroup {
    group(DeliveryMode::Ordered)
}

async fn stage(group: v1::ConsumerGroup) -> (Ground, App, Clients) {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let mut clients = Clients::new(&app, &ground.key("acme").await).await;
    clients.create_stream("orders", 1).await;
    clients.create_group_with(group).await;
    (ground, app, clients)
}

async fn explain(clients: &mut Clients, offset: i64) -> v1::ExplainEventResponse {
    let request = v1::ExplainEventRequest { name: "workers".into(), partition: 0, offset: Some(offset) };
    clients.groups.explain_event(request).await.expect("an explanation").into_inner()
}

/// Until the answer is this.
async fn until(clients: &mut Clients, offset: i64, status: Is) -> v1::ExplainEventResponse {
    let wanted = format!("{status:?} of event {offset}");
    within(&wanted, async {
        loop {
            // poll
            let found = explain(clients, offset).await;
            if found.status() == status {
                return found;
            }
        }
    })
    .await
}

async fn seek(clients: &mut Clients, at: At) {
    let to = Some(v1::Position { at: Some(at) });
    let seek = v1::SeekRequest { name: "workers".into(), partition: Some(0), to, ..Default::default() };
    clients.groups.seek(seek).await.expect("moved");
}

async fn purge(clients: &mut Clients, before: i64) {
    let before = v1::purge_stream_request::Before::Offset(before);
    let purge = v1::PurgeStreamRequest {
        name: "orders".into(),
        partition: Some(0),
        before: Some(before),
        ..Default::default()
    };
    clients.streams.purge_stream(purge).await.expect("purged");
}

async fn narrow(clients: &mut Clients, window_events: u32) -> Member {
    let request = v1::SubscribeRequest {
        group: "workers".into(),
        member_name: "one".into(),
        window_events,
        ..Default::default()
    };
    Member::subscribe(clients, request).await.expect("joined")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_appended_or_was_removed_is_said() {
    let (_ground, _app, mut clients) = stage(shared()).await;
    clients.publish("orders", 0, &["a", "b", "c"]).await;
    let found = explain(&mut clients, 3).await;
    assert_eq!((found.status(), found.explanation.contains("gets 3")), (Is::NotAppended, true), "{found:?}");
    purge(&mut clients, 2).await;
    assert_eq!(explain(&mut clients, 1).await.status(), Is::Removed);
    assert_eq!(explain(&mut clients, 2).await.status(), Is::NoMembers);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_lies_before_the_start_or_a_seek_is_said() {
    let (_ground, _app, mut clients) = stage(ordered()).await;
    clients.publish("orders", 0, &["a", "b", "c"]).await;
    assert_eq!(explain(&mut clients, 0).await.status(), Is::NoMembers, "it started at the earliest");
    seek(&mut clients, At::Offset(2)).await;
    assert_eq!(explain(&mut clients, 1).await.status(), Is::BeforeStart);
    assert_eq!(explain(&mut clients, 2).await.status(), Is::NoMembers);
    seek(&mut clients, At::Earliest(true)).await;
    assert_eq!(explain(&mut clients, 1).await.status(), Is::NoMembers, "moved back, it comes again");
    let late = v1::ConsumerGroup { name: "late".into(), ..ordered() };
    let start = Some(v1::Position { at: Some(At::Latest(true)) });
    let request = v1::CreateConsumerGroupRequest { group: Some(late), start, ..Default::default() };
    clients.groups.create_consumer_group(request).await.expect("a group");
    let request = v1::ExplainEventRequest { name: "late".into(), partition: 0, offset: Some(2) };
    let found = clients.groups.explain_event(request).await.expect("an explanation").into_inner();
    assert_eq!(found.status(), Is::BeforeStart);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_filter_leaves_out_is_said() {
    let filter = "type == \"a\"".to_owned();
    let (_ground, _app, mut clients) = stage(v1::ConsumerGroup { filter, ..shared() }).await;
    publish(&mut clients, &["a", "b"]).await;
    assert_eq!(explain(&mut clients, 1).await.status(), Is::Filtered);
    assert_eq!(explain(&mut clients, 0).await.status(), Is::NoMembers);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_of_a_shared_group_has_is_said_with_its_times_and_then_that_it_is_done() {
    let (_ground, _app, mut clients) = stage(shared()).await;
    clients.publish("orders", 0, &["a", "b"]).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    let events = member.some_events(2).await;
    let found = explain(&mut clients, 1).await;
    assert_eq!((found.status(), found.member.as_str(), found.attempt), (Is::InFlight, "one", 1));
    let (since, until) = (found.since.expect("since"), found.until.expect("until"));
    assert_eq!(until.seconds - since.seconds, 30, "the group's ack timeout");
    assert_eq!(member.settle_one(&events[1], ack()).await, None);
    assert_eq!(explain(&mut clients, 1).await.status(), Is::Done, "although the one before is not");
    assert_eq!(explain(&mut clients, 0).await.status(), Is::InFlight);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_of_an_ordered_group_has_is_said_and_then_that_it_is_done() {
    let (_ground, _app, mut clients) = stage(ordered()).await;
    clients.publish("orders", 0, &["a", "b"]).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    member.some_events(2).await;
    let found = explain(&mut clients, 1).await;
    assert_eq!((found.status(), found.member.as_str(), found.until), (Is::InFlight, "one", None));
    member.commit(0, 1).await;
    assert_eq!(explain(&mut clients, 0).await.status(), Is::Done);
    assert_eq!(explain(&mut clients, 1).await.status(), Is::InFlight);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_is_said_with_its_attempt_and_then_a_dead_letter_with_its_reason() {
    let (ground, _app, mut clients) = stage(shared()).await;
    clients.publish("orders", 0, &["poison"]).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    let event = member.some_events(1).await.remove(0);
    assert_eq!(member.settle_one(&event, nack("busy")).await, None);
    let found = explain(&mut clients, 0).await;
    assert_eq!((found.status(), found.attempt, found.reason.as_str()), (Is::RetryWaiting, 2, "busy"));
    assert!(found.until.is_some() && found.member == "one" && found.error_class == "test");
    // It falls due, and is another's.
    let sql = "update eventflow.retry set due_at = clock_timestamp()";
    ground.database.connect().await.execute(sql, &[]).await.expect("due");
    let again = member.some_events(1).await.remove(0);
    let found = explain(&mut clients, 0).await;
    assert_eq!((found.status(), found.attempt, found.member.as_str()), (Is::InFlight, 2, "one"));
    assert_eq!(member.settle_one(&again, nack("broken")).await, None);
    let found = explain(&mut clients, 0).await;
    assert_eq!((found.status(), found.attempt, found.reason.as_str()), (Is::DeadLettered, 2, "broken"));
    assert!(found.since.is_some() && found.member == "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_behind_an_event_in_place_is_said_with_that_event() {
    let (_ground, _app, mut clients) =
        stage(v1::ConsumerGroup { on_failure: OnFailure::Block.into(), ..ordered() }).await;
    clients.publish("orders", 0, &["a", "b"]).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    let events = member.some_events(2).await;
    assert_eq!(member.settle_one(&events[0], nack("busy")).await, None);
    let found = explain(&mut clients, 1).await;
    assert_eq!((found.status(), found.behind_offset, found.attempt), (Is::BehindRetry, Some(0), 2));
    assert!(found.until.is_some());
    let found = explain(&mut clients, 0).await;
    assert_eq!((found.status(), found.reason.as_str()), (Is::RetryWaiting, "busy"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_window_is_said() {
    for group in [shared(), ordered()] {
        let (_ground, _app, mut clients) = stage(group).await;
        clients.publish("orders", 0, &["a", "b", "c"]).await;
        let mut member = narrow(&mut clients, 1).await;
        member.some_events(1).await;
        until(&mut clients, 2, Is::WindowFull).await;
        assert_eq!(explain(&mut clients, 0).await.status(), Is::InFlight);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_group_and_one_without_members_are_said() {
    for group in [shared(), ordered()] {
        let (_ground, _app, mut clients) = stage(group).await;
        clients.publish("orders", 0, &["a"]).await;
        let name = "workers".to_owned();
        assert_eq!(explain(&mut clients, 0).await.status(), Is::NoMembers);
        let pause = v1::PauseConsumerGroupRequest { name, ..Default::default() };
        clients.groups.pause_consumer_group(pause).await.expect("paused");
        let _member = Member::join(&clients, "workers", "one").await.expect("joined");
        assert_eq!(explain(&mut clients, 0).await.status(), Is::Paused);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_waits_for_a_seek_is_said() {
    let on_truncated = v1::OnTruncated::Stop.into();
    let (_ground, _app, mut clients) = stage(v1::ConsumerGroup { on_truncated, ..ordered() }).await;
    clients.publish("orders", 0, &["a", "b", "c"]).await;
    purge(&mut clients, 2).await;
    let _member = Member::join(&clients, "workers", "one").await.expect("joined");
    until(&mut clients, 2, Is::WaitsForSeek).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_broker_delivers_is_said_with_where_it_is() {
    let (ground, _app, mut clients) = stage(shared()).await;
    let other = BrokerProcess::start(&ground.database.url(), &[]).await;
    let mut there = Clients::at(&other.url(), &ground.key("acme").await).await;
    clients.publish("orders", 0, &["a"]).await;
    let mut member = Member::join(&there, "workers", "one").await.expect("joined");
    member.some_events(1).await;
    let found = explain(&mut clients, 0).await;
    assert_eq!(found.status(), Is::AtOtherBroker);
    assert!(!found.broker.is_empty() && !found.broker_address.is_empty(), "{found:?}");
    assert_eq!(explain(&mut there, 0).await.status(), Is::InFlight, "that one knows");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_explained_is_refused() {
    let (_ground, _app, mut clients) = stage(shared()).await;
    let mut ask = async |name: &str, partition, offset| {
        let request = v1::ExplainEventRequest { name: name.into(), partition, offset };
        reason(&clients.groups.explain_event(request).await.expect_err("refused"))
    };
    assert_eq!(ask("nobody", 0, Some(0)).await, "CONSUMER_GROUP_NOT_FOUND");
    assert_eq!(ask("workers", 1, Some(0)).await, "PARTITION_OUT_OF_RANGE");
    assert_eq!(ask("workers", 0, None).await, "INVALID_ARGUMENT");
}
