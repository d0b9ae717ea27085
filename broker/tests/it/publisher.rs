//! Who published an event, and within which trace.

use crate::support::member::Member;
use crate::support::{Clients, Ground, event, text};
use eventflow_broker::runtime::app::App;
use eventflow_proto::EventBatch;
use eventflow_proto::v1;
use tokio_stream::StreamExt;
use tonic::Request;

async fn spine() -> (Ground, App, [Clients; 2], [String; 2]) {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let keys = [ground.key("acme").await, ground.key("acme").await];
    let mut clients = [Clients::new(&app, &keys[0]).await, Clients::new(&app, &keys[1]).await];
    clients[0].create_stream("orders", 1).await;
    // `ef_test_<id>_<secret>`: the id is public.
    let names = keys.map(|key| format!("key:{}", key.split('_').nth(2).expect("an id")));
    (ground, app, clients, names)
}

/// Publishers by offset.
fn expanded(batches: &[EventBatch]) -> Vec<String> {
    let runs = batches.iter().flat_map(|batch| &batch.publishers);
    runs.flat_map(|run| std::iter::repeat_n(run.publisher.clone(), run.event_count as usize)).collect()
}

async fn read(clients: &Clients) -> Vec<EventBatch> {
    let read = v1::ReadRequest { stream: "orders".into(), ..Default::default() };
    let frames = clients.log.clone().read(read).await.expect("a read").into_inner();
    let batches = frames.filter_map(|frame| match frame.expect("a frame").frame {
        Some(v1::read_response::Frame::Batch(batch)) => Some(batch.head),
        _ => None,
    });
    batches.collect().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_says_whose_credential_published_it_from_memory_from_the_log_and_in_sql() {
    let (ground, app, [mut first, second], [one, two]) = spine().await;
    first.create_group("billing", "orders").await;
    let mut member = Member::join(&first, "billing", "one").await.expect("joined");
    member.until_held(1).await;
    // Held up, so that requests of both keys share a row.
    let mut lock = ground.database.connect().await;
    let lock = lock.transaction().await.expect("a transaction");
    lock.batch_execute("select 1 from eventflow.partition_head for update").await.expect("locked");
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..12 {
        let mut clients = if n % 3 == 0 { second.clone() } else { first.clone() };
        let name = if n % 3 == 0 { two.clone() } else { one.clone() };
        calls.spawn(async move { clients.publish("orders", 0, &[&name, &name]).await });
    }
    ground.until_an_append_waits().await;
    lock.rollback().await.expect("unlocked");
    calls.join_all().await;

    let mut delivered = Vec::new();
    while delivered.iter().map(|batch: &EventBatch| batch.events.len()).sum::<usize>() < 24 {
        delivered.push(member.batch().await);
    }
    // Each event's text is the name of its publisher.
    let texts: Vec<String> = delivered.iter().flat_map(|batch| batch.events.iter().map(text)).collect();
    assert_eq!(expanded(&delivered), texts);
    let kept = read(&first).await;
    assert_eq!(expanded(&kept), texts);
    let events =
        |batches: &[EventBatch]| -> Vec<v1::Event> { batches.iter().flat_map(|batch| batch.events.clone()).collect() };
    assert_eq!(events(&delivered), events(&kept));
    // Another broker has nothing in memory.
    let other = ground.broker(&[]).await;
    let there = Clients::new(&other, &ground.key("acme").await).await;
    assert_eq!(expanded(&read(&there).await), texts);
    let list = v1::ListEventsRequest { stream: "orders".into(), ..Default::default() };
    let page = there.log.clone().list_events(list).await.expect("a page").into_inner().events;
    let listed: Vec<String> = page.into_iter().map(|stored| stored.publisher).collect();
    assert_eq!(listed, texts);

    let sql = "select publisher, convert_from(payload, 'UTF8') from eventflow.event order by event_offset";
    let rows = ground.database.connect().await.query(sql, &[]).await.expect("the view");
    assert_eq!(rows.len(), 24);
    for row in rows {
        assert_eq!(row.get::<_, String>(0), row.get::<_, String>(1));
    }
    let mixed = "select count(*) from eventflow.event_batch where cardinality(publishers) > 1";
    let mixed: i64 = ground.database.connect().await.query_one(mixed, &[]).await.expect("a count").get(0);
    assert!(mixed > 0, "some row holds events of both");
    drop(app);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_trace_of_a_publish_call_is_kept_with_its_events() {
    let (_ground, _app, [mut clients, _], _) = spine().await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let own = v1::Header { name: "traceparent".into(), value: "00-own".into() };
    let events = vec![event("a"), v1::Event { headers: vec![own], ..event("b") }];
    let mut call = Request::new(v1::PublishRequest { stream: "orders".into(), events, ..Default::default() });
    call.metadata_mut().insert("traceparent", parent.parse().expect("a value"));
    call.metadata_mut().insert("tracestate", "vendor=1".parse().expect("a value"));
    clients.publisher.publish(call).await.expect("published");
    let batches = read(&clients).await;
    let headers = |event: &v1::Event| -> Vec<(String, String)> {
        event.headers.iter().map(|header| (header.name.clone(), header.value.clone())).collect()
    };
    let events: Vec<&v1::Event> = batches.iter().flat_map(|batch| &batch.events).collect();
    assert_eq!(headers(events[0]), [("traceparent".into(), parent.into()), ("tracestate".into(), "vendor=1".into())]);
    assert_eq!(headers(events[1]), [("traceparent".into(), "00-own".into())]);
}
