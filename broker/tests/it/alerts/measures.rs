//! Each measure, above its threshold and back, and how long it must hold.

use super::{alert, create, seconds, spine, try_update, until, until_evaluated_again, until_state};
use crate::support::member::{Member, ack};
use crate::support::{Clients, event};
use eventflow_proto::v1::{self, AlertMeasure, AlertState, event_outcome::Outcome};
use eventflow_testkit::within;
use std::time::{Duration, SystemTime};

/// A group of `orders` whose members share it.
async fn shared(clients: &mut Clients) {
    let request = v1::DeleteConsumerGroupRequest { name: "billing".into(), ..Default::default() };
    clients.groups.delete_consumer_group(request).await.expect("removed");
    let group = v1::ConsumerGroup {
        name: "billing".into(),
        stream: "orders".into(),
        delivery_mode: v1::DeliveryMode::Shared.into(),
        ..Default::default()
    };
    clients.create_group_with(group).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_in_events_fires_above_its_threshold_and_ends_at_it() {
    let (_ground, _app, mut clients) = spine().await;
    clients.publish("orders", 0, &["a", "b", "c"]).await;
    create(&mut clients, alert("behind", AlertMeasure::LagEvents, 2)).await;
    create(&mut clients, alert("far", AlertMeasure::LagEvents, 3)).await;
    let firing = until_state(&mut clients, "behind", AlertState::Firing).await;
    assert_eq!(firing.value, Some(3.0));
    let fine = until_state(&mut clients, "far", AlertState::Ok).await;
    assert_eq!(fine.value, Some(3.0), "at the threshold, not above it");
    let mut member = Member::join(&clients, "billing", "one").await.expect("joined");
    member.texts(3).await;
    member.commit(0, 1).await;
    let fine = until_state(&mut clients, "behind", AlertState::Ok).await;
    assert_eq!(fine.value, Some(2.0));
    assert!(fine.state_time.as_ref().map(|time| time.seconds) >= firing.state_time.map(|time| time.seconds));
}

#[tokio::test(flavor = "multi_thread")]
async fn lag_in_seconds_fires_without_any_member_and_ends_at_the_head() {
    let (_ground, _app, mut clients) = spine().await;
    create(&mut clients, alert("slow", AlertMeasure::LagSeconds, 0)).await;
    let fine = until_state(&mut clients, "slow", AlertState::Ok).await;
    assert_eq!(fine.value, Some(0.0));
    clients.publish("orders", 0, &["a"]).await;
    let firing = until_state(&mut clients, "slow", AlertState::Firing).await;
    assert!(firing.value > Some(0.0), "{firing:?}");
    let mut member = Member::join(&clients, "billing", "one").await.expect("joined");
    member.texts(1).await;
    member.commit(0, 1).await;
    until_state(&mut clients, "slow", AlertState::Ok).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_waits_for_another_attempt_is_unacked_although_there_is_no_lag() {
    let (ground, _app, mut clients) = spine().await;
    shared(&mut clients).await;
    create(&mut clients, alert("stuck", AlertMeasure::OldestUnackedSeconds, 0)).await;
    create(&mut clients, alert("behind", AlertMeasure::LagEvents, 0)).await;
    let mut member = Member::join(&clients, "billing", "one").await.expect("joined");
    clients.publish("orders", 0, &["a", "b"]).await;
    let events = member.some_events(2).await;
    let later = Outcome::Nack(v1::Nack { delay: seconds(3_600), reason: "not now".into(), ..Default::default() });
    assert_eq!(member.settle_one(&events[0], later).await, None);
    assert_eq!(member.settle_one(&events[1], ack()).await, None);
    until_state(&mut clients, "behind", AlertState::Ok).await;
    let firing = until_state(&mut clients, "stuck", AlertState::Firing).await;
    let behind = until_evaluated_again(&mut clients, "behind").await;
    assert_eq!((behind.state(), behind.value), (AlertState::Ok, Some(0.0)), "beside {firing:?}");
    let sql = ground.database.connect().await;
    sql.batch_execute("update eventflow.retry set due_at = clock_timestamp()").await.expect("due");
    let again = member.some_events(1).await.remove(0);
    assert_eq!(member.settle_one(&again, ack()).await, None);
    until_state(&mut clients, "stuck", AlertState::Ok).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_for_later_is_not_unacked_before_its_time() {
    let (ground, _app, mut clients) = spine().await;
    shared(&mut clients).await;
    #[expect(clippy::disallowed_methods, reason = "the test's machine is the database's")]
    let at = SystemTime::now() + Duration::from_secs(3_600);
    let later = v1::Event { deliver_at: Some(at.into()), ..event("later") };
    let request =
        v1::PublishRequest { stream: "orders".into(), events: vec![later], partition: Some(0), ..Default::default() };
    clients.publisher.publish(request).await.expect("published");
    let _member = Member::join(&clients, "billing", "one").await.expect("joined");
    within("an event set aside", async {
        // poll
        while clients.lag("billing").await.retry_events == 0 {}
    })
    .await;
    create(&mut clients, alert("stuck", AlertMeasure::OldestUnackedSeconds, 0)).await;
    let fine = until_state(&mut clients, "stuck", AlertState::Ok).await;
    assert_eq!(fine.value, Some(0.0));
    // When its time has come a minute ago, it is a minute old, however long ago it was published.
    let sql =
        "update eventflow.retry set due_at = clock_timestamp(), appended_at = clock_timestamp() - interval '1 day',
            headers = json_build_object('eventflow-deliver-at',
                ((extract(epoch from clock_timestamp()) - 60) * 1000000)::bigint::text)::text";
    assert_eq!(ground.database.connect().await.execute(sql, &[]).await.expect("due"), 1);
    let firing = until_state(&mut clients, "stuck", AlertState::Firing).await;
    assert!((60.0..3_600.0).contains(&firing.value.expect("a value")), "{firing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_of_the_last_hour_fire_until_they_are_dealt_with_or_old() {
    let (ground, _app, mut clients) = spine().await;
    shared(&mut clients).await;
    create(&mut clients, alert("dying", AlertMeasure::DeadLettersPerHour, 1)).await;
    let mut member = Member::join(&clients, "billing", "one").await.expect("joined");
    clients.publish("orders", 0, &["a", "b", "c"]).await;
    for event in member.some_events(3).await {
        let dead = Outcome::DeadLetter(v1::DeadLetter { reason: "no".into(), ..Default::default() });
        assert_eq!(member.settle_one(&event, dead).await, None);
    }
    let firing = until(&mut clients, "dying", |alert| alert.value == Some(3.0)).await;
    assert_eq!(firing.state(), AlertState::Firing);
    let sql = ground.database.connect().await;
    let age = "update eventflow.dead_letter_event set dead_at = dead_at - interval '61 minutes' where event_offset < 1";
    sql.batch_execute(age).await.expect("aged");
    until(&mut clients, "dying", |alert| alert.value == Some(2.0)).await;
    let request = v1::DiscardDeadLettersRequest { group: "billing".into(), ..Default::default() };
    clients.dead_letters.discard_dead_letters(request).await.expect("discarded");
    let fine = until_state(&mut clients, "dying", AlertState::Ok).await;
    assert_eq!(fine.value, Some(0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_is_pending_until_the_value_was_above_its_threshold_for_long_enough() {
    let (ground, _app, mut clients) = spine().await;
    clients.publish("orders", 0, &["a"]).await;
    let held = |name: &str, hold| v1::Alert { hold: seconds(hold), ..alert(name, AlertMeasure::LagEvents, 0) };
    create(&mut clients, held("soon", 2)).await;
    create(&mut clients, held("late", 3_600)).await;
    let pending = until_state(&mut clients, "soon", AlertState::Pending).await;
    let firing = until_state(&mut clients, "soon", AlertState::Firing).await;
    let at = |alert: &v1::Alert| {
        let time = alert.state_time.expect("a time");
        time.seconds as f64 + f64::from(time.nanos) / 1e9
    };
    assert!(at(&firing) - at(&pending) >= 2.0, "{pending:?} {firing:?}");
    let late = until_state(&mut clients, "late", AlertState::Pending).await;
    let still = until_evaluated_again(&mut clients, "late").await;
    assert_eq!((still.state(), still.state_time), (AlertState::Pending, late.state_time));
    // An hour later it fires; and what it was pending for before it went down does not count.
    let sql = ground.database.connect().await;
    let age = "update eventflow.alert set since = since - interval '1 hour' where name = 'late'";
    sql.batch_execute(age).await.expect("aged");
    until_state(&mut clients, "late", AlertState::Firing).await;
    let mut member = Member::join(&clients, "billing", "one").await.expect("joined");
    member.texts(1).await;
    member.commit(0, 1).await;
    until_state(&mut clients, "late", AlertState::Ok).await;
    clients.publish("orders", 0, &["b"]).await;
    until_state(&mut clients, "late", AlertState::Pending).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_counts_at_once() {
    let (_ground, _app, mut clients) = spine().await;
    clients.publish("orders", 0, &["a", "b"]).await;
    create(&mut clients, alert("behind", AlertMeasure::LagEvents, 5)).await;
    until_state(&mut clients, "behind", AlertState::Ok).await;
    let changed = try_update(&mut clients, alert("behind", AlertMeasure::LagEvents, 1), &["threshold"]).await;
    assert_eq!(changed.expect("changed").version, 2);
    until_state(&mut clients, "behind", AlertState::Firing).await;
    let calm = alert("behind", AlertMeasure::DeadLettersPerHour, 0);
    try_update(&mut clients, calm, &["measure", "threshold"]).await.expect("changed");
    until_state(&mut clients, "behind", AlertState::Ok).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alert_that_cannot_be_evaluated_keeps_its_state_and_stops_no_other() {
    let (ground, _app, mut clients) = spine().await;
    clients.publish("orders", 0, &["a"]).await;
    let sql = ground.database.connect().await;
    let broken = "create or replace function eventflow.oldest_retry_v1(p_organization bigint, p_group bigint)
            returns timestamptz language sql stable as $$ select ('x' || p_group)::timestamptz $$";
    sql.batch_execute(broken).await.expect("broken");
    create(&mut clients, alert("broken", AlertMeasure::OldestUnackedSeconds, 0)).await;
    create(&mut clients, alert("sound", AlertMeasure::LagEvents, 0)).await;
    until_state(&mut clients, "sound", AlertState::Firing).await;
    until_evaluated_again(&mut clients, "sound").await;
    let broken = super::try_get(&mut clients, "broken").await.expect("an alert");
    assert_eq!((broken.state(), broken.value), (AlertState::Ok, None));
}
