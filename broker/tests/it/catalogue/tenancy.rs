use super::fixture::{Administration, by};
use eventflow_proto::v1::{
    AddPartitionsRequest, CreateStreamRequest, DeleteConsumerGroupRequest, DeleteStreamRequest,
    GetConsumerGroupRequest, GetLagRequest, GetStreamRequest, GetStreamStatisticsRequest, ListConsumerGroupsRequest,
    ListMembersRequest, ListStreamsRequest, PauseConsumerGroupRequest, Position, PurgeStreamRequest, SeekRequest,
    Stream, consumer_group_service_server::ConsumerGroupService, position::At, purge_stream_request::Before,
    stream_service_server::StreamService,
};
use tonic::{Code, Response, Status};

fn text<T: std::fmt::Debug>(answer: Result<Response<T>, Status>) -> String {
    let status = answer.expect_err("refused");
    assert_eq!(status.code(), Code::NotFound);
    status.message().to_owned()
}

#[tokio::test]
async fn a_foreign_stream_is_as_absent_as_one_that_never_was() {
    let admin = Administration::new().await;
    admin.create_stream("orders", 1).await;
    let absent = text(admin.streams.get_stream(by(&admin.other, GetStreamRequest { name: "orders".into() })).await);
    assert!(absent.contains("`orders`"));
    let name = "orders".to_owned();
    let statistics = GetStreamStatisticsRequest { name: name.clone() };
    assert_eq!(text(admin.streams.get_stream_statistics(by(&admin.other, statistics)).await), absent);
    let delete = DeleteStreamRequest { name: name.clone(), force: true, ..Default::default() };
    assert_eq!(text(admin.streams.delete_stream(by(&admin.other, delete)).await), absent);
    let add = AddPartitionsRequest { name: name.clone(), partitions: 9, allow_key_remap: true, ..Default::default() };
    assert_eq!(text(admin.streams.add_partitions(by(&admin.other, add)).await), absent);
    let purge = PurgeStreamRequest { name, before: Some(Before::Everything(true)), ..Default::default() };
    assert_eq!(text(admin.streams.purge_stream(by(&admin.other, purge)).await), absent);
    let list = admin.streams.list_streams(by(&admin.other, ListStreamsRequest::default())).await;
    assert!(list.expect("an empty page").into_inner().streams.is_empty());
}

#[tokio::test]
async fn a_foreign_group_is_as_absent_as_one_that_never_was() {
    let admin = Administration::new().await;
    admin.create_stream("orders", 1).await;
    admin.create_group("billing", "orders", At::Earliest(true)).await;
    let name = "billing".to_owned();
    let get = GetConsumerGroupRequest { name: name.clone() };
    let absent = text(admin.groups.get_consumer_group(by(&admin.other, get)).await);
    let lag = GetLagRequest { name: name.clone() };
    assert_eq!(text(admin.groups.get_lag(by(&admin.other, lag)).await), absent);
    let members = ListMembersRequest { name: name.clone() };
    assert_eq!(text(admin.groups.list_members(by(&admin.other, members)).await), absent);
    let delete = DeleteConsumerGroupRequest { name: name.clone(), force: true, ..Default::default() };
    assert_eq!(text(admin.groups.delete_consumer_group(by(&admin.other, delete)).await), absent);
    let pause = PauseConsumerGroupRequest { name: name.clone(), ..Default::default() };
    assert_eq!(text(admin.groups.pause_consumer_group(by(&admin.other, pause)).await), absent);
    let to = Some(Position { at: Some(At::Latest(true)) });
    let seek = SeekRequest { name, to, ..Default::default() };
    assert_eq!(text(admin.groups.seek(by(&admin.other, seek)).await), absent);
    let list = admin.groups.list_consumer_groups(by(&admin.other, ListConsumerGroupsRequest::default())).await;
    assert!(list.expect("an empty page").into_inner().groups.is_empty());
}

#[tokio::test]
async fn the_same_names_in_two_organizations_are_two_things() {
    let admin = Administration::new().await;
    let ours = admin.create_stream("orders", 1).await;
    admin.create_group("billing", "orders", At::Earliest(true)).await;
    let stream = Some(Stream { name: "orders".to_owned(), partitions: 3, ..Default::default() });
    let create = CreateStreamRequest { stream, ..Default::default() };
    let theirs = admin.streams.create_stream(by(&admin.other, create)).await.expect("created");
    assert_ne!(theirs.into_inner().stream.expect("a stream").uid, ours.uid);
    let delete = DeleteStreamRequest { name: "orders".to_owned(), ..Default::default() };
    admin.streams.delete_stream(by(&admin.other, delete)).await.expect("no group of theirs reads it");
    let get = admin.streams.get_stream(admin.ask(GetStreamRequest { name: "orders".into() })).await;
    assert_eq!(get.expect("ours stays").into_inner().stream, Some(ours));
}
