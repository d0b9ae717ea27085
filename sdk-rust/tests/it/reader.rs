//! Reading across brokers that die.

use std::sync::{Arc, Mutex};

use eventflow::{Position, read::ReadNotice};
use futures_util::TryStreamExt;

use crate::fake::{Broker, Database, client};

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

fn text(record: &eventflow::Record) -> String {
    String::from_utf8(record.payload().to_vec()).expect("text")
}

#[tokio::test]
async fn a_read_ends_at_the_head() {
    let database = Database::new(2);
    database.append(0, numbers(0..25));
    database.append(1, numbers(100..130));
    let broker = Broker::start("a", &database);
    let client = client(&[&broker]).await;
    let reader = client.read("orders").start().await.expect("a reader");
    let records: Vec<_> = reader.try_collect().await.expect("records");
    for (partition, expected) in [(0, numbers(0..25)), (1, numbers(100..130))] {
        let of_partition = records.iter().filter(|record| record.partition() == partition);
        assert_eq!(of_partition.map(text).collect::<Vec<_>>(), expected);
    }
    let reader = client.read("orders").partition(1).from(Position::Offset(7)).max_events(3).start().await;
    let records: Vec<_> = reader.expect("a reader").try_collect().await.expect("records");
    assert_eq!(records.iter().map(eventflow::Record::offset).collect::<Vec<_>>(), [7, 8, 9]);
    assert_eq!(records[0].id(), "1-7");
}

#[tokio::test]
async fn a_read_that_follows_goes_on_at_another_broker_without_gap_or_duplicate() {
    let database = Database::new(2);
    database.append(0, numbers(0..1_000));
    let (mut first, second) = (Broker::start("a", &database), Broker::start("b", &database));
    let notices = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&notices);
    let mut reader = client(&[&first, &second])
        .await
        .read("orders")
        .follow(true)
        .on_notice(move |notice| heard.lock().expect("notices").push(notice))
        .start()
        .await
        .expect("a reader");
    let mut read = Vec::new();
    while read.len() < 1_020 {
        let record = reader.try_next().await.expect("no error").expect("no end");
        read.push(text(&record));
        if read.len() == 500 {
            first.kill();
            database.append(1, numbers(1_000..1_020));
        }
    }
    read.sort_by_key(|payload| payload.parse::<u32>().expect("number"));
    assert_eq!(read, numbers(0..1_020));
    let notices = notices.lock().expect("notices");
    assert!(notices.iter().any(|notice| matches!(notice, ReadNotice::Reconnected { .. })), "{notices:?}");
}

#[tokio::test]
async fn a_read_of_the_latest_misses_nothing_when_it_is_resumed_before_anything_came() {
    let database = Database::new(2);
    database.append(0, numbers(0..10));
    let (mut first, second) = (Broker::start("a", &database), Broker::start("b", &database));
    let client = client(&[&first, &second]).await;
    let mut reader = client.read("orders").from(Position::Latest).follow(true).start().await.expect("a reader");
    first.kill();
    database.append(0, numbers(10..12));
    let mut read = Vec::new();
    while read.len() < 2 {
        read.push(text(&reader.try_next().await.expect("no error").expect("no end")));
    }
    assert_eq!(read, numbers(10..12));
}
