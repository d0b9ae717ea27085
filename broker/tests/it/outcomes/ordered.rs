//! Ordered groups: what happens to the next event when it fails.

use super::{dead_letters, ordered, retry_rows, stage, until_done};
use crate::support::member::{Event, Member, ack, nack};
use eventflow_proto::v1;
use eventflow_proto::v1::OnFailure;
use eventflow_proto::v1::subscribe_response::Frame;

fn texts(events: &[Event]) -> Vec<(&str, u32)> {
    events.iter().map(|event| (event.text.as_str(), event.attempt)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_blocks_tries_an_event_where_it_stands_and_keeps_the_order() {
    let (ground, _app, mut clients) = stage(1, ordered(OnFailure::Block, 3)).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    clients.publish("orders", 0, &["a", "b", "c"]).await;
    let events = member.some_events(3).await;
    assert_eq!(member.commit(0, 1).await.committed_offset, Some(1));
    for attempt in 1..=2 {
        assert_eq!(member.settle_one(&Event { attempt, ..events[1].clone() }, nack("busy")).await, None);
        let moved = member.until(|_, frame| match frame {
            Frame::Repositioned(moved) => moved.partition,
            _ => None,
        });
        assert_eq!(moved.await.next_offset, 1);
        let again = member.some_events(2).await;
        assert_eq!(texts(&again), [("b", attempt + 1), ("c", 1)], "in place, and the rest behind it");
        assert!(again[0].in_place && again[0].last_reason == "busy");
        assert_eq!(retry_rows(&ground).await, 1);
    }
    // The last attempt succeeds: a commit past it settles it.
    assert_eq!(member.commit(0, 3).await.committed_offset, Some(3));
    let lag = until_done(&mut clients).await;
    assert_eq!((lag.dead_letter_events, retry_rows(&ground).await), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_blocks_goes_on_behind_a_dead_letter() {
    let (ground, _app, mut clients) = stage(1, ordered(OnFailure::Block, 2)).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    clients.publish("orders", 0, &["poison", "b"]).await;
    let first = member.some_events(2).await;
    assert_eq!(member.settle_one(&first[0], nack("one")).await, None);
    let again = member.some_events(2).await;
    assert_eq!(texts(&again), [("poison", 2), ("b", 1)]);
    assert_eq!(member.settle_one(&again[0], nack("two")).await, None);
    assert_eq!(dead_letters(&ground).await, [(0, 2, "two".into(), 2)]);
    let rest = member.events().await;
    assert_eq!(texts(&rest), [("b", 1)]);
    assert_eq!(member.settle_one(&rest[0], ack()).await, None, "an ack in order is a commit");
    until_done(&mut clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_in_place_keeps_its_attempts_when_the_partition_moves() {
    let (_ground, _app, mut clients) = stage(1, ordered(OnFailure::Block, 9)).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    clients.publish("orders", 0, &["a", "b"]).await;
    let first = member.some_events(2).await;
    assert_eq!(member.settle_one(&first[0], nack("first")).await, None);
    let again = member.some_events(1).await;
    assert_eq!(texts(&again)[0], ("a", 2));
    member.leave().await;
    let mut next = Member::join(&clients, "workers", "two").await.expect("joined");
    let events = next.some_events(2).await;
    assert_eq!(texts(&events), [("a", 2), ("b", 1)], "a leave counts nothing");
    assert_eq!(next.settle_one(&events[0], nack("second")).await, None);
    let events = next.some_events(2).await;
    assert_eq!(texts(&events), [("a", 3), ("b", 1)]);
    assert_eq!(next.commit(0, 2).await.committed_offset, Some(2));
    until_done(&mut clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_skips_goes_on_and_tries_the_event_later() {
    let (ground, _app, mut clients) = stage(1, ordered(OnFailure::Skip, 3)).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    clients.publish("orders", 0, &["poison", "b"]).await;
    let events = member.some_events(2).await;
    assert_eq!(member.settle_one(&events[0], nack("1")).await, None);
    assert_eq!(member.commit(0, 2).await.committed_offset, Some(2), "the rest goes on");
    for attempt in 2..=3 {
        let again = member.events().await.remove(0);
        assert_eq!((again.text.as_str(), again.attempt, again.in_place), ("poison", attempt, false));
        assert_eq!(member.settle_one(&again, nack(&attempt.to_string())).await, None);
    }
    let lag = until_done(&mut clients).await;
    assert_eq!(lag.dead_letter_events, 1);
    assert_eq!(dead_letters(&ground).await, [(0, 3, "3".into(), 3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_skipped_event_goes_to_whoever_holds_its_partition() {
    let (_ground, _app, mut clients) = stage(2, ordered(OnFailure::Skip, 9)).await;
    let mut one = Member::join(&clients, "workers", "one").await.expect("joined");
    one.until_held(2).await;
    let mut two = Member::join(&clients, "workers", "two").await.expect("joined");
    let ((), ()) = tokio::join!(one.until_held(1), two.until_held(1));
    let theirs = *two.held.keys().next().expect("a partition");
    clients.publish("orders", theirs, &["a"]).await;
    let event = two.events().await.remove(0);
    assert_eq!(two.settle_one(&event, nack("later")).await, None);
    let again = two.events().await.remove(0);
    assert_eq!((again.text.as_str(), again.attempt), ("a", 2));
    assert_eq!(two.settle_one(&again, ack()).await, None);
    until_done(&mut clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_may_make_a_dead_letter_of_every_failure() {
    let (ground, _app, mut clients) = stage(1, ordered(OnFailure::DeadLetter, 9)).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    clients.publish("orders", 0, &["a", "b"]).await;
    let events = member.some_events(2).await;
    assert_eq!(member.settle_one(&events[0], nack("no")).await, None);
    assert_eq!(dead_letters(&ground).await, [(0, 1, "no".into(), 1)]);
    assert_eq!(member.commit(0, 2).await.committed_offset, Some(2));
    until_done(&mut clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_commits_nothing_that_stands_before_it() {
    let (ground, _app, mut clients) = stage(1, ordered(OnFailure::Skip, 9)).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    clients.publish("orders", 0, &["a", "b", "c"]).await;
    let events = member.some_events(3).await;
    for outcome in [nack("x"), ack(), v1::event_outcome::Outcome::DeadLetter(v1::DeadLetter::default())] {
        assert_eq!(member.settle_one(&events[1], outcome).await.as_deref(), Some("OUTCOME_OUT_OF_ORDER"));
    }
    assert_eq!((retry_rows(&ground).await, clients.lag("workers").await.lag_events), (0, 3));
    let beyond = Event { offset: 3, ..events[2].clone() };
    assert_eq!(member.commit(0, 3).await.committed_offset, Some(3));
    assert_eq!(member.settle_one(&beyond, ack()).await.as_deref(), Some("COMMIT_OUT_OF_RANGE"));
    let stale = Event { lease_epoch: 99, ..events[2].clone() };
    assert!(member.settle_one(&stale, nack("late")).await.is_some());
    let extend = v1::event_outcome::Outcome::Extend(v1::Extend::default());
    clients.publish("orders", 0, &["d"]).await;
    let d = member.events().await.remove(0);
    assert_eq!(member.settle_one(&d, extend).await.as_deref(), Some("DELIVERY_MODE_MISMATCH"));
}
