use super::fixture::{Administration, by, fields, reason};
use eventflow_broker::domain::ids::StreamName;
use eventflow_broker::identity::{Publish, authorize};
use eventflow_proto::v1::{
    CreateStreamRequest, DeleteStreamRequest, Position, PurgeStreamRequest, SeekRequest, Stream,
    consumer_group_service_server::ConsumerGroupService, position::At, purge_stream_request::Before,
    stream_service_server::StreamService,
};
use futures_util::future::join_all;
use std::time::Duration;
use uuid::Uuid;

fn create(name: &str, request_id: &str) -> CreateStreamRequest {
    let stream = Stream { name: name.to_owned(), ..Default::default() };
    CreateStreamRequest { stream: Some(stream), request_id: request_id.to_owned() }
}

#[tokio::test]
async fn the_same_request_again_answers_the_same_and_happens_once() {
    let admin = Administration::new().await;
    let id = Uuid::new_v4().to_string();
    let first = admin.streams.create_stream(admin.ask(create("orders", &id))).await;
    let again = admin.streams.create_stream(admin.ask(create("orders", &id))).await;
    assert_eq!(first.expect("created").into_inner(), again.expect("repeated").into_inner());

    admin.append("orders", 0, 10, 1_000.0).await;
    let purge = PurgeStreamRequest {
        name: "orders".to_owned(),
        before: Some(Before::Everything(true)),
        request_id: Uuid::new_v4().to_string(),
        ..Default::default()
    };
    for _ in 0..2 {
        let answer = admin.streams.purge_stream(admin.ask(purge.clone())).await;
        assert_eq!(answer.expect("purged").into_inner().purged_events, 10);
    }
}

#[tokio::test]
async fn an_id_stands_for_one_request_of_one_organization() {
    let admin = Administration::new().await;
    let id = Uuid::new_v4().to_string();
    admin.streams.create_stream(admin.ask(create("orders", &id))).await.expect("created");
    let other = admin.streams.create_stream(admin.ask(create("refunds", &id))).await;
    assert_eq!(reason(other), "REQUEST_ID_REUSED");
    let delete = DeleteStreamRequest { name: "orders".into(), request_id: id.clone(), ..Default::default() };
    let other = admin.streams.delete_stream(admin.ask(delete)).await;
    assert_eq!(reason(other), "REQUEST_ID_REUSED");
    let foreign = admin.streams.create_stream(by(&admin.other, create("refunds", &id))).await;
    foreign.expect("another organization's id is another id");
    let malformed = admin.streams.create_stream(admin.ask(create("a", "not-a-uuid"))).await;
    assert_eq!(fields(malformed), ["request_id"]);
}

#[tokio::test]
async fn a_failed_request_leaves_its_id_free() {
    let admin = Administration::new().await;
    let id = Uuid::new_v4().to_string();
    let seek = SeekRequest {
        name: "billing".to_owned(),
        to: Some(Position { at: Some(At::Latest(true)) }),
        request_id: id.clone(),
        ..Default::default()
    };
    let absent = admin.groups.seek(admin.ask(seek.clone())).await;
    assert_eq!(reason(absent), "CONSUMER_GROUP_NOT_FOUND");
    admin.create_stream("orders", 1).await;
    admin.create_group("billing", "orders", At::Earliest(true)).await;
    let preview = SeekRequest { validate_only: true, ..seek.clone() };
    admin.groups.seek(admin.ask(preview)).await.expect("a preview is not remembered");
    admin.groups.seek(admin.ask(seek)).await.expect("moved");
}

#[tokio::test]
async fn duplicates_at_the_same_time_get_one_answer() {
    let admin = Administration::new().await;
    for round in 0..10 {
        let request = create(&format!("orders-{round}"), &Uuid::new_v4().to_string());
        let calls = (0..6).map(|_| admin.streams.create_stream(admin.ask(request.clone())));
        let answers: Vec<_> =
            join_all(calls).await.into_iter().map(|answer| answer.expect("one").into_inner()).collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]));
    }
}

#[tokio::test]
async fn racing_first_publishers_make_one_stream() {
    let admin = Administration::new().await;
    let granted = authorize(&admin.acme, Publish).expect("allowed");
    for round in 0..10 {
        let name = StreamName::parse("name", &format!("hello-{round}")).expect("a name");
        let calls = (0..6).map(|_| admin.catalogue.create_missing(&granted, &name));
        let streams: Vec<_> = join_all(calls).await.into_iter().map(|stream| stream.expect("made")).collect();
        assert!(streams.iter().all(|stream| stream.uid == streams[0].uid && stream.partitions.len() == 8));
    }
}

#[tokio::test]
async fn a_dropped_call_leaves_no_transaction_open() {
    let admin = Administration::new().await;
    admin.create_stream("orders", 1).await;
    let locked = "begin; select 1 from eventflow.stream for update";
    admin.superuser.batch_execute(locked).await.expect("locked");
    let delete = DeleteStreamRequest { name: "orders".into(), ..Default::default() };
    for _ in 0..20 {
        let call = admin.streams.delete_stream(admin.ask(delete.clone()));
        let dropped = tokio::time::timeout(Duration::from_millis(20), call).await;
        assert!(dropped.is_err(), "it waits for the lock");
    }
    admin.superuser.batch_execute("rollback").await.expect("unlocked");
    // More calls were dropped than the pool has connections, and the stream is neither locked nor deleted.
    admin.streams.delete_stream(admin.ask(delete)).await.expect("deleted");
}
