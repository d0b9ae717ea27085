use super::fixture::{Administration, fact, fields, reason};
use eventflow_proto::v1::{
    AddPartitionsRequest, DeleteStreamRequest, GetLagRequest, GetLimitsRequest, GetStreamRequest,
    GetStreamStatisticsRequest, ListStreamsRequest, PurgeStreamRequest, Retention, Stream, UpdateStreamRequest,
    consumer_group_service_server::ConsumerGroupService, position::At, purge_stream_request::Before,
    stream_service_server::StreamService,
};
use prost_types::{Duration, FieldMask, Timestamp};

fn delete(name: &str, force: bool) -> DeleteStreamRequest {
    DeleteStreamRequest { name: name.to_owned(), force, ..Default::default() }
}

async fn get(admin: &Administration, name: &str) -> Result<Stream, tonic::Status> {
    let request = admin.ask(GetStreamRequest { name: name.to_owned() });
    let answer = admin.streams.get_stream(request).await?;
    Ok(answer.into_inner().stream.expect("a stream"))
}

#[tokio::test]
async fn a_stream_is_made_with_defaults_and_read_back() {
    let admin = Administration::new().await;
    let made = admin.create_stream("orders", 0).await;
    assert_eq!((made.partitions, made.max_event_bytes, made.routing_version), (8, 1_048_576, 1));
    let week = Some(Duration { seconds: 7 * 86_400, nanos: 0 });
    assert_eq!(made.retention.as_ref().expect("retention").max_age, week);
    assert!(!made.uid.is_empty() && made.create_time.is_some());
    assert_eq!(get(&admin, "orders").await.expect("there"), made);
    let request = eventflow_proto::v1::CreateStreamRequest {
        stream: Some(Stream { name: "orders".to_owned(), ..Default::default() }),
        ..Default::default()
    };
    assert_eq!(reason(admin.streams.create_stream(admin.ask(request)).await), "STREAM_EXISTS");
    let missing = admin.streams.get_stream(admin.ask(GetStreamRequest { name: "absent".into() }));
    assert_eq!(reason(missing.await), "STREAM_NOT_FOUND");
    let limits = admin.streams.get_limits(admin.ask(GetLimitsRequest {})).await;
    assert_eq!(limits.expect("limits").into_inner().partitions_max, 1_024);
}

#[tokio::test]
async fn an_update_changes_what_its_mask_names() {
    let admin = Administration::new().await;
    let made = admin.create_stream("orders", 2).await;
    let update = |paths: &[&str]| UpdateStreamRequest {
        stream: Some(Stream {
            description: "all orders".to_owned(),
            retention: Some(Retention { max_age: Some(Duration::default()), max_bytes_per_partition: 5 }),
            labels: [("team".to_owned(), "billing".to_owned())].into(),
            ..made.clone()
        }),
        update_mask: Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }),
        ..Default::default()
    };
    let request = admin.ask(update(&["labels", "retention.max_bytes_per_partition"]));
    let changed = admin.streams.update_stream(request).await.expect("changed").into_inner();
    let changed = changed.stream.expect("a stream");
    assert_eq!((changed.labels["team"].as_str(), changed.description.as_str()), ("billing", ""));
    let retention = changed.retention.expect("retention");
    assert_eq!(retention.max_bytes_per_partition, 5);
    assert_eq!(retention.max_age, made.retention.as_ref().expect("retention").max_age);
    assert_eq!(fields(admin.streams.update_stream(admin.ask(update(&["name"]))).await), ["update_mask"]);
    let mut absent = update(&["labels"]);
    absent.stream.as_mut().expect("a stream").name = "absent".to_owned();
    assert_eq!(reason(admin.streams.update_stream(admin.ask(absent)).await), "STREAM_NOT_FOUND");
}

#[tokio::test]
async fn pages_walk_over_all_names_and_tokens_stay_where_they_belong() {
    let admin = Administration::new().await;
    for name in ["e", "b", "d", "a", "c"] {
        admin.create_stream(name, 1).await;
    }
    let list = |page_token: &str| ListStreamsRequest { page_size: 2, page_token: page_token.to_owned() };
    let (mut token, mut names) = (String::new(), Vec::new());
    loop {
        let page = admin.streams.list_streams(admin.ask(list(&token))).await.expect("a page").into_inner();
        assert!(page.streams.len() <= 2);
        names.extend(page.streams.into_iter().map(|stream| stream.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        let foreign = super::fixture::by(&admin.other, list(&token));
        assert_eq!(reason(admin.streams.list_streams(foreign).await), "INVALID_PAGE_TOKEN");
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    assert_eq!(reason(admin.streams.list_streams(admin.ask(list("AAAA"))).await), "INVALID_PAGE_TOKEN");
    let large = ListStreamsRequest { page_size: 1_001, ..Default::default() };
    assert_eq!(fields(admin.streams.list_streams(admin.ask(large)).await), ["page_size"]);
}

#[tokio::test]
async fn a_stream_with_groups_is_deleted_only_by_force_and_its_name_is_free_again() {
    let mut admin = Administration::new().await;
    let first = admin.create_stream("orders", 2).await;
    admin.create_group("billing", "orders", At::Earliest(true)).await;
    admin.create_group("audit", "orders", At::Earliest(true)).await;
    let created = admin.announced();
    let refused = admin.streams.delete_stream(admin.ask(delete("orders", false))).await;
    assert_eq!(fact(refused.as_ref().expect_err("refused"), "groups"), "2");
    assert_eq!(reason(refused), "STREAM_HAS_GROUPS");
    admin.streams.delete_stream(admin.ask(delete("orders", true))).await.expect("deleted");
    assert_eq!(admin.announced(), created);
    let lag = admin.groups.get_lag(admin.ask(GetLagRequest { name: "billing".into() }));
    assert_eq!(reason(lag.await), "CONSUMER_GROUP_NOT_FOUND");
    let left = admin.superuser.query_one("select count(*) from eventflow.consumer_offset", &[]).await;
    assert_eq!(left.expect("counted").get::<_, i64>(0), 0);
    let again = admin.streams.delete_stream(admin.ask(delete("orders", true))).await;
    assert_eq!(reason(again), "STREAM_NOT_FOUND");
    assert_ne!(admin.create_stream("orders", 1).await.uid, first.uid);
    admin.streams.delete_stream(admin.ask(delete("orders", false))).await.expect("without groups");
}

#[tokio::test]
async fn partitions_are_added_when_confirmed_and_groups_get_them() {
    let mut admin = Administration::new().await;
    admin.create_stream("orders", 2).await;
    admin.create_group("billing", "orders", At::Latest(true)).await;
    let created = admin.announced();
    let add = |partitions, allow_key_remap| AddPartitionsRequest {
        name: "orders".to_owned(),
        partitions,
        allow_key_remap,
        ..Default::default()
    };
    let refused = admin.streams.add_partitions(admin.ask(add(4, false))).await;
    assert_eq!(reason(refused), "KEY_REMAP_NOT_ALLOWED");
    for wanted in [0, 2, 1_025] {
        assert_eq!(fields(admin.streams.add_partitions(admin.ask(add(wanted, true))).await), ["partitions"]);
    }
    let stream = admin.streams.add_partitions(admin.ask(add(4, true))).await.expect("added");
    let stream = stream.into_inner().stream.expect("a stream");
    assert_eq!((stream.partitions, stream.routing_version), (4, 2));
    assert_eq!(admin.announced(), created);
    let lag = admin.groups.get_lag(admin.ask(GetLagRequest { name: "billing".into() })).await;
    assert_eq!(lag.expect("lag").into_inner().partitions.len(), 4);
    let behind = "select count(*) from eventflow.partition_head where routing_version <> 2";
    let behind = admin.superuser.query_one(behind, &[]).await.expect("counted");
    assert_eq!(behind.get::<_, i64>(0), 0);
}

#[tokio::test]
async fn a_purge_raises_the_floor_by_offset_time_or_altogether() {
    let admin = Administration::new().await;
    admin.create_stream("orders", 2).await;
    for (partition, at) in [(0, 1_000.0), (0, 2_000.0), (1, 1_000.0), (1, 3_000.0)] {
        admin.append("orders", partition, 10, at).await;
    }
    let purge = |partition, before| PurgeStreamRequest {
        name: "orders".to_owned(),
        partition,
        before: Some(before),
        ..Default::default()
    };
    let above = admin.streams.purge_stream(admin.ask(purge(Some(0), Before::Offset(21)))).await;
    assert_eq!(fact(above.as_ref().expect_err("refused"), "head"), "20");
    assert_eq!(reason(above), "OFFSET_ABOVE_HEAD");
    let beyond = admin.streams.purge_stream(admin.ask(purge(Some(2), Before::Offset(1)))).await;
    assert_eq!(reason(beyond), "PARTITION_OUT_OF_RANGE");
    let time = Timestamp { seconds: 2_000, nanos: 0 };
    for (partition, before, purged) in [
        (Some(0), Before::Offset(3), 3),
        (Some(0), Before::Offset(3), 0),
        (None, Before::Time(time), 17),
        (None, Before::Everything(true), 20),
        (None, Before::Everything(true), 0),
    ] {
        let answer = admin.streams.purge_stream(admin.ask(purge(partition, before))).await;
        assert_eq!(answer.expect("purged").into_inner().purged_events, purged, "{before:?}");
    }
}

#[tokio::test]
async fn statistics_count_what_is_retained() {
    let admin = Administration::new().await;
    admin.create_stream("orders", 2).await;
    admin.append("orders", 1, 10, 1_000.0).await;
    admin.append("orders", 1, 5, 2_000.5).await;
    let purge = PurgeStreamRequest {
        name: "orders".to_owned(),
        partition: Some(1),
        before: Some(Before::Offset(4)),
        ..Default::default()
    };
    admin.streams.purge_stream(admin.ask(purge)).await.expect("purged");
    let request = admin.ask(GetStreamStatisticsRequest { name: "orders".into() });
    let counted = admin.streams.get_stream_statistics(request).await.expect("counted").into_inner();
    assert_eq!((counted.events, counted.bytes), (11, 110));
    let (empty, full) = (&counted.partitions[0], &counted.partitions[1]);
    assert_eq!((empty.head, empty.events, empty.last_append_time), (0, 0, None));
    assert_eq!((full.floor, full.head), (4, 15));
    assert_eq!(full.last_append_time, Some(Timestamp { seconds: 2_000, nanos: 500_000_000 }));
}
