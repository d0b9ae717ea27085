//! Filters where events are settled one by one: what does not match is done, and nothing else is done by that.

use super::{dead_letters, ordered, retry_rows, shared, stage, until_done};
use crate::filters::publish;
use crate::support::Clients;
use crate::support::member::{Event, Member, ack, nack};
use eventflow_proto::v1::{self, OnFailure, subscribe_response::Frame};
use eventflow_testkit::within;
use std::collections::BTreeSet;
use std::time::Duration;

fn filtered(group: v1::ConsumerGroup, filter: &str) -> v1::ConsumerGroup {
    v1::ConsumerGroup { filter: filter.into(), ..group }
}

/// Mostly others, and every so often one that matches.
fn kinds(count: usize, one_in: usize) -> Vec<&'static str> {
    (0..count).map(|number| if number % one_in == 0 { "a" } else { "b" }).collect()
}

async fn set_filter(clients: &mut Clients, filter: &str) {
    let group = v1::ConsumerGroup { name: "workers".into(), filter: filter.into(), ..Default::default() };
    let update_mask = Some(prost_types::FieldMask { paths: vec!["filter".into()] });
    let request = v1::UpdateConsumerGroupRequest { group: Some(group), update_mask, ..Default::default() };
    clients.groups.update_consumer_group(request).await.expect("updated");
}

/// Takes and acknowledges events until there were so many.
async fn work(member: &mut Member, count: usize) -> Vec<Event> {
    let mut seen = Vec::new();
    while seen.len() < count {
        let events = member.events().await;
        let outcomes = events.iter().map(|event| event.outcome(ack())).collect();
        assert!(member.settle(outcomes).await.is_empty());
        seen.extend(events);
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn members_at_two_brokers_get_each_match_once_and_the_rest_counts_as_done() {
    let (ground, _app, mut here) = stage(1, filtered(shared(5), "type == \"a\"")).await;
    let other = ground.broker(&[]).await;
    let there = Clients::new(&other, &ground.key("acme").await).await;
    let mut one = Member::join(&here, "workers", "one").await.expect("joined");
    let mut two = Member::join(&there, "workers", "two").await.expect("joined");
    for _ in 0..4 {
        publish(&mut here, &kinds(1_000, 10)).await;
    }
    let mut seen = Vec::new();
    while seen.len() < 400 {
        let events = tokio::select! {
            events = one.events() => (&mut one, events),
            events = two.events() => (&mut two, events),
        };
        let (member, events) = events;
        let outcomes = events.iter().map(|event| event.outcome(ack())).collect();
        assert!(member.settle(outcomes).await.is_empty());
        seen.extend(events);
    }
    let offsets: BTreeSet<i64> = seen.iter().map(|event| event.offset).collect();
    assert_eq!((seen.len(), offsets.len()), (400, 400), "each once");
    assert!(offsets.iter().all(|offset| offset % 10 == 0));
    let lag = until_done(&mut here).await;
    assert_eq!(lag.partitions[0].next_offset, 4_000);
    let client = ground.database.connect().await;
    let claims: i64 = client.query_one("select count(*) from eventflow.group_claim", &[]).await.expect("claims").get(0);
    assert_eq!((claims, retry_rows(&ground).await), (0, 0), "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_group_that_leaves_everything_out_reaches_the_head() {
    let (_ground, _app, mut clients) = stage(1, filtered(shared(5), "type == \"never\"")).await;
    for _ in 0..5 {
        publish(&mut clients, &["x"; 2_000]).await;
    }
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    let lag = until_done(&mut clients).await;
    assert_eq!(lag.partitions[0].next_offset, 10_000);
    assert!(tokio::time::timeout(Duration::from_millis(200), member.events()).await.is_err(), "nobody saw any of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn shared_progress_never_passes_a_match_that_is_not_settled() {
    let (_ground, _app, mut clients) = stage(1, filtered(shared(5), "type == \"a\"")).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    publish(&mut clients, &["b", "a", "b", "a", "b"]).await;
    let held = member.some_events(2).await;
    assert_eq!(held.iter().map(|event| event.offset).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(member.settle_one(&held[1], ack()).await, None);
    // Claims behind it end, so that progress is looked at again.
    publish(&mut clients, &kinds(2_000, 100)).await;
    work(&mut member, 20).await;
    within("progress up to the match", async {
        // poll
        while clients.lag("workers").await.partitions[0].next_offset != 1 {}
    })
    .await;
    assert_eq!(member.settle_one(&held[0], ack()).await, None);
    let lag = until_done(&mut clients).await;
    assert_eq!(lag.partitions[0].next_offset, 2_005);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_comes_again_whatever_the_filter_is_by_then_and_ends_as_a_dead_letter() {
    let (ground, _app, mut clients) = stage(1, filtered(shared(2), "type == \"a\"")).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    publish(&mut clients, &["b", "a", "b"]).await;
    let first = member.some_events(1).await.remove(0);
    set_filter(&mut clients, "type == \"c\"").await;
    assert_eq!(member.settle_one(&first, nack("one")).await, None);
    let again = member.some_events(1).await.remove(0);
    assert_eq!((again.offset, again.attempt, again.last_reason.as_str()), (1, 2, "one"));
    assert_eq!(member.settle_one(&again, nack("two")).await, None);
    assert_eq!(dead_letters(&ground).await, [(1, 2, "two".into(), 2)]);
    let lag = until_done(&mut clients).await;
    assert_eq!((lag.partitions[0].next_offset, lag.dead_letter_events), (3, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seek_of_a_filtered_shared_group_brings_the_matches_again() {
    let (_ground, _app, mut clients) = stage(1, filtered(shared(5), "type == \"a\"")).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    publish(&mut clients, &["b", "a", "b", "a"]).await;
    assert_eq!(work(&mut member, 2).await.len(), 2);
    until_done(&mut clients).await;
    let at = Some(v1::position::At::Earliest(true));
    let seek = v1::SeekRequest { name: "workers".into(), to: Some(v1::Position { at }), ..Default::default() };
    clients.groups.seek(seek).await.expect("moved");
    let again = work(&mut member, 2).await;
    assert_eq!(again.iter().map(|event| event.offset).collect::<Vec<_>>(), [1, 3]);
    until_done(&mut clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_an_ordered_group_the_next_match_can_fail_behind_what_does_not_match() {
    let (ground, _app, mut clients) = stage(1, filtered(ordered(OnFailure::Block, 3), "type != \"x\"")).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    publish(&mut clients, &["x", "a", "x", "x", "b", "x", "c"]).await;
    let events = member.some_events(3).await;
    assert_eq!(events.iter().map(|event| event.offset).collect::<Vec<_>>(), [1, 4, 6]);
    assert_eq!(member.settle_one(&events[1], nack("early")).await.as_deref(), Some("OUTCOME_OUT_OF_ORDER"));
    assert_eq!(member.settle_one(&events[0], ack()).await, None);
    // What lies between is nobody's, so this one is the next.
    assert_eq!(member.settle_one(&events[1], nack("busy")).await, None);
    let moved = member.until(|_, frame| match frame {
        Frame::Repositioned(moved) => moved.partition,
        _ => None,
    });
    assert_eq!(moved.await.next_offset, 4);
    let again = member.some_events(2).await;
    assert_eq!((again[0].text.as_str(), again[0].attempt, again[1].text.as_str()), ("b", 2, "c"));
    assert_eq!(member.commit(0, 7).await.committed_offset, Some(7));
    until_done(&mut clients).await;
    assert_eq!(retry_rows(&ground).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_group_that_skips_goes_on_to_the_next_match() {
    let (ground, _app, mut clients) = stage(1, filtered(ordered(OnFailure::Skip, 2), "type != \"x\"")).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    publish(&mut clients, &["a", "x", "b", "x"]).await;
    let events = member.some_events(2).await;
    assert_eq!(member.settle_one(&events[0], nack("one")).await, None);
    assert_eq!(member.settle_one(&events[1], ack()).await, None, "the next one, behind what does not match");
    let again = member.some_events(1).await.remove(0);
    assert_eq!((again.text.as_str(), again.attempt), ("a", 2));
    assert_eq!(member.settle_one(&again, nack("two")).await, None);
    assert_eq!(dead_letters(&ground).await, [(0, 2, "two".into(), 2)]);
    let lag = until_done(&mut clients).await;
    assert_eq!(lag.partitions[0].next_offset, 4);
}
