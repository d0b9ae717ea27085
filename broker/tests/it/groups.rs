//! Ordered groups: delivery, commits, rebalance, fencing, seek.

use crate::support::member::{Member, refusal};
use crate::support::{Clients, Ground, reason};
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1::{self, position::At, subscribe_response::Frame};

async fn spine(partitions: u32) -> (Ground, App, Clients) {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", partitions).await;
    clients.create_group("billing", "orders").await;
    (ground, app, clients)
}

async fn lag(clients: &mut Clients) -> v1::GetLagResponse {
    clients.groups.get_lag(v1::GetLagRequest { name: "billing".into() }).await.expect("a lag").into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_gets_what_was_there_and_what_comes_and_its_commits_last() {
    let (_ground, app, mut clients) = spine(1).await;
    clients.publish("orders", 0, &["a", "b"]).await;
    let mut member = Member::join(&clients, "billing", "one").await.expect("joined");
    let caught_up = member.texts(2).await;
    assert_eq!(caught_up, [(0, 0, "a".into()), (0, 1, "b".into())]);
    clients.publish("orders", 0, &["c"]).await;
    assert_eq!(member.texts(1).await, [(0, 2, "c".into())]);
    assert_eq!(member.commit(0, 2).await.committed_offset, Some(2));
    assert_eq!(member.commit(0, 1).await.committed_offset, Some(2), "progress never goes back");
    assert_eq!(refusal(&member.commit(0, 4).await), "COMMIT_OUT_OF_RANGE");
    assert_eq!(lag(&mut clients).await.lag_events, 1);
    member.leave().await;

    let mut again = Member::join(&clients, "billing", "two").await.expect("joined");
    assert_eq!(again.texts(1).await, [(0, 2, "c".into())]);
    drop(again);
    let outcome = app.stop().await;
    assert!(outcome.cut_short.is_empty(), "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_gets_its_share_and_revocation_keeps_commits() {
    let (_ground, _app, mut clients) = spine(4).await;
    for partition in 0..4 {
        clients.publish("orders", partition, &["a", "b"]).await;
    }
    let mut first = Member::join(&clients, "billing", "first").await.expect("joined");
    first.until_held(4).await;
    first.texts(8).await;
    let before = first.held.clone();
    let mut second = Member::join(&clients, "billing", "second").await.expect("joined");
    let going = first
        .until(|_, frame| match frame {
            Frame::Revoking(revoking) => Some(revoking.partitions.clone()),
            _ => None,
        })
        .await;
    assert_eq!(going.len(), 2);
    for partition in &going {
        assert_eq!(first.commit(*partition, 1).await.committed_offset, Some(1), "kept while it is being revoked");
    }
    first.release(going.clone()).await;
    first.until_held(2).await;
    second.until_held(2).await;
    for partition in &going {
        let lease = second.held[partition];
        assert_eq!(lease.next_offset, 1);
        assert!(lease.lease_epoch > before[partition].lease_epoch);
        assert_eq!(refusal(&first.commit_under(before[partition], 2).await), "MEMBER_FENCED");
    }
    let mut redelivered = second.texts(2).await;
    redelivered.sort();
    assert!(redelivered.iter().all(|(_, offset, text)| (*offset, text.as_str()) == (1, "b")), "{redelivered:?}");
    second.leave().await;
    first.until_held(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_name_takes_over_and_fences_the_old_stream() {
    let (_ground, _app, mut clients) = spine(2).await;
    clients.publish("orders", 0, &["a"]).await;
    let mut old = Member::join(&clients, "billing", "worker").await.expect("joined");
    old.until_held(2).await;
    let mut new = Member::join(&clients, "billing", "worker").await.expect("joined");
    assert!(new.session.reattached);
    new.until_held(2).await;
    let status = loop {
        if let Err(status) = old.next().await {
            break status;
        }
    };
    assert_eq!(reason(&status), "MEMBER_FENCED");
    assert!(new.held[&0].lease_epoch > old.held[&0].lease_epoch);
    assert_eq!(new.texts(1).await, [(0, 0, "a".into())]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_has_not_heard_that_it_is_fenced_does_not_repeat_an_old_answer() {
    let (ground, _app, mut clients) = spine(1).await;
    clients.publish("orders", 0, &["a", "b"]).await;
    let mut member = Member::join(&clients, "billing", "one").await.expect("joined");
    member.texts(2).await;
    assert_eq!(member.commit(0, 1).await.committed_offset, Some(1));
    // Somebody else got the partition and went on, and nothing has told this session's broker: the group's version is the same.
    let sql = "update eventflow.consumer_offset set lease_epoch = lease_epoch + 1, next_offset = 2";
    ground.database.connect().await.execute(sql, &[]).await.expect("taken away");
    assert_eq!(refusal(&member.commit(0, 1).await), "SEEK_FENCED", "and not `committed: 1`, which was true once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_stream_keeps_its_partitions_for_the_grace() {
    let (_ground, _app, clients) = spine(2).await;
    let mut steady = Member::join(&clients, "billing", "steady").await.expect("joined");
    steady.until_held(2).await;
    let mut flaky = Member::join(&clients, "billing", "flaky").await.expect("joined");
    flaky.until_held(1).await;
    steady.until_held(1).await;
    let before: Vec<u32> = flaky.held.keys().copied().collect();
    drop(flaky);
    let mut back = Member::join(&clients, "billing", "flaky").await.expect("joined");
    assert!(back.session.reattached);
    back.until_held(1).await;
    assert_eq!(back.held.keys().copied().collect::<Vec<_>>(), before);
    drop(back);
    // After the grace the other one gets everything.
    steady.until_held(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seek_moves_a_running_member_and_fences_its_old_epoch() {
    let (_ground, _app, mut clients) = spine(1).await;
    clients.publish("orders", 0, &["a", "b", "c"]).await;
    let mut member = Member::join(&clients, "billing", "one").await.expect("joined");
    member.texts(3).await;
    member.commit(0, 3).await;
    let old = member.held[&0];
    let to = Some(v1::Position { at: Some(At::Offset(1)) });
    let seek = |validate_only| v1::SeekRequest {
        name: "billing".into(),
        partition: Some(0),
        to,
        validate_only,
        ..Default::default()
    };
    let preview = clients.groups.seek(seek(true)).await.expect("a preview").into_inner();
    assert_eq!((preview.partitions[0].previous_offset, preview.partitions[0].replayed_events), (3, 2));
    clients.groups.seek(seek(false)).await.expect("a seek");
    let moved = member
        .until(|_, frame| match frame {
            Frame::Repositioned(moved) => moved.partition,
            _ => None,
        })
        .await;
    assert_eq!(moved.next_offset, 1);
    assert_eq!(refusal(&member.commit_under(old, 3).await), "SEEK_FENCED");
    assert_eq!(member.texts(2).await, [(0, 1, "b".into()), (0, 2, "c".into())]);
    assert_eq!(member.commit(0, 3).await.committed_offset, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_group_gets_nothing_until_it_is_resumed() {
    let (_ground, _app, mut clients) = spine(1).await;
    let pause = v1::PauseConsumerGroupRequest { name: "billing".into(), ..Default::default() };
    clients.groups.pause_consumer_group(pause).await.expect("paused");
    clients.publish("orders", 0, &["a"]).await;
    let request = v1::SubscribeRequest { group: "billing".into(), ..Default::default() };
    let mut member = Member::subscribe(&clients, request).await.expect("joined");
    member.until_held(1).await;
    let quiet = member.next().await.expect("a heartbeat");
    assert!(matches!(quiet, Frame::Heartbeat(heartbeat) if heartbeat.paused));
    let resume = v1::ResumeConsumerGroupRequest { name: "billing".into(), ..Default::default() };
    clients.groups.resume_consumer_group(resume).await.expect("resumed");
    assert_eq!(member.texts(1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_window_bounds_what_is_delivered_and_not_committed() {
    let (_ground, _app, mut clients) = spine(1).await;
    let texts: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    clients.publish("orders", 0, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let request = v1::SubscribeRequest { group: "billing".into(), window_events: 4, ..Default::default() };
    let mut member = Member::subscribe(&clients, request).await.expect("joined");
    assert_eq!(member.texts(4).await.len(), 4);
    let next = member.next().await.expect("a heartbeat");
    assert!(matches!(next, Frame::Heartbeat(_)), "nothing before a commit, not {next:?}");
    member.commit(0, 3).await;
    assert_eq!(member.texts(3).await.last().map(|(_, offset, _)| *offset), Some(6));
}

#[tokio::test(flavor = "multi_thread")]
async fn members_on_two_brokers_share_a_group_and_see_what_either_publishes() {
    let (ground, _app, mut clients) = spine(4).await;
    let other = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let mut others = Clients::new(&other, &key).await;
    let mut here = Member::join(&clients, "billing", "here").await.expect("joined");
    here.until_held(4).await;
    let mut there = Member::join(&others, "billing", "there").await.expect("joined");
    there.until_held(2).await;
    here.until_held(2).await;
    let (mine, theirs) = (*here.held.keys().next().expect("held"), *there.held.keys().next().expect("held"));
    others.publish("orders", mine, &["from there"]).await;
    assert_eq!(here.texts(1).await[0].2, "from there");
    clients.publish("orders", theirs, &["from here"]).await;
    assert_eq!(there.texts(1).await[0].2, "from here");

    // An orderly stop: a go-away, then its member's partitions are free after the grace at the latest.
    let leaving = async move {
        there.until(|_, frame| matches!(frame, Frame::GoAway(_)).then_some(())).await;
        drop((there, others));
    };
    let (outcome, ()) = tokio::join!(other.stop(), leaving);
    assert!(outcome.cut_short.is_empty(), "{outcome}");
    here.until_held(4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_many_partitions_skips_none_wherever_its_group_starts() {
    const PARTITIONS: u32 = 8;
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let mut clients = Clients::new(&app, &ground.key("acme").await).await;
    clients.create_stream("orders", PARTITIONS).await;
    for partition in 0..PARTITIONS {
        // Each ends elsewhere.
        let texts = vec!["before"; 1 + partition as usize];
        clients.publish("orders", partition, &texts).await;
    }
    let starts = [("all", At::Earliest(true)), ("new", At::Latest(true))];
    for (name, at) in starts {
        let group = v1::ConsumerGroup { name: name.into(), stream: "orders".into(), ..Default::default() };
        let start = Some(v1::Position { at: Some(at) });
        let request = v1::CreateConsumerGroupRequest { group: Some(group), start, ..Default::default() };
        clients.groups.create_consumer_group(request).await.expect("a group");
    }
    for partition in 0..PARTITIONS {
        clients.publish("orders", partition, &["after", "after"]).await;
    }
    for (name, before) in [("all", true), ("new", false)] {
        let mut member = Member::join(&clients, name, "one").await.expect("joined");
        let expected: Vec<(u32, i64)> = (0..PARTITIONS)
            .flat_map(|partition| {
                let first = if before { 0 } else { i64::from(partition) + 1 };
                (first..i64::from(partition) + 3).map(move |offset| (partition, offset))
            })
            .collect();
        let mut seen: Vec<(u32, i64)> =
            member.texts(expected.len()).await.into_iter().map(|(partition, offset, _)| (partition, offset)).collect();
        seen.sort_unstable();
        assert_eq!(seen, expected, "{name}");
    }
}
