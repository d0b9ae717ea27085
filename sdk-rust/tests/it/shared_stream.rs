//! Producers of one client and stream share a `PublishStream`, and nothing else.

use eventflow::{Client, Event, Producer};
use futures_util::future::join_all;

use crate::fake::{Broker, Database, Fault, client};

async fn producers(client: &Client, count: usize) -> Vec<Producer> {
    let starts = (0..count).map(|_| client.producer("orders").build());
    join_all(starts).await.into_iter().map(|started| started.expect("a producer")).collect()
}

/// Sends numbered events one after the other, each when the one before it is durable.
async fn one_at_a_time(name: usize, producer: &Producer, events: u32) {
    for number in 0..events {
        let event = Event::new(format!("{name}-{number}")).with_key("us");
        producer.send(event).await.expect("taken").await.expect("appended");
    }
}

fn of(payloads: &[String], name: usize) -> Vec<String> {
    let prefix = format!("{name}-");
    payloads.iter().filter(|payload| payload.starts_with(&prefix)).cloned().collect()
}

/// The partition of the key `us` among eight.
const US: u32 = 6;

fn assert_all(database: &Database, names: usize, events: u32) {
    let payloads = database.payloads(US);
    for name in 0..names {
        let expected: Vec<String> = (0..events).map(|number| format!("{name}-{number}")).collect();
        assert_eq!(of(&payloads, name), expected);
    }
    assert_eq!(payloads.len(), names * events as usize);
}

#[tokio::test]
async fn many_producers_share_one_publish_stream() {
    let database = Database::new(8);
    let broker = Broker::start("a", &database);
    let client = client(&[&broker]).await;
    let producers = producers(&client, 50).await;
    join_all(producers.iter().enumerate().map(|(name, producer)| one_at_a_time(name, producer, 20))).await;
    assert_all(&database, 50, 20);
    assert_eq!(database.tables().streams, 1);
}

#[tokio::test]
async fn what_goes_wrong_for_one_costs_the_others_neither_events_nor_order() {
    let database = Database::new(8);
    let broker = Broker::start("a", &database);
    for _ in 0..5 {
        let faults = [Fault::None, Fault::UnknownApplied, Fault::Overloaded, Fault::UnknownNotApplied];
        database.tables().faults.extend(faults);
        database.tables().faults.extend([Fault::AppliedThenDropped, Fault::None, Fault::Dropped]);
    }
    let client = client(&[&broker]).await;
    let producers = producers(&client, 20).await;
    join_all(producers.iter().enumerate().map(|(name, producer)| one_at_a_time(name, producer, 20))).await;
    assert!(database.tables().faults.is_empty());
    assert_all(&database, 20, 20);
}

#[tokio::test]
async fn a_fenced_producer_does_not_end_its_neighbours() {
    let database = Database::new(8);
    let broker = Broker::start("a", &database);
    let client = client(&[&broker]).await;
    let producers = producers(&client, 3).await;
    database.tables().faults.push_back(Fault::Fenced);
    let fenced = producers[0].send(Event::new("lost").with_key("us")).await.expect("taken");
    assert_eq!(fenced.await.expect_err("fenced").reason(), "PRODUCER_FENCED");
    one_at_a_time(1, &producers[1], 5).await;
    one_at_a_time(2, &producers[2], 5).await;
    assert_eq!(producers[0].send(Event::new("more")).await.expect_err("ended").reason(), "PRODUCER_FENCED");
    assert_eq!(database.payloads(US).len(), 10);
}

#[tokio::test]
async fn producers_come_and_go_and_the_last_ends_the_stream() {
    let database = Database::new(8);
    let broker = Broker::start("a", &database);
    let client = client(&[&broker]).await;
    let mut first = producers(&client, 2).await;
    one_at_a_time(0, &first[0], 3).await;
    first.remove(0).close().await.expect("drained");
    one_at_a_time(1, &first[0], 3).await;
    drop(first);
    let second = producers(&client, 1).await;
    one_at_a_time(2, &second[0], 3).await;
    second.into_iter().next().expect("one").close().await.expect("drained");
    client.close().await;
    assert_all(&database, 3, 3);
}

#[tokio::test]
async fn a_closed_client_fails_what_is_on_its_way() {
    let database = Database::new(8);
    let mut broker = Broker::start("a", &database);
    let client = client(&[&broker]).await;
    let producers = producers(&client, 2).await;
    broker.kill();
    let receipt = producers[1].send(Event::new("late").with_key("us")).await.expect("taken");
    client.close().await;
    assert_eq!(receipt.await.expect_err("closed").reason(), "CLOSED");
    assert_eq!(producers[0].send(Event::new("more")).await.expect_err("closed").reason(), "CLOSED");
}
