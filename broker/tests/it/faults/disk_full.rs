//! Postgres without room: what is refused is refused for good, what was acknowledged stays, and with room it goes on.
//!
//! The small disk is a mounted file system; where this process may not mount one, the tests say so and end.

use super::log_of;
use crate::support::{Clients, Ground, appended, broker_at, event, refused, sequenced, text};
use eventflow_proto::v1::{self, partition_result::Outcome};
use eventflow_testkit::{Database, OwnCluster, Settings, SmallDisk};
use rand::distr::{Alphanumeric, SampleString};
use std::io::Write;
use tokio_stream::StreamExt;
use uuid::Uuid;

/// Bytes of an event: large, so that the disk is full after a few, and random, so that Postgres cannot make it small.
const EVENT_BYTES: usize = 400_000;

/// A small disk, or a line on the test's output, past its capture: a test that was not made must not look like one that was.
fn small_disk(test: &str, megabytes: u32) -> Option<SmallDisk> {
    let disk = SmallDisk::mount(megabytes);
    if disk.is_none() {
        let _ = writeln!(std::io::stderr(), "{test} ... skipped: cannot mount a small file system here");
    }
    disk
}

fn large_text() -> String {
    Alphanumeric.sample_string(&mut rand::rng(), EVENT_BYTES)
}

async fn publish(clients: &mut Clients, text: &str) -> v1::PartitionResult {
    let request = v1::PublishRequest {
        stream: "orders".into(),
        events: vec![event(text)],
        partition: Some(0),
        ..Default::default()
    };
    clients.publisher.publish(request).await.expect("answered").into_inner().results.remove(0)
}

/// The log, through the broker.
async fn read(clients: &mut Clients) -> Vec<(i64, String)> {
    let request = v1::ReadRequest { stream: "orders".into(), partition: Some(0), ..Default::default() };
    let mut frames = clients.log.read(request).await.expect("a read").into_inner();
    let mut seen = Vec::new();
    while let Some(frame) = frames.next().await {
        if let Some(v1::read_response::Frame::Batch(batch)) = frame.expect("a frame").frame {
            seen.extend((batch.head.base_offset..).zip(batch.head.events.iter().map(text)));
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_the_log_publishes_are_refused_and_nothing_acknowledged_is_lost() {
    let Some(disk) = small_disk("without_room_for_the_log", 48) else { return };
    let cluster = OwnCluster::new().await;
    cluster.tablespace_on("small", &disk).await;
    let database: Database = cluster.database().await;
    let sql = format!("alter database {} set tablespace small", database.name());
    cluster.connect().await.batch_execute(&sql).await.expect("moved");
    let ground = Ground { database };
    let app = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 1).await;

    let mut kept = Vec::new();
    let refusals = loop {
        let text = large_text();
        let result = publish(&mut clients, &text).await;
        if !matches!(result.outcome, Some(Outcome::Appended(_))) {
            break [result, publish(&mut clients, &text).await];
        }
        kept.push((appended(&result).base_offset, text));
    };
    assert!(!kept.is_empty());
    for result in refusals {
        let Some(Outcome::Error(error)) = &result.outcome else { panic!("still no room: {result:?}") };
        assert_eq!(error.code, tonic::Code::ResourceExhausted as i32);
        assert!(error.retry_delay.is_some(), "{error:?}");
        let (reason, facts) = refused(&result);
        assert_eq!((reason.as_str(), facts["applied"].as_str()), ("DISK_FULL", "no"));
    }
    assert!(read(&mut clients).await == kept, "reads go on: what was acknowledged, and nothing that was refused");

    disk.grow(192);
    let text = large_text();
    kept.push((appended(&publish(&mut clients, &text).await).base_offset, text));
    assert!(log_of(&ground.database, "orders").await == kept, "it goes on where it was");
    assert!(kept.iter().map(|(offset, _)| *offset).eq(0..kept.len() as i64));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_for_its_own_log_postgres_ends_and_the_outcome_is_decided_when_it_is_back() {
    let Some(disk) = small_disk("without_room_for_its_own_log", 96) else { return };
    // It stays down until somebody has made room.
    let settings = Settings::durable().set("restart_after_crash", "off");
    let cluster = OwnCluster::with_log_on(&disk, settings).await;
    let ground = Ground { database: cluster.database().await };
    let app = broker_at(&ground.database.url(), &[("database.allow_unsafe_durability", "false")]).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 1).await;
    // Nothing of its log may go.
    let hold = "select pg_create_physical_replication_slot('hold', true)";
    cluster.connect().await.batch_execute(hold).await.expect("a slot");

    let producer = Uuid::new_v4();
    let mut kept: Vec<(i64, String)> = Vec::new();
    let mut room = Box::pin(async {
        cluster.wait_for_end().await;
        disk.grow(512);
        cluster.start().await;
    });
    let mut full = false;
    loop {
        let (sequence, text) = (kept.len() as i64, large_text());
        let request = || sequenced("orders", producer, 0, sequence, &[&text]);
        let mut publisher = clients.publisher.clone();
        let mut call = Box::pin(publisher.publish(request()));
        let answer = tokio::select! {
            answer = &mut call => answer,
            () = &mut room, if !full => {
                full = true;
                call.await
            }
        };
        let result = answer.expect("answered").into_inner().results.remove(0);
        match &result.outcome {
            Some(Outcome::Appended(appended)) => kept.push((appended.base_offset, text)),
            // Nobody knows, or it was never sent: never "no room", because no call came back with that.
            Some(Outcome::Error(error)) => {
                assert_eq!(error.code, tonic::Code::Unavailable as i32, "{error:?}");
                continue;
            }
            other => panic!("{other:?}"),
        }
        if full {
            break;
        }
    }
    drop(room);
    assert!(kept.iter().map(|(offset, _)| *offset).eq(0..kept.len() as i64));
    assert!(log_of(&ground.database, "orders").await == kept, "every acknowledged event once, in order");
    app.stop().await;
}
