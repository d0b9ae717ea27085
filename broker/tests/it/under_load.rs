//! Promises of publishing and delivery that only break when much happens at once.

use crate::support::member::{Member, progress};
use crate::support::{Clients, Ground, broker_at, sequenced, text, turn};
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1::commit_request::Frame as Ask;
use eventflow_proto::v1::{self, position::At, publish_stream_response::Answer, subscribe_response::Frame};
use eventflow_testkit::{Action, Match, PgProxy, Step, Upstream, within};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

async fn spine(settings: &[(&str, &str)]) -> (Ground, App, Clients, String) {
    let ground = Ground::new().await;
    let app = ground.broker(settings).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 1).await;
    (ground, app, clients, key)
}

async fn publish(mut clients: Clients, events: i64, padding: usize) {
    let padding = "x".repeat(padding);
    for number in 0..events {
        assert_eq!(clients.publish("orders", 0, &[&format!("{number} {padding}")]).await, number);
    }
}

async fn lag(clients: &mut Clients) -> v1::GetLagResponse {
    clients.groups.get_lag(v1::GetLagRequest { name: "billing".into() }).await.expect("a lag").into_inner()
}

/// Takes frames until nobody seeks any more and everything is committed. Wherever it is moved: from there on in order.
async fn follow(mut clients: Clients, mut member: Member, events: i64, mut seeking: watch::Receiver<bool>) -> usize {
    let (mut next, mut committed, mut moves) = (0, 0, 0);
    while *seeking.borrow_and_update() || committed < events || lag(&mut clients).await.lag_events > 0 {
        let frame = tokio::select! {
            frame = member.next() => frame.expect("the session goes on"),
            _ = seeking.changed() => continue,
        };
        match frame {
            Frame::Repositioned(moved) => {
                (next, moves) = (moved.partition.expect("a lease").next_offset, moves + 1);
                committed = next;
            }
            Frame::Batch(batch) => {
                let batch = batch.head;
                assert_eq!(batch.base_offset, next, "in order from where the seek went");
                next = batch.next_offset;
                let result = member.commit(0, next).await;
                match result.error {
                    None => committed = result.committed_offset.expect("an offset"),
                    // `Repositioned` is on its way.
                    Some(error) => assert_eq!(error.reason, "SEEK_FENCED"),
                }
            }
            _ => {}
        }
    }
    moves
}

#[tokio::test(flavor = "multi_thread")]
async fn seeks_under_load_move_the_member_and_everything_behind_them_comes() {
    let (_ground, _app, mut clients, _) = spine(&[]).await;
    clients.create_group("billing", "orders").await;
    let member = Member::join(&clients, "billing", "one").await.expect("joined");
    let (events, seeks) = (600, 25);
    let seeking = watch::Sender::new(true);
    let mut seeker = clients.clone();
    let seek = async {
        let mut chance = StdRng::seed_from_u64(7);
        for _ in 0..seeks {
            let to = chance.random_range(0..=lag(&mut seeker).await.partitions[0].head);
            let to = Some(v1::Position { at: Some(At::Offset(to)) });
            let seek = v1::SeekRequest { name: "billing".into(), partition: Some(0), to, ..Default::default() };
            seeker.groups.seek(seek).await.expect("a seek");
        }
        seeking.send_replace(false);
    };
    let following = follow(clients.clone(), member, events, seeking.subscribe());
    let (moves, (), ()) = tokio::join!(following, publish(clients.clone(), events, 0), seek);
    assert!(moves > 0, "some of the seeks reached the member while it ran");
    let lag = lag(&mut clients).await;
    assert_eq!((lag.lag_events, lag.partitions[0].next_offset), (0, events));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_under_way_is_kept_by_the_revocation_behind_it() {
    let ground = Ground::new().await;
    let proxy = PgProxy::start(Upstream::postgres(ground.database.connection()));
    let app = broker_at(&ground.database.through(proxy.address()).url(), &[]).await;
    let mut clients = Clients::new(&app, &ground.key("acme").await).await;
    clients.create_stream("orders", 2).await;
    clients.create_group("billing", "orders").await;
    let mut first = Member::join(&clients, "billing", "first").await.expect("joined");
    first.until_held(2).await;
    for partition in 0..2 {
        clients.publish("orders", partition, &["a", "b"]).await;
    }
    first.texts(4).await;
    let mut second = Member::join(&clients, "billing", "second").await.expect("joined");
    let revoking = |_: &Member, frame: &Frame| match frame {
        Frame::Revoking(revoking) => Some(revoking.partitions.clone()),
        _ => None,
    };
    let going = first.until(revoking).await;
    let lease = first.held[&going[0]];

    let commit = proxy.on(Match::sql_contains("commit_v1"), Step::BeforeForward, Action::Hold);
    let handing_over = proxy.on(Match::sql_contains("release_v1"), Step::BeforeForward, Action::Pass);
    first.send(progress(lease, 1)).await.expect("sent");
    commit.fired().await;
    first.send(Ask::Release(v1::CommitRelease { partitions: going })).await.expect("sent");
    let overtaken = tokio::time::timeout(Duration::from_millis(300), handing_over.fired()).await;
    assert!(overtaken.is_err(), "nothing is handed over while a commit is under way");
    commit.release();
    let answer = first.answer().await.expect("answered");
    assert_eq!(answer.results[0].committed_offset, Some(1));
    second.until_held(1).await;
    assert_eq!(second.held[&lease.partition].next_offset, 1);
    assert_eq!(second.texts(1).await, [(lease.partition, 1, "b".into())]);
}

/// What became of one request of a publish stream.
fn fate(answer: v1::PublishStreamResponse) -> Result<i64, String> {
    match answer.answer.expect("set") {
        Answer::Error(error) => Err(error.reason),
        Answer::Published(published) => match &published.results[0].outcome {
            Some(v1::partition_result::Outcome::Appended(appended)) => Ok(appended.base_offset),
            Some(v1::partition_result::Outcome::Error(error)) => Err(error.reason.clone()),
            other => panic!("{other:?}"),
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refusal_after_refusal_a_pipelined_publish_stream_keeps_its_order() {
    let (_ground, _app, mut clients, _) = spine(&[]).await;
    let producer = Uuid::new_v4();
    let (send, requests) = mpsc::channel(64);
    let answers = clients.publisher.publish_stream(ReceiverStream::new(requests)).await.expect("a stream");
    let mut answers = answers.into_inner();
    let (events, in_flight) = (300, 16);
    // Every seventh event is bad the first time it is sent; its number is used again for what replaces it.
    let mut mended = BTreeSet::new();
    let (mut sent, mut answered, mut refused) = (0i64, 0i64, None::<i64>);
    let mut refusals = 0;
    while answered < events {
        while refused.is_none() && sent < events && sent - answered < in_flight {
            let mut request = sequenced("orders", producer, 0, sent, &[&sent.to_string()]);
            if sent % 7 == 3 && !mended.contains(&sent) {
                request.events[0].key = Some("\0".into());
            }
            send.send(v1::PublishStreamRequest { publish: Some(request) }).await.expect("room");
            sent += 1;
        }
        let answer = within("an answer", answers.next()).await.expect("an answer").expect("an answer");
        match (fate(answer), refused) {
            (Ok(offset), None) => assert_eq!(offset, answered),
            (Err(reason), None) => {
                assert_eq!((reason.as_str(), answered % 7), ("INVALID_ARGUMENT", 3));
                mended.insert(answered);
                refused = Some(answered);
            }
            // A bad one behind it may be found bad before that is looked at.
            (Err(reason), Some(_)) if reason == "INVALID_ARGUMENT" => assert_eq!(answered % 7, 3),
            (fate, Some(_)) => assert_eq!(fate, Err("PRECEDING_FAILED".into()), "nothing overtakes a refusal"),
        }
        answered += 1;
        if let Some(first) = refused.filter(|_| answered == sent) {
            // All that stood behind it was refused: again from there.
            (sent, answered, refused) = (first, first, None);
            refusals += 1;
        }
    }
    assert_eq!(refusals, mended.len());
    let log = crate::faults::log_of(&_ground.database, "orders").await;
    assert_eq!(log, (0..events).map(|number| (number, number.to_string())).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_hints_an_event_reaches_another_broker_within_the_polling_bound() {
    let _turn = turn().await;
    let (ground, _app, mut clients, key) = spine(&[("delivery.hints", "false")]).await;
    let other = ground.broker(&[("delivery.hints", "false")]).await;
    let reader = Clients::new(&other, &key).await;
    let request = v1::ReadRequest { stream: "orders".into(), partition: Some(0), follow: true, ..Default::default() };
    let mut frames = reader.log.clone().read(request).await.expect("a read").into_inner();
    let mut waits = Vec::new();
    for number in 0..21 {
        clients.publish("orders", 0, &["x"]).await;
        let appended = Instant::now();
        loop {
            let frame = within("the event", frames.next()).await.expect("a frame").expect("a frame");
            if let Some(v1::read_response::Frame::Batch(batch)) = frame.frame {
                assert_eq!(batch.head.base_offset, number);
                break;
            }
        }
        waits.push(appended.elapsed());
    }
    waits.sort();
    // A busy machine may keep a poll waiting; it does not keep most of them waiting.
    assert!(waits[10] < Duration::from_millis(300), "{waits:?}"); // bound: 300 ms
    assert!(waits[10] > Duration::from_millis(10), "a hint came through: {waits:?}"); // bound: hints take less
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_fall_behind_and_catch_up_while_events_come_miss_none_and_see_none_twice() {
    // The smallest cache, and events of which it holds twenty: readers go back and forth between memory and the log.
    let (_ground, app, clients, key) = spine(&[("delivery.tail_cache_bytes", "1048576")]).await;
    let events = 300;
    let mut readers = Vec::new();
    for number in 0..12i64 {
        let own = Clients::new(&app, &key).await;
        readers.push(async move {
            let mut chance = StdRng::seed_from_u64(number as u64);
            let follow =
                v1::ReadRequest { stream: "orders".into(), partition: Some(0), follow: true, ..Default::default() };
            let mut frames = own.log.clone().read(follow).await.expect("a read").into_inner();
            let mut next = 0;
            while next < events {
                let frame = within("an event", frames.next()).await.expect("a frame").expect("a frame");
                let Some(v1::read_response::Frame::Batch(batch)) = frame.frame else { continue };
                assert_eq!(batch.head.base_offset, next);
                for event in &batch.head.events {
                    assert!(text(event).starts_with(&format!("{next} ")));
                    next += 1;
                }
                if chance.random_bool(0.05) {
                    // It dawdles, for as long as it takes the others to get some way on.
                    tokio::time::sleep(Duration::from_millis(chance.random_range(0..200))).await; // poll
                }
            }
        });
    }
    tokio::join!(publish(clients, events, 50_000), futures_util::future::join_all(readers));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_stops_reading_costs_a_window_and_slows_nobody() {
    // It is given up after this time; here it is to come back.
    let (_ground, app, mut clients, key) = spine(&[("delivery.silence_limit_ms", "600000")]).await;
    let (events, healthy, window) = (400i64, 10, 20);
    let subscribe = |group: &str, window_events| v1::SubscribeRequest {
        group: group.into(),
        member_name: "one".into(),
        window_events,
        ..Default::default()
    };
    clients.create_group("lazy", "orders").await;
    let mut lazy = Member::subscribe(&Clients::new(&app, &key).await, subscribe("lazy", window)).await.expect("joined");
    lazy.until_held(1).await;
    let mut members = Vec::new();
    for number in 0..healthy {
        let name = format!("healthy-{number}");
        clients.create_group(&name, "orders").await;
        let own = Clients::new(&app, &key).await;
        let mut member = Member::subscribe(&own, subscribe(&name, 10_000)).await.expect("joined");
        members.push(async move {
            let mut next = 0;
            while next < events {
                let batch = member.batch().await;
                assert_eq!(batch.base_offset, next);
                next = batch.next_offset;
                member.commit(0, next).await;
            }
        });
    }
    // All of it is 40 MB, ten times what fits into the connection of a reader that does not read.
    let all =
        async { tokio::join!(publish(clients.clone(), events, 100_000), futures_util::future::join_all(members)) };
    within("ten healthy subscribers beside one that does not read", all).await;

    // It was sent its window and no more; when it reads and commits at last, the rest comes in order.
    let mut next = 0;
    while next < events {
        let before = next;
        let batches = tokio::time::timeout(Duration::from_millis(300), async {
            loop {
                let batch = lazy.batch().await;
                assert_eq!(batch.base_offset, next, "in order and without a hole");
                next = batch.next_offset;
            }
        });
        assert!(batches.await.is_err(), "a window has an end");
        assert!(next - before <= i64::from(window), "{before}..{next} is more than the window");
        let lease = lazy.held[&0];
        lazy.send(progress(lease, next)).await.expect("sent");
        assert_eq!(lazy.answer().await.expect("answered").results[0].committed_offset, Some(next));
    }
}
