//! A broker whose memory of a stream is old, because another one has changed it.

use crate::support::{Clients, Ground, appended, event, refused, text};
use eventflow_broker::runtime::app::App;
use eventflow_proto::{
    partition_of_key,
    v1::{self, publish_stream_response::Answer},
};
use std::collections::BTreeMap;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};

/// Two brokers; the first one remembers the stream with two partitions.
async fn spine() -> (Ground, [App; 2], [Clients; 2]) {
    let ground = Ground::new().await;
    let apps = [ground.broker(&[]).await, ground.broker(&[]).await];
    let key = ground.key("acme").await;
    let mut clients = [Clients::new(&apps[0], &key).await, Clients::new(&apps[1], &key).await];
    clients[0].create_stream("orders", 2).await;
    clients[0].publish("orders", 0, &["before"]).await;
    (ground, apps, clients)
}

async fn add_partitions(clients: &mut Clients, partitions: u32) {
    let request =
        v1::AddPartitionsRequest { name: "orders".into(), partitions, allow_key_remap: true, ..Default::default() };
    clients.streams.add_partitions(request).await.expect("more partitions");
}

fn keyed(key: &str, payload: &str) -> v1::Event {
    v1::Event { key: Some(key.into()), ..event(payload) }
}

fn request(events: Vec<v1::Event>) -> v1::PublishRequest {
    v1::PublishRequest { stream: "orders".into(), events, ..Default::default() }
}

/// Texts by partition, in their order.
async fn log(clients: &Clients) -> BTreeMap<u32, Vec<String>> {
    let read = v1::ReadRequest { stream: "orders".into(), ..Default::default() };
    let mut frames = clients.log.clone().read(read).await.expect("a read").into_inner();
    let mut seen: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    while let Some(frame) = frames.next().await {
        if let Some(v1::read_response::Frame::Batch(batch)) = frame.expect("a frame").frame {
            seen.entry(batch.head.partition).or_default().extend(batch.head.events.iter().map(text));
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_the_partition_to_the_broker_never_sees_stale_routing() {
    let (_ground, _apps, [mut here, mut there]) = Box::pin(spine()).await;
    add_partitions(&mut there, 16).await;
    let keys: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    let events = keys.iter().map(|key| keyed(key, key)).collect();
    let results = here.publisher.publish(request(events)).await.expect("answered").into_inner().results;
    let mut indexes: Vec<u32> = Vec::new();
    for result in &results {
        appended(result);
        for index in &result.event_indexes {
            let expected = partition_of_key(keys[*index as usize].as_bytes(), 16);
            assert_eq!(result.partition, expected, "by the key, of 16 partitions");
        }
        indexes.extend(&result.event_indexes);
    }
    assert!(results.is_sorted_by_key(|result| result.partition));
    indexes.sort_unstable();
    assert_eq!(indexes, (0..40).collect::<Vec<u32>>(), "every event once");
    let kept: usize = log(&here).await.values().map(Vec::len).sum();
    assert_eq!(kept, 41, "and appended once");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_chose_the_partition_by_an_old_version_is_told_so() {
    let (_ground, _apps, [mut here, mut there]) = Box::pin(spine()).await;
    add_partitions(&mut there, 3).await;
    let request = v1::PublishRequest { partition: Some(0), routing_version: 1, ..request(vec![event("x")]) };
    let results = here.publisher.publish(request).await.expect("answered").into_inner().results;
    let (reason, facts) = refused(&results[0]);
    assert_eq!((reason.as_str(), facts["routing_version"].as_str()), ("STALE_ROUTING", "2"));
    assert_eq!(facts["applied"], "no");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_was_made_anew_elsewhere_takes_the_next_event() {
    let (_ground, _apps, [mut here, mut there]) = Box::pin(spine()).await;
    let delete = v1::DeleteStreamRequest { name: "orders".into(), ..Default::default() };
    there.streams.delete_stream(delete.clone()).await.expect("deleted");
    there.create_stream("orders", 1).await;
    let results =
        here.publisher.publish(request(vec![keyed("a", "new")])).await.expect("answered").into_inner().results;
    assert_eq!((results[0].partition, appended(&results[0]).base_offset), (0, 0));
    there.streams.delete_stream(delete).await.expect("deleted");
    let results =
        here.publisher.publish(request(vec![keyed("a", "gone")])).await.expect("answered").into_inner().results;
    assert_eq!(refused(&results[0]).0, "STREAM_NOT_FOUND");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_stream_keeps_the_order_of_keys_when_its_requests_are_routed_again() {
    let (_ground, _apps, [mut here, mut there]) = Box::pin(spine()).await;
    let (ask, asked) = mpsc::channel(1_000);
    let mut answers = here.publisher.publish_stream(ReceiverStream::new(asked)).await.expect("a stream").into_inner();
    let mut sent = 0;
    let mut send = async |count: u32| {
        for _ in 0..count {
            let events = (0..8).map(|key: u32| keyed(&key.to_string(), &format!("{key} {sent:05}"))).collect();
            ask.send(v1::PublishStreamRequest { publish: Some(request(events)) }).await.expect("room");
            sent += 1;
        }
    };
    let mut settled = async |count: u32| {
        for _ in 0..count {
            let answer = answers.next().await.expect("an answer").expect("an answer").answer.expect("set");
            let Answer::Published(published) = answer else { panic!("{answer:?}") };
            published.results.iter().for_each(|result| drop(appended(result)));
        }
    };
    send(20).await;
    settled(20).await;
    // Many requests are on their way by the old version when the new one is learnt; more follow by the new one.
    add_partitions(&mut there, 7).await;
    tokio::join!(send(400), settled(400));
    add_partitions(&mut there, 9).await;
    tokio::join!(send(200), settled(200));

    let log = log(&here).await;
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (partition, texts) in &log {
        for key in 0..8 {
            let prefix = format!("{key} ");
            let of_key: Vec<&String> = texts.iter().filter(|text| text.starts_with(&prefix)).collect();
            assert!(of_key.is_sorted(), "key {key} in partition {partition}: {of_key:?}");
            seen.entry(prefix).or_default().extend(of_key.into_iter().cloned());
        }
    }
    assert!(seen.values().all(|texts| texts.len() == 620), "each event once");
}
