//! The ring of segments: what goes soon is written there, and truncated when nobody can read it any more.

use crate::faults::log_of;
use crate::support::{Clients, Ground, broker_at, text};
use eventflow_broker::jobs::Job;
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1::{self, purge_stream_request::Before};
use eventflow_testkit::within;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio_postgres::Client;
use tokio_stream::StreamExt;

/// A broker and a stream of one partition that keeps at most so many bytes.
async fn spine(max_bytes: u64) -> (Ground, App, Clients, Client) {
    let ground = Ground::new().await;
    let app = broker_at(&ground.database.url(), &[]).await;
    let mut clients = Clients::new(&app, &ground.key("acme").await).await;
    create(&mut clients, "orders", max_bytes).await;
    let sql = ground.database.connect().await;
    (ground, app, clients, sql)
}

async fn create(clients: &mut Clients, name: &str, max_bytes: u64) {
    let retention = Some(v1::Retention { max_bytes_per_partition: max_bytes, ..Default::default() });
    let stream = v1::Stream { name: name.into(), partitions: 1, retention, ..Default::default() };
    let request = v1::CreateStreamRequest { stream: Some(stream), ..Default::default() };
    clients.streams.create_stream(request).await.expect("a stream");
}

async fn purge(clients: &mut Clients, name: &str) {
    let request =
        v1::PurgeStreamRequest { name: name.into(), before: Some(Before::Everything(true)), ..Default::default() };
    clients.streams.purge_stream(request).await.expect("purged");
}

/// One step, with segments that are full as soon as anything is in them.
async fn step(sql: &Client) -> String {
    sql.query_one("select eventflow.turn_ring_v1(1, 200)", &[]).await.expect("a step").get(0)
}

/// Steps until there is nothing to do; the broker's own job may have taken some of them.
async fn settle(sql: &Client) {
    let look = async {
        // poll
        while step(sql).await != "idle" {}
    };
    within("the ring comes to rest", look).await;
}

/// The segments that hold rows, and those that have bytes, of the rows' own table.
async fn segments(sql: &Client) -> (Vec<i16>, Vec<i32>) {
    let rows =
        sql.query("select distinct segment_id from eventflow.event_batch order by 1", &[]).await.expect("segments");
    let sizes = "select i from generate_series(0, 4) i
                 where pg_relation_size(format('eventflow.event_batch_%s', i)::regclass) > 0 order by 1";
    let sizes = sql.query(sizes, &[]).await.expect("sizes");
    (rows.iter().map(|row| row.get(0)).collect(), sizes.iter().map(|row| row.get(0)).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_is_truncated_when_nothing_in_it_can_be_read_and_offsets_go_on() {
    let (ground, app, mut clients, sql) = spine(1 << 20).await;
    clients.create_stream("kept", 1).await;
    clients.publish("kept", 0, &["k"]).await;
    assert_eq!(clients.publish("orders", 0, &["a", "b"]).await, 0);
    assert_eq!(segments(&sql).await, (vec![0, 1], vec![0, 1]));
    settle(&sql).await;
    assert_eq!(clients.publish("orders", 0, &["c"]).await, 2);
    assert_eq!(segments(&sql).await.0, [0, 1, 2], "the ring has turned");
    assert_eq!(log_of(&ground.database, "orders").await.len(), 3);

    purge(&mut clients, "orders").await;
    settle(&sql).await;
    assert_eq!(segments(&sql).await, (vec![0], vec![0]), "given back to the file system");
    // The newest row is gone: the head was saved before.
    assert_eq!(clients.publish("orders", 0, &["d"]).await, 3);
    assert_eq!(log_of(&ground.database, "orders").await, [(3, "d".into())]);
    let request = v1::GetStreamStatisticsRequest { name: "orders".into() };
    let statistics = clients.streams.get_stream_statistics(request).await.expect("statistics").into_inner();
    assert_eq!((statistics.events, statistics.partitions[0].floor, statistics.partitions[0].head), (1, 3, 4));
    assert_eq!(log_of(&ground.database, "kept").await, [(0, "k".into())]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_still_be_read_moves_out_of_a_segment_that_is_needed() {
    let (ground, app, mut clients, sql) = spine(1 << 20).await;
    create(&mut clients, "idle", 1 << 20).await;
    clients.publish("idle", 0, &["x", "y"]).await;
    clients.publish("idle", 0, &["z"]).await;
    // Four segments are not enough: the fifth turn needs the one where `idle` lies.
    for n in 0..6 {
        assert_eq!(clients.publish("orders", 0, &["o"]).await, n);
        purge(&mut clients, "orders").await;
        settle(&sql).await;
    }
    assert_eq!(segments(&sql).await, (vec![0], vec![0]));
    let kept = [(0, "x".into()), (1, "y".into()), (2, "z".into())];
    assert_eq!(log_of(&ground.database, "idle").await, kept);
    assert_eq!(clients.publish("idle", 0, &["w"]).await, 3);
    // From the log, not from memory.
    let other = ground.broker(&[]).await;
    let mut reader = Clients::new(&other, &ground.key("acme").await).await;
    assert_eq!(read(&mut reader, "idle").await, ["x", "y", "z", "w"]);
    other.stop().await;
    app.stop().await;
}

async fn read(clients: &mut Clients, stream: &str) -> Vec<String> {
    let request = v1::ReadRequest { stream: stream.into(), partition: Some(0), ..Default::default() };
    let mut frames = clients.log.read(request).await.expect("a read").into_inner();
    let mut seen = Vec::new();
    while let Some(frame) = frames.next().await {
        if let Some(v1::read_response::Frame::Batch(batch)) = frame.expect("a frame").frame {
            seen.extend(batch.head.events.iter().map(text));
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_from_before_still_sees_every_event_that_it_could_read() {
    let (ground, app, mut clients, sql) = spine(1 << 20).await;
    clients.publish("orders", 0, &["a", "b"]).await;
    settle(&sql).await;
    let mut old = ground.database.connect().await;
    let old = old.build_transaction().isolation_level(tokio_postgres::IsolationLevel::RepeatableRead).start().await;
    let old = old.expect("a transaction");
    // A snapshot, and no lock on the log.
    old.batch_execute("select 1").await.expect("a snapshot");
    purge(&mut clients, "orders").await;
    // The job comes to it, too, and must wait as well.
    let look = async {
        // poll
        while step(&sql).await != "waiting" {}
    };
    within("the truncation waits", look).await;
    assert_eq!(segments(&sql).await.1, [1]);
    let seen =
        old.query("select event_offset from eventflow.event where stream = 'orders'", &[]).await.expect("a view");
    assert_eq!(seen.len(), 2, "the floor of its snapshot counts, and the events are there");
    // With the lock on the segment an append goes on all the same.
    clients.publish("orders", 0, &["c"]).await;
    old.commit().await.expect("ended");
    purge(&mut clients, "orders").await;
    settle(&sql).await;
    assert_eq!(segments(&sql).await, (vec![], vec![]));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_comes_late_into_a_condemned_segment_is_kept() {
    let (ground, app, mut clients, sql) = spine(1 << 20).await;
    clients.publish("orders", 0, &["a"]).await;
    settle(&sql).await;
    // Holds the truncation, so that the late row is there before it.
    let mut reader = ground.database.connect().await;
    let lock = reader.transaction().await.expect("a transaction");
    lock.batch_execute("lock table eventflow.event_batch_1 in access share mode").await.expect("locked");
    purge(&mut clients, "orders").await;
    let look = async {
        // poll
        while step(&sql).await != "waiting" {}
    };
    within("the truncation waits", look).await;
    // What an append does that had read the ring's segment before the ring turned.
    sql.batch_execute("update eventflow.log_state set ring_segment = 1").await.expect("turned back");
    assert_eq!(clients.publish("orders", 0, &["late"]).await, 1);
    sql.batch_execute("update eventflow.log_state set ring_segment = 2").await.expect("turned again");
    lock.commit().await.expect("ended");
    settle(&sql).await;
    assert_eq!(log_of(&ground.database, "orders").await, [(1, "late".into())]);
    assert_eq!(clients.publish("orders", 0, &["next"]).await, 2);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_stream_and_a_changed_retention_go_where_they_belong() {
    let (ground, app, mut clients, sql) = spine(1 << 20).await;
    create(&mut clients, "kept", 0).await;
    clients.publish("orders", 0, &["o"]).await;
    clients.publish("kept", 0, &["k"]).await;
    assert_eq!(segments(&sql).await.0, [0, 1]);
    let retention = Some(v1::Retention { max_bytes_per_partition: 1 << 20, ..Default::default() });
    let update = v1::UpdateStreamRequest {
        stream: Some(v1::Stream { name: "kept".into(), retention, ..Default::default() }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["retention.max_bytes_per_partition".into()] }),
        ..Default::default()
    };
    clients.streams.update_stream(update).await.expect("updated");
    Job::Retention.tick(app.store()).await.expect("sorted");
    clients.publish("kept", 0, &["l"]).await;
    let at = "select segment_id from eventflow.event_batch b join eventflow.stream_partition using (partition_id)
              join eventflow.stream using (stream_id) where name = 'kept' order by base_offset";
    let at: Vec<i16> = sql.query(at, &[]).await.expect("rows").iter().map(|row| row.get(0)).collect();
    assert_eq!(at, [0, 1]);
    assert_eq!(log_of(&ground.database, "kept").await, [(0, "k".into()), (1, "l".into())]);

    for name in ["orders", "kept"] {
        let delete = v1::DeleteStreamRequest { name: name.into(), ..Default::default() };
        clients.streams.delete_stream(delete).await.expect("deleted");
    }
    for _ in 0..3 {
        Job::Retention.tick(app.store()).await.expect("reclaimed");
    }
    settle(&sql).await;
    assert_eq!(segments(&sql).await.0, Vec::<i16>::new());
    app.stop().await;
}

/// Reads the stream from its floor, again and again; answers how often. A hole would be DATA_LOSS, and fails here.
async fn read_on(mut reader: Clients, done: Arc<AtomicBool>) -> usize {
    let mut reads = 0;
    while !done.load(Ordering::Relaxed) {
        let found =
            reader.log.read(v1::ReadRequest { stream: "orders".into(), partition: Some(0), ..Default::default() });
        let mut frames = found.await.expect("a read").into_inner();
        let mut next = None;
        while let Some(frame) = frames.next().await {
            let frame = match frame {
                Ok(frame) => frame,
                // Retention overtook it.
                Err(status) if crate::support::reason(&status) == "OFFSET_BELOW_FLOOR" => break,
                Err(status) => panic!("{status:?}"),
            };
            if let Some(v1::read_response::Frame::Batch(batch)) = frame.frame {
                assert_eq!(batch.head.base_offset, next.unwrap_or(batch.head.base_offset), "no hole");
                next = Some(batch.head.next_offset);
            }
        }
        reads += 1;
    }
    reads
}

/// Floors rise and the ring turns as fast as it can, while two brokers append to one partition and a third reads it.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::disallowed_methods, reason = "the test's own load, which it waits for")]
async fn offsets_stay_unique_and_reads_whole_while_the_ring_turns_under_load() {
    const EVENTS: usize = 600;
    let (ground, app, clients, sql) = spine(4_000).await;
    let (two, three) = (ground.broker(&[]).await, ground.broker(&[]).await);
    let key = ground.key("acme").await;
    let done = Arc::new(AtomicBool::new(false));
    let turning = tokio::spawn({
        let (done, store) = (done.clone(), app.store().clone());
        async move {
            let mut truncated = 0;
            while !done.load(Ordering::Relaxed) {
                Job::Retention.tick(&store).await.expect("floors");
                truncated += usize::from(step(&sql).await == "emptied");
            }
            (truncated, sql)
        }
    });
    let mut producers = Vec::new();
    for (broker, clients) in [(&app, clients), (&two, Clients::new(&two, &key).await)] {
        assert!(broker.readiness().is_ready());
        let mut clients = clients;
        producers.push(tokio::spawn(async move {
            let mut offsets = Vec::new();
            for n in 0..EVENTS {
                offsets.push(clients.publish("orders", 0, &[&format!("{n} {}", "x".repeat(200))]).await);
            }
            offsets
        }));
    }
    let reading = tokio::spawn(read_on(Clients::new(&three, &key).await, done.clone()));
    let mut offsets = BTreeSet::new();
    for producer in producers {
        for offset in producer.await.expect("published") {
            assert!(offsets.insert(offset), "offset {offset} was given twice");
        }
    }
    done.store(true, Ordering::Relaxed);
    let (truncated, sql) = turning.await.expect("turned");
    assert!(reading.await.expect("read") > 0);
    assert!(truncated > 0, "the ring turned, and segments went");
    assert_eq!(offsets.last().copied(), Some(2 * EVENTS as i64 - 1), "without a hole");
    let rows: i64 = sql.query_one("select count(*) from eventflow.event_batch", &[]).await.expect("a count").get(0);
    assert!(rows < 2 * EVENTS as i64);
    for broker in [app, two, three] {
        broker.stop().await;
    }
}
