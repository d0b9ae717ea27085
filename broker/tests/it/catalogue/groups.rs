use super::fixture::{Administration, fields, reason};
use eventflow_proto::v1::{
    ConsumerGroup, CreateConsumerGroupRequest, DeleteConsumerGroupRequest, GetConsumerGroupRequest, GetLagRequest,
    ListConsumerGroupsRequest, ListMembersRequest, OnTruncated, PauseConsumerGroupRequest, ResumeConsumerGroupRequest,
    UpdateConsumerGroupRequest, consumer_group_service_server::ConsumerGroupService, position::At,
};
use prost_types::{Duration, FieldMask, Timestamp};

async fn offsets(admin: &Administration, group: &str) -> Vec<i64> {
    let lag = admin.groups.get_lag(admin.ask(GetLagRequest { name: group.to_owned() })).await;
    lag.expect("lag").into_inner().partitions.iter().map(|partition| partition.next_offset).collect()
}

/// Lets a member join, as its broker would.
async fn join(admin: &Administration, group: &str) {
    let sql = "with started as materialized (
                   select b.id, eventflow.broker_start_v1(b.id, 'b1', 'here', '1', 60000) from (select gen_random_uuid() as id) b)
               select j.outcome from started s, eventflow.consumer_group g, lateral eventflow.join_v1(
                   g.organization_id, g.group_id, 'm1', gen_random_uuid(), s.id, 'test', '127.0.0.1', 10) j
               where g.name = $1";
    let joined = admin.superuser.query_one(sql, &[&group]).await.expect("joined");
    assert_eq!(joined.get::<_, &str>(0), "joined");
}

#[tokio::test]
async fn a_group_starts_where_it_is_told() {
    let mut admin = Administration::new().await;
    admin.create_stream("orders", 2).await;
    admin.append("orders", 0, 10, 1_000.0).await;
    admin.append("orders", 0, 10, 2_000.0).await;
    let earliest = admin.create_group("earliest", "orders", At::Earliest(true)).await;
    admin.create_group("latest", "orders", At::Latest(true)).await;
    let time = Timestamp { seconds: 1_500, nanos: 0 };
    admin.create_group("time", "orders", At::Time(time)).await;
    assert_eq!(offsets(&admin, "earliest").await, [0, 0]);
    assert_eq!(offsets(&admin, "latest").await, [20, 0]);
    assert_eq!(offsets(&admin, "time").await, [10, 0]);
    assert_eq!(admin.announced().len(), 3);
    let request = admin.ask(GetConsumerGroupRequest { name: "earliest".into() });
    let read = admin.groups.get_consumer_group(request).await.expect("there").into_inner();
    assert_eq!(read.group, Some(earliest));
}

#[tokio::test]
async fn a_group_is_refused_without_its_stream_or_with_a_taken_name() {
    let admin = Administration::new().await;
    admin.create_stream("orders", 1).await;
    admin.create_group("billing", "orders", At::Earliest(true)).await;
    let create = |name: &str, stream: &str| {
        let group = ConsumerGroup { name: name.into(), stream: stream.into(), ..Default::default() };
        CreateConsumerGroupRequest { group: Some(group), ..Default::default() }
    };
    let answer = admin.groups.create_consumer_group(admin.ask(create("billing", "orders"))).await;
    assert_eq!(reason(answer), "CONSUMER_GROUP_EXISTS");
    let answer = admin.groups.create_consumer_group(admin.ask(create("audit", "absent"))).await;
    assert_eq!(reason(answer), "STREAM_NOT_FOUND");
}

#[tokio::test]
async fn groups_are_listed_of_one_stream_or_all() {
    let admin = Administration::new().await;
    for stream in ["orders", "refunds"] {
        admin.create_stream(stream, 1).await;
        for group in ["a", "b"] {
            admin.create_group(&format!("{stream}-{group}"), stream, At::Earliest(true)).await;
        }
    }
    let list = |stream: &str, page_token: &str| ListConsumerGroupsRequest {
        stream: stream.to_owned(),
        page_size: 1,
        page_token: page_token.to_owned(),
    };
    let page = admin.groups.list_consumer_groups(admin.ask(list("refunds", ""))).await;
    let page = page.expect("a page").into_inner();
    assert_eq!((page.groups.len(), page.groups[0].name.as_str()), (1, "refunds-a"));
    let token = page.next_page_token;
    let elsewhere = admin.groups.list_consumer_groups(admin.ask(list("", &token))).await;
    assert_eq!(reason(elsewhere), "INVALID_PAGE_TOKEN");
    let page = admin.groups.list_consumer_groups(admin.ask(list("refunds", &token))).await;
    let page = page.expect("a page").into_inner();
    assert_eq!((page.groups[0].name.as_str(), page.next_page_token.as_str()), ("refunds-b", ""));
    let absent = admin.groups.list_consumer_groups(admin.ask(list("absent", ""))).await;
    assert_eq!(reason(absent), "STREAM_NOT_FOUND");
    let all = ListConsumerGroupsRequest::default();
    let all = admin.groups.list_consumer_groups(admin.ask(all)).await.expect("all").into_inner();
    assert_eq!(all.groups.len(), 4);
}

#[tokio::test]
async fn an_update_changes_what_its_mask_names() {
    let admin = Administration::new().await;
    admin.create_stream("orders", 1).await;
    let group = admin.create_group("billing", "orders", At::Earliest(true)).await;
    let update = |path: &str| UpdateConsumerGroupRequest {
        group: Some(ConsumerGroup {
            on_truncated: OnTruncated::Stop.into(),
            drain_timeout: Some(Duration { seconds: 1, nanos: 500_000_000 }),
            ..group.clone()
        }),
        update_mask: Some(FieldMask { paths: vec![path.to_owned()] }),
        ..Default::default()
    };
    let changed = admin.groups.update_consumer_group(admin.ask(update("drain_timeout"))).await;
    let changed = changed.expect("changed").into_inner().group.expect("a group");
    assert_eq!(changed.drain_timeout, Some(Duration { seconds: 1, nanos: 500_000_000 }));
    assert_eq!(changed.on_truncated, i32::from(OnTruncated::Continue));
    let refused = admin.groups.update_consumer_group(admin.ask(update("stream"))).await;
    assert_eq!(fields(refused), ["update_mask"]);
}

#[tokio::test]
async fn a_group_with_members_is_deleted_only_by_force() {
    let mut admin = Administration::new().await;
    admin.create_stream("orders", 1).await;
    admin.create_group("billing", "orders", At::Earliest(true)).await;
    join(&admin, "billing").await;
    let members = admin.groups.list_members(admin.ask(ListMembersRequest { name: "billing".into() }));
    let members = members.await.expect("members").into_inner().members;
    assert_eq!((members[0].name.as_str(), members[0].broker.as_str()), ("m1", "b1"));
    assert!(members[0].connected);
    admin.announced();
    let delete = |force| DeleteConsumerGroupRequest { name: "billing".into(), force, ..Default::default() };
    let refused = admin.groups.delete_consumer_group(admin.ask(delete(false))).await;
    assert_eq!(reason(refused), "CONSUMER_GROUP_HAS_MEMBERS");
    assert_eq!(offsets(&admin, "billing").await, [0], "the refusal took nothing");
    assert!(admin.announced().is_empty());
    admin.groups.delete_consumer_group(admin.ask(delete(true))).await.expect("deleted");
    assert_eq!(admin.announced().len(), 1);
    let again = admin.groups.delete_consumer_group(admin.ask(delete(true))).await;
    assert_eq!(reason(again), "CONSUMER_GROUP_NOT_FOUND");
}

#[tokio::test]
async fn a_group_is_paused_and_goes_on() {
    let mut admin = Administration::new().await;
    admin.create_stream("orders", 1).await;
    admin.create_group("billing", "orders", At::Earliest(true)).await;
    let pause = PauseConsumerGroupRequest { name: "billing".into(), ..Default::default() };
    let paused = admin.groups.pause_consumer_group(admin.ask(pause)).await.expect("paused");
    assert!(paused.into_inner().group.expect("a group").paused);
    let resume = ResumeConsumerGroupRequest { name: "billing".into(), ..Default::default() };
    let running = admin.groups.resume_consumer_group(admin.ask(resume)).await.expect("running");
    assert!(!running.into_inner().group.expect("a group").paused);
    assert_eq!(admin.announced().len(), 3);
    let absent = PauseConsumerGroupRequest { name: "absent".into(), ..Default::default() };
    let absent = admin.groups.pause_consumer_group(admin.ask(absent)).await;
    assert_eq!(reason(absent), "CONSUMER_GROUP_NOT_FOUND");
}

#[tokio::test]
async fn lag_is_counted_in_events_and_in_seconds() {
    let admin = Administration::new().await;
    admin.create_stream("orders", 2).await;
    admin.append("orders", 0, 10, 1_000.0).await;
    admin.create_group("billing", "orders", At::Earliest(true)).await;
    let lag = admin.groups.get_lag(admin.ask(GetLagRequest { name: "billing".into() })).await;
    let lag = lag.expect("lag").into_inner();
    assert_eq!((lag.lag_events, lag.partitions[0].lag_events, lag.partitions[1].lag_events), (10, 10, 0));
    assert!(lag.lag_seconds > 1_000_000.0 && lag.partitions[1].lag_seconds == 0.0);
    assert_eq!((lag.partitions[0].head, lag.partitions[0].member.as_str()), (10, ""));
}
