//! Shared groups: any member gets any event, once, and settles it by itself.

use super::{retry_rows, seconds, shared, stage, until_done};
use crate::support::member::{Event, Member, ack};
use crate::support::process::BrokerProcess;
use crate::support::{Clients, reason};
use eventflow_proto::v1;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

async fn publish(clients: &mut Clients, partition: u32, count: usize) {
    let texts: Vec<String> = (0..count).map(|number| format!("{partition}-{number}")).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    for part in texts.chunks(1_000) {
        clients.publish("orders", partition, part).await;
    }
}

type Seen = std::sync::Mutex<Vec<Event>>;

/// Takes and acknowledges events until there is nothing for a while; answers what came.
async fn work(member: &mut Member, until: &(impl Fn() -> bool + Sync), seen: &Seen) {
    while !until() {
        let Ok(events) = tokio::time::timeout(Duration::from_millis(200), member.events()).await else { continue };
        let outcomes = events.iter().map(|event| event.outcome(ack())).collect();
        assert!(member.settle(outcomes).await.is_empty());
        seen.lock().expect("no panic").extend(events);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn members_at_two_brokers_share_one_partition_and_each_event_comes_once() {
    let (ground, _app, mut here) = stage(1, shared(5)).await;
    let other = ground.broker(&[]).await;
    let there = Clients::new(&other, &ground.key("acme").await).await;
    let mut one = Member::join(&here, "workers", "one").await.expect("joined");
    let mut two = Member::join(&there, "workers", "two").await.expect("joined");
    assert!(one.session.shared);
    assert_eq!(one.session.ack_timeout, seconds(30));
    publish(&mut here, 0, 3_000).await;
    let (mine, theirs) = (Seen::default(), Seen::default());
    let all = || mine.lock().expect("ok").len() + theirs.lock().expect("ok").len() >= 3_000;
    tokio::join!(work(&mut one, &all, &mine), work(&mut two, &all, &theirs));
    let (mine, theirs) = (mine.into_inner().expect("ok"), theirs.into_inner().expect("ok"));
    assert!(!mine.is_empty() && !theirs.is_empty(), "{} and {}", mine.len(), theirs.len());
    let offsets: BTreeSet<i64> = mine.iter().chain(&theirs).map(|event| event.offset).collect();
    assert_eq!((offsets.len(), mine.len() + theirs.len()), (3_000, 3_000), "each once");
    let lag = until_done(&mut here).await;
    assert_eq!(lag.partitions[0].next_offset, 3_000);
    let client = ground.database.connect().await;
    let claims: i64 = client.query_one("select count(*) from eventflow.group_claim", &[]).await.expect("claims").get(0);
    assert_eq!((claims, retry_rows(&ground).await), (0, 0), "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_member_does_not_hold_what_others_could_take() {
    let (ground, _app, mut clients) = stage(2, shared(5)).await;
    let other = ground.broker(&[]).await;
    let there = Clients::new(&other, &ground.key("acme").await).await;
    let mut slow = Member::join(&clients, "workers", "slow").await.expect("joined");
    publish(&mut clients, 0, 500).await;
    publish(&mut clients, 1, 500).await;
    let held = slow.some_events(16).await.len();
    let mut quick = Member::join(&there, "workers", "quick").await.expect("joined");
    let seen = Seen::default();
    let others = || seen.lock().expect("ok").len() >= 1_000 - held;
    work(&mut quick, &others, &seen).await;
    assert_eq!(held, 16, "a member that has settled nothing yet gets few");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_bounds_what_a_member_holds() {
    let (_ground, _app, mut clients) = stage(1, shared(5)).await;
    publish(&mut clients, 0, 20).await;
    let request = v1::SubscribeRequest { group: "workers".into(), window_events: 2, ..Default::default() };
    let mut member = Member::subscribe(&clients, request).await.expect("joined");
    let first = member.some_events(2).await;
    assert!(tokio::time::timeout(Duration::from_millis(300), member.events()).await.is_err(), "the window is full");
    assert_eq!(member.settle_one(&first[1], ack()).await, None);
    let next = member.events().await;
    assert_eq!((next.len(), next[0].offset), (1, 2));
    assert_eq!(member.settle_one(&first[1], ack()).await.as_deref(), Some("EVENT_NOT_IN_FLIGHT"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_brokers_events_go_to_others_uncounted_and_its_late_acks_change_nothing() {
    let (ground, _app, mut clients) = stage(1, shared(5)).await;
    let mut doomed = BrokerProcess::start(&ground.database.url(), &[]).await;
    let there = Clients::at(&doomed.url(), &ground.key("acme").await).await;
    let mut lost = Member::join(&there, "workers", "lost").await.expect("joined");
    publish(&mut clients, 0, 40).await;
    let first = lost.some_events(8).await;
    let acked: Vec<i64> = first[2..4].iter().map(|event| event.offset).collect();
    for event in &first[2..4] {
        assert_eq!(lost.settle_one(event, ack()).await, None);
    }
    doomed.kill().await;
    let since = Instant::now();
    let mut member = Member::join(&clients, "workers", "next").await.expect("joined");
    let seen = Seen::default();
    let all = || seen.lock().expect("ok").len() >= 38;
    work(&mut member, &all, &seen).await;
    assert!(since.elapsed() < Duration::from_secs(5 + 1 + 2), "{:?}", since.elapsed()); // bound: TTL + 1 s, and the work
    let seen = seen.into_inner().expect("ok");
    let offsets: BTreeSet<i64> = seen.iter().map(|event| event.offset).collect();
    assert_eq!((seen.len(), offsets.len()), (38, 38), "each once");
    assert!(acked.iter().all(|offset| !offsets.contains(offset)), "what was acknowledged does not come again");
    assert!(seen.iter().all(|event| event.attempt == 1), "a broker's death does not count");
    until_done(&mut clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_brokers_late_acks_are_refused() {
    let (ground, _app, mut clients) = stage(1, shared(5)).await;
    let paused = BrokerProcess::start(&ground.database.url(), &[]).await;
    let there = Clients::at(&paused.url(), &ground.key("acme").await).await;
    let mut late = Member::join(&there, "workers", "late").await.expect("joined");
    publish(&mut clients, 0, 10).await;
    let held = late.some_events(10).await;
    assert_eq!(late.settle_one(&held[0], ack()).await, None);
    paused.pause();
    let outcomes = held[1..].iter().map(|event| event.outcome(ack())).collect();
    let ask = v1::commit_request::Frame::Outcomes(v1::CommitOutcomes { outcomes });
    late.send(ask).await.expect("sent");
    let mut next = Member::join(&clients, "workers", "next").await.expect("joined");
    let again = next.some_events(9).await;
    assert!(again.iter().all(|event| event.attempt == 1 && event.offset > 0));
    paused.resume();
    match late.answer().await {
        Ok(answer) => {
            let reasons: BTreeSet<_> =
                answer.failures.iter().filter_map(|failure| Some(failure.error.as_ref()?.reason.clone())).collect();
            let covered: i64 = answer.failures.iter().map(|failure| failure.last_offset - failure.offset + 1).sum();
            assert_eq!((reasons.iter().map(String::as_str).collect::<Vec<_>>(), covered), (vec!["MEMBER_FENCED"], 9));
        }
        Err(status) => assert_eq!(reason(&status), "SESSION_NOT_FOUND"),
    }
    for event in &again {
        assert_eq!(next.settle_one(event, ack()).await, None, "the new holder's ack counts");
    }
    until_done(&mut clients).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_with_progress_of_its_own_cannot_be_committed() {
    let (_ground, _app, mut clients) = stage(1, shared(5)).await;
    let mut member = Member::join(&clients, "workers", "one").await.expect("joined");
    publish(&mut clients, 0, 1).await;
    let event = member.some_events(1).await.remove(0);
    let lease = v1::AssignedPartition { lease_epoch: event.lease_epoch, ..Default::default() };
    let refused = member.commit_under(lease, 1).await;
    assert_eq!(crate::support::member::refusal(&refused), "DELIVERY_MODE_MISMATCH");
}
