//! Consumers against brokers that revoke, move, fence and die.

use std::time::Duration;

use eventflow::{Consumer, Notice, Record, consumer::ConsumerBuilder};
use eventflow_proto::v1::{self, subscribe_response::Frame};
use futures_util::StreamExt;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::fake::{Broker, Database, client};

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn text(record: &Record) -> String {
    String::from_utf8(record.payload().to_vec()).expect("text")
}

async fn builder(brokers: &[&Broker]) -> ConsumerBuilder {
    client(brokers).await.consumer("billing").member_name("billing-1").auto_commit(Duration::from_millis(10))
}

async fn take(consumer: &mut Consumer, count: usize) -> Vec<Record> {
    let mut records = Vec::new();
    while records.len() < count {
        records.push(consumer.next().await.expect("no end").expect("no error"));
    }
    records
}

fn payloads(records: &[Record]) -> Vec<String> {
    records.iter().map(text).collect()
}

fn status(reason: &str) -> Status {
    let details = ErrorDetails::with_error_info(reason, "eventflow", []);
    Status::with_error_details(Code::FailedPrecondition, "scripted", details)
}

#[tokio::test]
async fn what_the_application_has_moved_past_is_committed_and_nothing_else() {
    let database = Database::new(1);
    database.append(0, numbers(0..100));
    let broker = Broker::start("a", &database);
    let mut consumer = builder(&[&broker]).await.build().await.expect("a consumer");
    let records = take(&mut consumer, 42).await;
    assert_eq!(payloads(&records), numbers(0..42));
    database.until(|tables| tables.group.committed.get(&0) == Some(&41)).await;
    consumer.close().await.expect("leaves");
    let tables = database.tables();
    assert!(tables.group.left);
    assert_eq!(tables.group.committed[&0], 41, "the record in hand is not done");
}

#[tokio::test]
async fn batches_are_done_when_the_next_one_is_asked_for() {
    let database = Database::new(1);
    database.append(0, numbers(0..30));
    let broker = Broker::start("a", &database);
    let mut consumer = builder(&[&broker]).await.build().await.expect("a consumer");
    for _ in 0..3 {
        let batch = consumer.next_batch().await.expect("no end").expect("no error");
        assert_eq!(batch.len(), 10);
    }
    database.until(|tables| tables.group.committed.get(&0) == Some(&20)).await;
}

#[tokio::test]
async fn a_broker_that_dies_costs_no_event_and_gives_none_twice() {
    let database = Database::new(4);
    for partition in 0..4 {
        database.append(partition, numbers(partition * 1_000..partition * 1_000 + 500));
    }
    let (mut first, second) = (Broker::start("a", &database), Broker::start("b", &database));
    let mut consumer = builder(&[&first, &second]).await.build().await.expect("a consumer");
    let mut notices = consumer.notices();
    let mut records = take(&mut consumer, 700).await;
    first.kill();
    records.extend(take(&mut consumer, 1_300).await);
    for partition in 0..4 {
        let of_partition: Vec<Record> =
            records.iter().filter(|record| record.partition() == partition).cloned().collect();
        assert_eq!(payloads(&of_partition), numbers(partition * 1_000..partition * 1_000 + 500));
    }
    database.append(0, ["last".to_owned()]);
    assert_eq!(payloads(&take(&mut consumer, 1).await), ["last"]);
    database.until(|tables| (0..4).all(|partition| tables.group.committed.get(&partition) == Some(&500))).await;
    let reconnected = loop {
        if let Notice::Reconnected { broker, .. } = notices.next().await.expect("a notice") {
            break broker;
        }
    };
    assert_eq!(reconnected, "b");
}

#[tokio::test]
async fn a_partition_that_somebody_else_had_meanwhile_begins_at_the_groups_position() {
    let database = Database::new(1);
    database.append(0, numbers(0..50));
    let (mut first, second) = (Broker::start("a", &database), Broker::start("b", &database));
    let mut consumer = builder(&[&first, &second]).await.build().await.expect("a consumer");
    take(&mut consumer, 21).await;
    database.until(|tables| tables.group.committed.get(&0) == Some(&20)).await;
    // Another member had it, and committed nothing.
    database.tables().group.raise(0);
    first.kill();
    let mut notices = consumer.notices();
    while !matches!(notices.next().await.expect("a notice"), Notice::Reconnected { .. }) {}
    let records = take(&mut consumer, 1).await;
    assert_eq!(payloads(&records), ["20"], "at least once");
}

#[tokio::test]
async fn a_revoked_partition_is_committed_then_released_and_yields_nothing_more() {
    let database = Database::new(2);
    database.append(0, numbers(0..100));
    let broker = Broker::start("a", &database);
    let builder = builder(&[&broker]).await.auto_commit(Duration::from_secs(3_600));
    let mut consumer = builder.build().await.expect("a consumer");
    let mut notices = consumer.notices();
    take(&mut consumer, 35).await;
    database.tables().group.stopped.push(0);
    let revoking = v1::PartitionsRevoking { partitions: vec![0], deadline: None };
    database.inject(Ok(Frame::Revoking(revoking))).await;
    while !matches!(notices.next().await.expect("a notice"), Notice::Revoking { .. }) {}
    assert!(database.tables().group.released.is_empty(), "a record is in the application's hands");
    database.append(1, ["next".to_owned()]);
    assert_eq!(payloads(&take(&mut consumer, 1).await), ["next"]);
    database.until(|tables| tables.group.released == [0]).await;
    assert_eq!(database.tables().group.committed[&0], 35);
}

#[tokio::test]
async fn a_seek_reaches_a_running_consumer() {
    let database = Database::new(1);
    database.append(0, numbers(0..30));
    let broker = Broker::start("a", &database);
    let mut consumer = builder(&[&broker]).await.build().await.expect("a consumer");
    let mut notices = consumer.notices();
    take(&mut consumer, 25).await;
    let grant = {
        let mut tables = database.tables();
        tables.group.raise(0);
        tables.group.committed.insert(0, 3);
        tables.group.grant(0)
    };
    database.inject(Ok(Frame::Repositioned(v1::Repositioned { partition: Some(grant) }))).await;
    while !matches!(notices.next().await.expect("a notice"), Notice::Repositioned { next_offset: 3, .. }) {}
    assert_eq!(payloads(&take(&mut consumer, 27).await), numbers(3..30));
}

#[tokio::test]
async fn whoever_loses_the_member_name_ends_and_does_not_fight_back() {
    let database = Database::new(1);
    let broker = Broker::start("a", &database);
    let mut consumer = builder(&[&broker]).await.build().await.expect("a consumer");
    database.inject(Err(status("MEMBER_FENCED"))).await;
    let error = consumer.next().await.expect("an item").expect_err("fenced");
    assert_eq!(error.reason(), "MEMBER_FENCED");
    assert!(consumer.next().await.is_none());
    assert_eq!(database.tables().group.sessions, 1);
}

#[tokio::test]
async fn a_broker_that_goes_away_gets_the_last_commit_and_another_one_serves() {
    let database = Database::new(1);
    database.append(0, numbers(0..10));
    let (first, second) = (Broker::start("a", &database), Broker::start("b", &database));
    let builder = builder(&[&first, &second]).await.auto_commit(Duration::from_secs(3_600));
    let mut consumer = builder.build().await.expect("a consumer");
    let mut notices = consumer.notices();
    take(&mut consumer, 6).await;
    let grace = Some(prost_types::Duration { seconds: 5, nanos: 0 });
    database.inject(Ok(Frame::GoAway(v1::GoAway { reason: "BROKER_DRAINING".into(), grace }))).await;
    let broker = loop {
        if let Notice::Reconnected { broker, .. } = notices.next().await.expect("a notice") {
            break broker;
        }
    };
    assert_eq!(broker, "b");
    assert_eq!(database.tables().group.committed[&0], 5);
    assert_eq!(payloads(&take(&mut consumer, 4).await), numbers(6..10));
}

#[tokio::test]
async fn an_explicit_commit_is_durable_when_it_returns() {
    let database = Database::new(1);
    database.append(0, numbers(0..10));
    let broker = Broker::start("a", &database);
    let mut consumer = builder(&[&broker]).await.explicit_commit().build().await.expect("a consumer");
    let records = take(&mut consumer, 5).await;
    assert!(database.tables().group.committed.is_empty());
    consumer.commit(&records[3]).await.expect("durable");
    assert_eq!(database.tables().group.committed[&0], 4);
    let error = consumer.commit_positions([(0, 9)]).await.expect_err("never given out");
    assert_eq!(error.reason(), "PARTITION_NOT_HELD");
}

#[tokio::test]
async fn a_commit_survives_a_broken_commit_stream_and_a_refusal_that_passes() {
    let database = Database::new(1);
    database.append(0, numbers(0..10));
    database.tables().group.broken_commit_streams = 2;
    let broker = Broker::start("a", &database);
    let mut consumer = builder(&[&broker]).await.explicit_commit().build().await.expect("a consumer");
    let unavailable = v1::ErrorStatus { code: 14, reason: "DATABASE_UNAVAILABLE".into(), ..Default::default() };
    database.tables().group.commit_refusals.push(unavailable);
    let records = take(&mut consumer, 1).await;
    consumer.commit(&records[0]).await.expect("durable in the end");
    assert_eq!(database.tables().group.committed[&0], 1);
    assert_eq!(database.tables().group.sessions, 1, "the session lives on");
}

#[tokio::test]
async fn removed_events_are_a_notice_and_not_an_error() {
    let database = Database::new(1);
    let broker = Broker::start("a", &database);
    let mut consumer = builder(&[&broker]).await.build().await.expect("a consumer");
    let mut notices = consumer.notices();
    let truncated = v1::Truncated { partition: 0, from_offset: 0, to_offset: 7, log_epoch: 0, resumed: false };
    database.inject(Ok(Frame::Truncated(truncated))).await;
    let heard = loop {
        if let Notice::Truncated { to_offset, resumed, .. } = notices.next().await.expect("a notice") {
            break (to_offset, resumed);
        }
    };
    assert_eq!(heard, (7, false));
    database.append(0, numbers(0..1));
    assert_eq!(payloads(&take(&mut consumer, 1).await), ["0"]);
}

#[tokio::test]
async fn a_missing_group_is_told_at_once() {
    let broker = Broker::start("a", &Database::new(1));
    let error = client(&[&broker]).await.consumer("nobody").build().await.expect_err("no group");
    assert_eq!(error.reason(), "CONSUMER_GROUP_NOT_FOUND");
}

#[tokio::test]
async fn dropping_a_consumer_commits_what_is_done_and_leaves() {
    let database = Database::new(1);
    database.append(0, numbers(0..10));
    let broker = Broker::start("a", &database);
    let builder = builder(&[&broker]).await.auto_commit(Duration::from_secs(3_600));
    let mut consumer = builder.build().await.expect("a consumer");
    take(&mut consumer, 6).await;
    drop(consumer);
    database.until(|tables| tables.group.left).await;
    assert_eq!(database.tables().group.committed[&0], 5);
}
