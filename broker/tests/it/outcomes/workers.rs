//! Workers of the Rust client against real brokers.

use super::{dead_letters, ordered, retry_rows, seconds, shared, stage, until_done};
use crate::support::{Clients, Ground};
use eventflow::{Client, ClientOptions, Failure, Worker};
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

async fn client(ground: &Ground, apps: &[&App]) -> Client {
    let hosts: Vec<String> = apps.iter().map(|app| app.grpc_address().to_string()).collect();
    let options = ClientOptions::new(&format!("eventflow://{}?tls=off", hosts.join(","))).expect("a url");
    Client::connect_with(options.api_key(ground.key("acme").await)).await.expect("connected")
}

async fn worker(client: &Client) -> Worker {
    client.worker("workers").build().await.expect("joined")
}

/// Publishes events `0..count` to all partitions in turn.
async fn publish(clients: &mut Clients, partitions: u32, count: usize) {
    for partition in 0..partitions {
        let mine: Vec<String> = (0..count)
            .filter(|number| number % partitions as usize == partition as usize)
            .map(|n| n.to_string())
            .collect();
        for part in mine.chunks(5_000) {
            let texts: Vec<&str> = part.iter().map(String::as_str).collect();
            clients.publish("orders", partition, &texts).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn handlers_settle_events_by_their_results() {
    let (ground, app, mut clients) = stage(4, shared(3)).await;
    publish(&mut clients, 4, 400).await;
    let client = client(&ground, &[&app]).await;
    let (done, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let attempts = Arc::new(Mutex::new(HashMap::<String, Vec<u32>>::new()));
    let handler = |job: Arc<eventflow::Job>| {
        let (done, stop, attempts) = (done.clone(), stop.clone(), attempts.clone());
        async move {
            let text = String::from_utf8_lossy(job.payload()).into_owned();
            let attempt = job.attempt();
            attempts.lock().expect("ok").entry(text.clone()).or_default().push(attempt);
            match (text.as_str(), attempt) {
                ("7", _) => return Err(Failure::retry("never").class("poison")),
                ("8", _) => return Err(Failure::give_up("no use")),
                ("9", 1) => panic!("a bug in the handler"),
                ("10", 1) => return Err("x".parse::<u32>().expect_err("no number").into()),
                _ => {}
            }
            if done.fetch_add(1, Ordering::SeqCst) + 1 == 398 {
                stop.notify_one();
            }
            Ok(())
        }
    };
    worker(&client).await.run(16, stop.notified(), handler).await.expect("drained");
    let rest = Arc::new(Notify::new());
    let finishing = async {
        until_done(&mut clients).await;
        rest.notify_one();
    };
    let run = worker(&client).await.run(16, rest.notified(), handler);
    let (outcome, ()) = tokio::join!(run, finishing);
    outcome.expect("drained");
    let attempts = attempts.lock().expect("ok").clone();
    assert_eq!(attempts.len(), 400);
    assert_eq!((&attempts["7"], &attempts["8"]), (&vec![1, 2, 3], &vec![1]));
    assert_eq!((&attempts["9"], &attempts["10"]), (&vec![1, 2], &vec![1, 2]));
    let twice =
        attempts.iter().filter(|(text, seen)| seen.len() > 1 && !["7", "9", "10"].contains(&text.as_str())).count();
    assert_eq!(twice, 0, "each once");
    let dead = dead_letters(&ground).await;
    assert_eq!(dead.len(), 2, "{dead:?}");
    assert!(dead.iter().any(|letter| letter.2 == "never" && letter.1 == 3), "{dead:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_consumer_of_a_hundred_thousand_tiny_events_gets_each_once() {
    let group = v1::ConsumerGroup { ack_timeout: seconds(1), ..shared(5) };
    let (ground, app, mut clients) = stage(4, group).await;
    publish(&mut clients, 4, 100_000).await;
    let client = client(&ground, &[&app]).await;
    let worker = client.worker("workers").window_events(100_000).build().await.expect("joined");
    let clock = ground.database.connect().await;
    let mut seen = BTreeSet::new();
    for number in 0..100_000 {
        let job = worker.next().await.expect("more").expect("an event");
        assert_eq!(job.attempt(), 1);
        assert!(seen.insert((job.partition(), job.offset())), "twice: {}@{}", job.partition(), job.offset());
        if number % 2_000 == 0 {
            // Slow: what waits behind this one waits for longer than the ack timeout, time and again.
            let since: f64 = now(&clock).await;
            // poll
            while now(&clock).await < since + 0.15 {}
        }
        job.ack_soon();
    }
    until_done(&mut clients).await;
    worker.close().await.expect("closed");
    assert_eq!((seen.len(), retry_rows(&ground).await), (100_000, 0), "no duplicate, nothing charged");
}

async fn now(client: &tokio_postgres::Client) -> f64 {
    let sql = "select extract(epoch from clock_timestamp())::double precision";
    client.query_one(sql, &[]).await.expect("the time").get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_members_come_and_go_and_no_event_is_lost() {
    let (ground, app, mut clients) = stage(3, shared(9)).await;
    let other = ground.broker(&[]).await;
    let client = client(&ground, &[&app, &other]).await;
    let seen = Arc::new(Mutex::new(BTreeMap::<(u32, i64), usize>::new()));
    let work = async |turn: usize| {
        let worker = worker(&client).await;
        for _ in 0..200 + turn * 37 {
            let next = tokio::time::timeout(std::time::Duration::from_millis(400), worker.next()).await;
            let Ok(Some(job)) = next else { break };
            let job = job.expect("an event");
            *seen.lock().expect("ok").entry((job.partition(), job.offset())).or_default() += 1;
            job.ack_soon();
        }
        if turn.is_multiple_of(3) {
            // It goes without a word.
            drop(worker);
        } else {
            let _ = worker.close().await;
        }
    };
    let members = async {
        for round in 0..3 {
            let all = (0..10).map(|number| work(round + number % 5));
            futures_util::future::join_all(all).await;
        }
    };
    let ((), ()) = tokio::join!(publish(&mut clients, 3, 9_000), members);
    let (stop, handled) = (Notify::new(), Mutex::new(0));
    let last = worker(&client).await;
    let finishing = async {
        until_done(&mut clients).await;
        stop.notify_one();
    };
    let run = last.run(8, stop.notified(), |job| {
        *seen.lock().expect("ok").entry((job.partition(), job.offset())).or_default() += 1;
        *handled.lock().expect("ok") += 1;
        async { Ok(()) }
    });
    let (outcome, ()) = tokio::join!(run, finishing);
    outcome.expect("drained");
    assert_eq!(seen.lock().expect("ok").len(), 9_000, "none is lost");
    assert!(dead_letters(&ground).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_of_an_ordered_group_keeps_the_order_of_a_partition_through_failures() {
    let (ground, app, mut clients) = stage(3, ordered(v1::OnFailure::Block, 3)).await;
    publish(&mut clients, 3, 300).await;
    let client = client(&ground, &[&app]).await;
    let orders = Arc::new(Mutex::new(BTreeMap::<u32, Vec<(i64, u32)>>::new()));
    let stop = Notify::new();
    let finishing = async {
        until_done(&mut clients).await;
        stop.notify_one();
    };
    let run = worker(&client).await.run(8, stop.notified(), |job| {
        let orders = orders.clone();
        async move {
            orders.lock().expect("ok").entry(job.partition()).or_default().push((job.offset(), job.attempt()));
            // Every tenth fails once, one of each partition for ever.
            let fails = job.offset() == 50 || (job.offset() % 10 == 0 && job.attempt() == 1);
            if fails { Err(Failure::retry("busy")) } else { Ok(()) }
        }
    });
    let (outcome, ()) = tokio::join!(run, finishing);
    outcome.expect("drained");
    for (partition, seen) in orders.lock().expect("ok").iter() {
        let expected: Vec<(i64, u32)> = (0..100)
            .flat_map(|offset| {
                let attempts = if offset == 50 {
                    3
                } else if offset % 10 == 0 {
                    2
                } else {
                    1
                };
                (1..=attempts).map(move |attempt| (offset, attempt))
            })
            .collect();
        assert_eq!(seen, &expected, "partition {partition}");
    }
    let dead: Vec<i64> = dead_letters(&ground).await.into_iter().map(|letter| letter.0).collect();
    assert_eq!(dead, [50, 50, 50]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_is_told_that_a_group_is_shared() {
    let (ground, app, mut clients) = stage(1, shared(3)).await;
    clients.publish("orders", 0, &["a"]).await;
    let client = client(&ground, &[&app]).await;
    let refused = client.consumer("workers").build().await.expect_err("a shared group");
    assert_eq!(refused.reason(), "DELIVERY_MODE_MISMATCH");
    let worker = worker(&client).await;
    let job = worker.next().await.expect("an event").expect("an event");
    assert_eq!(job.attempt(), 1, "the mistake counted nothing");
    job.ack().await.expect("durable");
    worker.close().await.expect("closed");
}
