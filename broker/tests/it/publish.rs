//! Publishing and reading back, over gRPC.

use crate::support::{Clients, Ground, appended, event, reason, refused, sequenced, text};
use eventflow_broker::jobs::Job;
use eventflow_proto::v1::{self, publish_stream_response::Answer};
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use uuid::Uuid;

async fn spine() -> (Ground, eventflow_broker::runtime::app::App, Clients) {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 4).await;
    (ground, app, clients)
}

async fn read_all(clients: &mut Clients, stream: &str, partition: u32) -> Vec<(i64, String)> {
    let request = v1::ReadRequest { stream: stream.into(), partition: Some(partition), ..Default::default() };
    let mut frames = clients.log.read(request).await.expect("a read").into_inner();
    let mut seen = Vec::new();
    while let Some(frame) = frames.next().await {
        if let Some(v1::read_response::Frame::Batch(batch)) = frame.expect("a frame").frame {
            let batch = batch.head;
            seen.extend((batch.base_offset..).zip(batch.events.iter().map(text)));
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_read_back_in_order() {
    let (_ground, app, mut clients) = spine().await;
    assert_eq!(clients.publish("orders", 2, &["a", "b"]).await, 0);
    assert_eq!(clients.publish("orders", 2, &["c"]).await, 2);
    let seen = read_all(&mut clients, "orders", 2).await;
    assert_eq!(seen, [(0, "a".into()), (1, "b".into()), (2, "c".into())]);
    assert!(read_all(&mut clients, "orders", 1).await.is_empty());
    let outcome = app.stop().await;
    assert!(outcome.cut_short.is_empty(), "{outcome}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_choose_partitions_and_the_answer_says_which_events_went_where() {
    let (_ground, _app, mut clients) = spine().await;
    let mut events = vec![event("x"), event("y"), event("z")];
    events[0].key = Some("us".into());
    events[1].key = Some("a".into());
    events[2].key = Some("us".into());
    let request = v1::PublishRequest { stream: "orders".into(), events, ..Default::default() };
    let results = clients.publisher.publish(request).await.expect("published").into_inner().results;
    let routed: Vec<(u32, Vec<u32>)> =
        results.iter().map(|result| (result.partition, result.event_indexes.clone())).collect();
    let us = eventflow_proto::partition_of_key(b"us", 4);
    let a = eventflow_proto::partition_of_key(b"a", 4);
    let mut expected = vec![(us, vec![0, 2]), (a, vec![1])];
    expected.sort();
    assert_eq!(routed, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_of_a_producers_sequence_gets_the_first_offsets() {
    let (_ground, _app, mut clients) = spine().await;
    let producer = Uuid::new_v4();
    let mut publish = async |epoch, sequence, texts: &[&str]| {
        let request = sequenced("orders", producer, epoch, sequence, texts);
        clients.publisher.publish(request).await.expect("answered").into_inner().results.remove(0)
    };
    assert_eq!(appended(&publish(0, 0, &["a", "b"]).await).base_offset, 0);
    assert_eq!(appended(&publish(0, 2, &["c"]).await).base_offset, 2);
    let repeat = appended(&publish(0, 0, &["a", "b"]).await);
    assert_eq!((repeat.base_offset, repeat.event_count, repeat.duplicate), (0, 2, true));

    let (reason, facts) = refused(&publish(0, 9, &["gap"]).await);
    assert_eq!((reason.as_str(), facts["expected_sequence"].as_str()), ("OUT_OF_SEQUENCE", "3"));
    assert_eq!(facts["applied"], "no");
    assert_eq!(appended(&publish(1, 0, &["d"]).await).base_offset, 3);
    assert_eq!(refused(&publish(0, 3, &["late"]).await).0, "PRODUCER_FENCED");
    let stranger = sequenced("orders", Uuid::new_v4(), 0, 7, &["x"]);
    let result = clients.publisher.publish(stranger).await.expect("answered").into_inner().results.remove(0);
    assert_eq!(refused(&result).0, "PRODUCER_UNKNOWN");
    assert_eq!(read_all(&mut clients, "orders", 0).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_stream_keeps_order_after_a_refusal() {
    let (_ground, _app, mut clients) = spine().await;
    let producer = Uuid::new_v4();
    let bad = {
        let mut request = sequenced("orders", producer, 0, 1, &["b"]);
        request.events[0].key = Some("\0".into());
        request
    };
    let requests = vec![
        sequenced("orders", producer, 0, 0, &["a"]),
        bad,
        sequenced("orders", producer, 0, 2, &["c"]),
        sequenced("orders", producer, 0, 3, &["d"]),
        sequenced("orders", producer, 0, 1, &["c"]),
        sequenced("orders", producer, 0, 2, &["d"]),
    ];
    let frames = requests.into_iter().map(|publish| v1::PublishStreamRequest { publish: Some(publish) });
    let answers = clients.publisher.publish_stream(tokio_stream::iter(frames)).await.expect("a stream").into_inner();
    let answers: Vec<String> = answers
        .map(|answer| match answer.expect("an answer").answer.expect("set") {
            Answer::Error(error) => error.reason,
            Answer::Published(published) => match &published.results[0].outcome {
                Some(v1::partition_result::Outcome::Appended(appended)) => appended.base_offset.to_string(),
                Some(v1::partition_result::Outcome::Error(error)) => error.reason.clone(),
                other => panic!("{other:?}"),
            },
        })
        .collect()
        .await;
    assert_eq!(answers, ["0", "INVALID_ARGUMENT", "PRECEDING_FAILED", "PRECEDING_FAILED", "1", "2"]);
    let texts: Vec<String> = read_all(&mut clients, "orders", 0).await.into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["a", "c", "d"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_events_goes_on_where_it_ended_and_single_events_are_found() {
    let (_ground, _app, mut clients) = spine().await;
    clients.publish("orders", 0, &["a", "b", "c", "d", "e"]).await;
    let mut token = String::new();
    let mut seen = Vec::new();
    loop {
        let request =
            v1::ListEventsRequest { stream: "orders".into(), page_size: 2, page_token: token, ..Default::default() };
        let page = clients.log.list_events(request).await.expect("a page").into_inner();
        seen.extend(page.events.iter().map(|stored| text(stored.event.as_ref().expect("an event"))));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"]);
    let get = |offset| v1::GetEventRequest { stream: "orders".into(), offset: Some(offset), ..Default::default() };
    let found = clients.log.get_event(get(3)).await.expect("found").into_inner().event.expect("an event");
    assert_eq!(found.event.and_then(|event| event.id).as_deref(), Some("0-3"));
    assert_eq!(reason(&clients.log.get_event(get(5)).await.expect_err("the head")), "OFFSET_ABOVE_HEAD");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_organization_sees_nothing() {
    let (ground, app, mut clients) = spine().await;
    clients.publish("orders", 0, &["secret"]).await;
    let key = ground.key("globex").await;
    let mut other = Clients::new(&app, &key).await;
    let read = v1::ReadRequest { stream: "orders".into(), ..Default::default() };
    let status = other.log.read(read).await.expect_err("not found");
    assert_eq!((status.code(), reason(&status).as_str()), (tonic::Code::NotFound, "STREAM_NOT_FOUND"));
    other.create_stream("orders", 1).await;
    assert!(read_all(&mut other, "orders", 0).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_stream_goes_with_its_last_row() {
    let (ground, app, mut clients) = spine().await;
    clients.publish("orders", 0, &["a"]).await;
    clients.publish("orders", 3, &["b"]).await;
    let delete = v1::DeleteStreamRequest { name: "orders".into(), ..Default::default() };
    clients.streams.delete_stream(delete).await.expect("deleted");
    let client = ground.database.connect().await;
    let left = async || {
        let sql = "select (select count(*) from eventflow.stream), (select count(*) from eventflow.partition_head),
                          (select count(*) from eventflow.event_batch), (select count(*) from eventflow.producer_run)";
        let row = client.query_one(sql, &[]).await.expect("counts");
        (0..4).map(|column| row.get(column)).collect::<Vec<i64>>()
    };
    Job::Prune.tick(app.store()).await.expect("pruned");
    assert_eq!(left().await, [1, 4, 2, 2], "as long as there are rows");
    // Rows go first, then what was theirs.
    Job::Retention.tick(app.store()).await.expect("reclaimed");
    Job::Retention.tick(app.store()).await.expect("reclaimed");
    Job::Prune.tick(app.store()).await.expect("pruned");
    assert_eq!(left().await, [0, 0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_is_locked_elsewhere_does_not_hold_up_the_others_of_its_call() {
    let ground = Ground::new().await;
    let app = ground.broker(&[("database.lanes", "1")]).await;
    let mut clients = Clients::new(&app, &ground.key("acme").await).await;
    clients.create_stream("orders", 3).await;
    let key_of = |partition| {
        let keys = (0..).map(|n: u32| n.to_string());
        keys.into_iter().find(|key| eventflow_proto::partition_of_key(key.as_bytes(), 3) == partition).expect("a key")
    };
    let events = (0..3).map(|partition| v1::Event { key: Some(key_of(partition)), ..event("x") }).collect();
    let request = v1::PublishRequest { stream: "orders".into(), events, ..Default::default() };
    // Whichever of them is locked: the first of the call, one in the middle, the last.
    for locked in 0..3 {
        let mut lock = ground.database.connect().await;
        let lock = lock.transaction().await.expect("a transaction");
        let sql = format!(
            "select 1 from eventflow.partition_head join eventflow.stream_partition using (partition_id)
             where partition_index = {locked} for update of partition_head"
        );
        lock.batch_execute(&sql).await.expect("locked");
        let (mut publisher, request) = (clients.publisher.clone(), request.clone());
        let mut call = JoinSet::new();
        call.spawn(async move { publisher.publish(request).await });
        ground.until_an_append_waits().await;
        let mut kept = Vec::new();
        for partition in 0..3 {
            kept.push(read_all(&mut clients, "orders", partition).await.len());
        }
        let mut expected = vec![locked + 1; 3];
        expected[locked] = locked;
        assert_eq!(kept, expected, "the others are in the log while it waits");
        lock.rollback().await.expect("unlocked");
        let results = call.join_next().await.expect("one").expect("no panic").expect("answered").into_inner().results;
        let offsets: Vec<i64> = results.iter().map(|result| appended(result).base_offset).collect();
        assert_eq!(offsets, [locked as i64; 3], "each once");
    }
}
