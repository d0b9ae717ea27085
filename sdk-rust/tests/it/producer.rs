//! Producers against brokers that refuse, forget and die.

use std::time::Duration;

use eventflow::{Applied, ErrorKind, Event, Producer, Receipt};

use crate::fake::{Broker, Database, Fault, client};

async fn send(producer: &Producer, payload: impl Into<String>) -> Receipt {
    producer.send(Event::new(payload.into()).with_key("us")).await.expect("taken")
}

/// The partition of the key `us` among eight.
const US: u32 = 6;

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn events_of_a_key_stand_in_the_order_of_their_sends_and_receipts_say_where() {
    let database = Database::new(8);
    let broker = Broker::start("a", &database);
    let producer = client(&[&broker]).await.producer("orders").build().await.expect("a producer");
    let mut receipts = Vec::new();
    for number in 0..5_000 {
        receipts.push(send(&producer, number.to_string()).await);
    }
    for (number, receipt) in receipts.into_iter().enumerate() {
        let appended = receipt.await.expect("appended");
        assert_eq!((appended.partition, appended.offset), (US, number as i64));
    }
    assert_eq!(database.payloads(US), numbers(0..5_000));
    let requests = database.tables().requests;
    assert!(requests < 1_000, "events travel in batches, not in {requests} requests");
}

#[tokio::test]
async fn unknown_outcomes_refusals_and_lost_streams_neither_lose_nor_repeat_nor_reorder() {
    let database = Database::new(8);
    let broker = Broker::start("a", &database);
    let faults = [
        Fault::None,
        Fault::UnknownApplied,
        Fault::Overloaded,
        Fault::UnknownNotApplied,
        Fault::AppliedThenDropped,
        Fault::None,
        Fault::Dropped,
        Fault::UnknownApplied,
    ];
    database.tables().faults.extend(faults);
    let producer = client(&[&broker]).await.producer("orders").batch_events(10).build().await.expect("a producer");
    for number in 0..500 {
        send(&producer, number.to_string()).await;
    }
    producer.close().await.expect("everything arrives");
    assert_eq!(database.payloads(US), numbers(0..500));
    assert!(database.tables().faults.is_empty());
}

#[tokio::test]
async fn a_broker_that_dies_midway_costs_nothing_but_a_moment() {
    let database = Database::new(8);
    let (mut first, second) = (Broker::start("a", &database), Broker::start("b", &database));
    let producer =
        client(&[&first, &second]).await.producer("orders").batch_events(50).build().await.expect("a producer");
    let mut receipts = Vec::new();
    for number in 0..20_000_u32 {
        receipts.push(send(&producer, number.to_string()).await);
        if number == 10_000 {
            database.until(|tables| tables.requests > 5).await;
            first.kill();
        }
    }
    for (number, receipt) in receipts.into_iter().enumerate() {
        assert_eq!(receipt.await.expect("appended").offset, number as i64);
    }
    assert_eq!(database.payloads(US), numbers(0..20_000));
}

#[tokio::test]
async fn a_bad_event_fails_alone_and_the_others_keep_their_order() {
    let database = Database::new(8);
    let broker = Broker::start("a", &database);
    let producer = client(&[&broker]).await.producer("orders").build().await.expect("a producer");
    let mut receipts = Vec::new();
    for number in 0..100 {
        let payload = if number % 10 == 3 { "bad".to_owned() } else { number.to_string() };
        receipts.push((payload.clone(), send(&producer, payload).await));
    }
    let mut good = Vec::new();
    for (payload, receipt) in receipts {
        match receipt.await {
            Ok(_) => good.push(payload),
            Err(error) => {
                assert_eq!((payload.as_str(), error.reason()), ("bad", "INVALID_ARGUMENT"));
                assert_eq!(error.applied(), Applied::No);
            }
        }
    }
    assert_eq!(good.len(), 90);
    assert_eq!(database.payloads(US), good);
    let flushed = producer.flush().await.expect_err("a flush tells of failures");
    assert_eq!(flushed.reason(), "INVALID_ARGUMENT");
    producer.flush().await.expect("once");
}

#[tokio::test]
async fn an_event_whose_partition_is_named_goes_there_whatever_its_key() {
    let database = Database::new(4);
    let broker = Broker::start("a", &database);
    let producer = client(&[&broker]).await.producer("orders").batch_events(7).build().await.expect("a producer");
    for number in 0..300 {
        if number == 100 {
            database.until(|tables| tables.requests > 2).await;
            let mut tables = database.tables();
            tables.partitions = 8;
            tables.routing_version = 2;
        }
        let event = Event::new(number.to_string()).with_key("us").with_partition(1);
        producer.send(event).await.expect("taken");
        producer.send(Event::new("by key").with_key("us")).await.expect("taken");
    }
    let refused = producer.send(Event::new("").with_partition(8)).await.expect_err("no such partition");
    assert_eq!((refused.reason(), refused.kind()), ("PARTITION_OUT_OF_RANGE", ErrorKind::OutOfRange));
    assert_eq!(refused.applied(), Applied::No);
    producer.close().await.expect("everything arrives");
    let named: Vec<String> = database.payloads(1).into_iter().filter(|payload| payload != "by key").collect();
    assert_eq!(named, numbers(0..300), "also across the change");
    assert_eq!((0..8).map(|partition| database.payloads(partition).len()).sum::<usize>(), 600);
}

#[tokio::test]
async fn after_more_partitions_every_event_goes_where_its_key_goes_now() {
    let database = Database::new(1);
    let broker = Broker::start("a", &database);
    let producer = client(&[&broker]).await.producer("orders").batch_events(7).build().await.expect("a producer");
    let keyed = |key: &str, number: u32| Event::new(format!("{key}{number}")).with_key(key);
    for number in 0..300 {
        if number == 100 {
            database.until(|tables| tables.requests > 2).await;
            let mut tables = database.tables();
            tables.partitions = 8;
            tables.routing_version = 2;
        }
        for key in ["a", "us"] {
            producer.send(keyed(key, number)).await.expect("taken");
        }
    }
    producer.close().await.expect("everything arrives");
    let mut all: Vec<String> = (0..8).flat_map(|partition| database.payloads(partition)).collect();
    assert_eq!(all.len(), 600, "nothing is lost and nothing comes twice");
    for (key, partition) in [("a", 3), ("us", US)] {
        let of_key = |payload: &String| payload.starts_with(key);
        let mut order: Vec<String> = database.payloads(0).into_iter().filter(of_key).collect();
        order.extend(database.payloads(partition));
        let expected: Vec<String> = (0..300).map(|number| format!("{key}{number}")).collect();
        assert_eq!(order, expected, "order of `{key}` across the change");
    }
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 600);
}

#[tokio::test]
async fn events_without_a_key_are_spread_and_none_is_lost() {
    let database = Database::new(4);
    let broker = Broker::start("a", &database);
    let producer = client(&[&broker]).await.producer("orders").batch_events(10).build().await.expect("a producer");
    for number in 0..1_000 {
        producer.send(Event::new(number.to_string())).await.expect("taken");
    }
    producer.close().await.expect("everything arrives");
    let counts: Vec<usize> = (0..4).map(|partition| database.payloads(partition).len()).collect();
    assert_eq!(counts.iter().sum::<usize>(), 1_000);
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

#[tokio::test]
async fn a_fenced_producer_is_at_its_end() {
    let database = Database::new(8);
    let broker = Broker::start("a", &database);
    database.tables().faults.push_back(Fault::Fenced);
    let producer = client(&[&broker]).await.producer("orders").build().await.expect("a producer");
    let error = send(&producer, "1").await.await.expect_err("fenced");
    assert_eq!(error.reason(), "PRODUCER_FENCED");
    let error = producer.send(Event::new("2")).await.expect_err("no more");
    assert_eq!(error.reason(), "PRODUCER_FENCED");
}

#[tokio::test]
async fn receipts_give_up_after_the_delivery_timeout_and_order_survives_it() {
    let database = Database::new(8);
    let mut first = Broker::start("a", &database);
    let builder = client(&[&first]).await.producer("orders").delivery_timeout(Duration::from_millis(300));
    let producer = builder.build().await.expect("a producer");
    send(&producer, "0").await.await.expect("appended");
    first.kill();
    let error = send(&producer, "1").await.await.expect_err("no broker");
    assert_eq!((error.kind(), error.reason()), (ErrorKind::DeadlineExceeded, "TIMED_OUT"));
    assert_eq!(database.payloads(US), ["0"]);
}

#[tokio::test]
async fn an_event_too_large_fails_before_it_is_sent() {
    let database = Database::new(8);
    let broker = Broker::start("a", &database);
    let producer = client(&[&broker]).await.producer("orders").build().await.expect("a producer");
    let error = producer.send(Event::new(vec![0; 1_000_001])).await.expect_err("too large");
    assert_eq!(error.reason(), "EVENT_TOO_LARGE");
    assert!(error.message().contains("1000000"), "{error}");
    assert_eq!(database.tables().requests, 0);
}

#[tokio::test]
async fn memory_is_bounded_and_try_send_says_so() {
    let database = Database::new(8);
    let mut broker = Broker::start("a", &database);
    let builder = client(&[&broker]).await.producer("orders").memory_bytes(8 * 1024 * 1024);
    let producer = builder.build().await.expect("a producer");
    broker.kill();
    let mut taken = 0;
    let error = loop {
        match producer.try_send(Event::new(vec![0; 500_000])) {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.reason(), "PRODUCER_MEMORY_FULL");
    assert_eq!(taken, 16);
}

#[tokio::test]
async fn a_missing_stream_is_made_where_brokers_do_that() {
    let database = Database::new(8);
    database.tables().missing = true;
    let broker = Broker::start("a", &database);
    let producer = client(&[&broker]).await.producer("orders").build().await.expect("a producer");
    send(&producer, "0").await.await.expect("appended");
}

#[tokio::test]
async fn dropping_a_producer_fails_what_is_on_its_way() {
    let database = Database::new(8);
    let mut broker = Broker::start("a", &database);
    let producer = client(&[&broker]).await.producer("orders").build().await.expect("a producer");
    broker.kill();
    let receipt = send(&producer, "0").await;
    drop(producer);
    assert_eq!(receipt.await.expect_err("dropped").reason(), "CLOSED");
}
