//! What an organization may use, and that nobody else notices when it wants more.

use crate::support::{Clients, Ground, appended, event};
use eventflow_broker::domain::quota::Quota;
use eventflow_broker::store::quotas;
use eventflow_proto::v1::{self, publish_stream_response::Answer};
use eventflow_testkit::within;
use tokio::task::JoinSet;
use tokio_stream::StreamExt;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// Reason, quota and scope of a refusal.
fn quota_of(status: &Status) -> (String, String, String) {
    let info = status.get_details_error_info().expect("an ErrorInfo");
    (info.reason, info.metadata["quota"].clone(), info.metadata["scope"].clone())
}

async fn two_tenants(settings: &[(&str, &str)]) -> (Ground, eventflow_broker::runtime::app::App, [Clients; 2]) {
    let ground = Ground::new().await;
    let app = ground.broker(settings).await;
    let clients =
        [Clients::new(&app, &ground.key("acme").await).await, Clients::new(&app, &ground.key("globex").await).await];
    (ground, app, clients)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_publishes_beyond_its_rate_is_refused_and_others_are_not() {
    let settings =
        [("limits.organization_events_per_second", "10"), ("limits.organization_bytes_per_second", "1000000")];
    let (_ground, _app, [mut acme, mut globex]) = two_tenants(&settings).await;
    acme.create_stream("orders", 1).await;
    globex.create_stream("orders", 1).await;
    let request = |events| v1::PublishRequest {
        stream: "orders".into(),
        partition: Some(0),
        events: vec![event("x"); events],
        ..Default::default()
    };
    // Twice what a second allows is taken from a full bucket, which then owes for a while.
    acme.publisher.publish(request(100)).await.expect("a burst");
    let status = acme.publisher.publish(request(1)).await.expect_err("too much");
    assert_eq!(status.code(), Code::ResourceExhausted);
    let of_events = ("RATE_LIMITED".to_owned(), "events_per_second".to_owned(), "organization".to_owned());
    assert_eq!(quota_of(&status), of_events);
    let info = status.get_details_error_info().expect("an ErrorInfo");
    assert_eq!((info.metadata["limit"].as_str(), info.metadata["applied"].as_str()), ("10", "no"));
    assert!(status.get_details_retry_info().and_then(|info| info.retry_delay).is_some());
    let checked = v1::PublishRequest { validate_only: true, ..request(50) };
    acme.publisher.publish(checked).await.expect("what is only checked costs nothing");
    let other = globex.publisher.publish(request(10)).await.expect("another organization").into_inner();
    assert_eq!(appended(&other.results[0]).base_offset, 0);
    let statistics = v1::GetStreamStatisticsRequest { name: "orders".into() };
    let statistics = acme.streams.get_stream_statistics(statistics).await.expect("counted").into_inner();
    assert_eq!(statistics.partitions[0].events, 100, "what was refused is not there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publish_stream_beyond_its_rate_is_slowed_down_and_keeps_its_order() {
    let (_ground, _app, [mut acme, _]) = two_tenants(&[("limits.organization_events_per_second", "20")]).await;
    acme.create_stream("orders", 1).await;
    let texts: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    let frames: Vec<v1::PublishStreamRequest> = texts
        .iter()
        .map(|text| v1::PublishRequest {
            stream: "orders".into(),
            partition: Some(0),
            events: vec![event(text)],
            ..Default::default()
        })
        .map(|publish| v1::PublishStreamRequest { publish: Some(publish) })
        .collect();
    let answers = acme.publisher.publish_stream(tokio_stream::iter(frames)).await.expect("a stream").into_inner();
    let offsets: Vec<i64> = answers
        .map(|answer| match answer.expect("an answer").answer.expect("set") {
            Answer::Published(published) => appended(&published.results[0]).base_offset,
            Answer::Error(error) => panic!("{error:?}"),
        })
        .collect()
        .await;
    assert_eq!(offsets, (0..40).collect::<Vec<i64>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_follows_a_refusal_by_a_quota_does_not_overtake_it() {
    let (ground, _app, [mut acme, _]) = two_tenants(&[]).await;
    acme.create_stream("orders", 1).await;
    acme.publish("orders", 0, &["before"]).await;
    let database = ground.database.connect().await;
    assert!(quotas::set(&database, "acme", "", Quota::EventsPerSecond, Some(0)).await.expect("set"));
    let publish = |text: &str, after_refusal| v1::PublishStreamRequest {
        publish: Some(v1::PublishRequest {
            stream: "orders".into(),
            partition: Some(0),
            events: vec![event(text)],
            after_refusal,
            ..Default::default()
        }),
    };
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    let frames = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut answers = acme.publisher.clone().publish_stream(frames).await.expect("a stream").into_inner();
    let mut next = async || match answers.next().await.expect("an answer").expect("ok").answer.expect("set") {
        Answer::Error(error) => error.reason,
        Answer::Published(published) => match &published.results[0].outcome {
            Some(v1::partition_result::Outcome::Error(error)) => error.reason.clone(),
            Some(v1::partition_result::Outcome::Appended(_)) => "appended".to_owned(),
            other => panic!("{other:?}"),
        },
    };
    let first_refusal = async {
        loop {
            // poll: the operator's limit is known within seconds
            sender.send(publish("early", true)).await.expect("sent");
            match next().await.as_str() {
                "appended" => {}
                other => return other.to_owned(),
            }
        }
    };
    assert_eq!(within("the limit", first_refusal).await, "RATE_LIMITED");
    assert_eq!(quotas::clear(&database, "acme", "", None).await.expect("cleared"), Some(1));
    let allowed_again = async {
        // poll: until others may publish again
        while acme.publisher.publish(publish("elsewhere", false).publish.expect("set")).await.is_err() {}
    };
    within("no limit", allowed_again).await;
    sender.send(publish("late", false)).await.expect("sent");
    assert_eq!(next().await, "PRECEDING_FAILED", "it does not know of the refusal");
    sender.send(publish("late", true)).await.expect("sent");
    assert_eq!(next().await, "appended");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_partitions_and_groups_are_counted_also_when_many_are_made_at_once() {
    let settings = [
        ("limits.organization_streams", "3"),
        ("limits.organization_partitions", "10"),
        ("limits.organization_groups", "1"),
    ];
    let (_ground, _app, [mut acme, mut globex]) = two_tenants(&settings).await;
    let create = |name: String, partitions| {
        let stream = v1::Stream { name, partitions, ..Default::default() };
        v1::CreateStreamRequest { stream: Some(stream), ..Default::default() }
    };
    let mut creators = JoinSet::new();
    for n in 0..10 {
        let (mut streams, request) = (acme.streams.clone(), create(format!("s{n}"), 2));
        creators.spawn(async move { streams.create_stream(request).await.map(drop) });
    }
    let (made, refused): (Vec<_>, Vec<_>) = creators.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (3, 7));
    for status in refused.into_iter().filter_map(Result::err) {
        assert_eq!(quota_of(&status), ("QUOTA_EXCEEDED".into(), "streams".into(), "organization".into()));
    }
    let listed = acme.streams.list_streams(v1::ListStreamsRequest::default()).await.expect("listed").into_inner();
    let name = listed.streams[0].name.clone();
    let more = |partitions| v1::AddPartitionsRequest {
        name: name.clone(),
        partitions,
        allow_key_remap: true,
        ..Default::default()
    };
    let status = acme.streams.add_partitions(more(7)).await.expect_err("eleven in all");
    assert_eq!(quota_of(&status).1, "partitions");
    acme.streams.add_partitions(more(6)).await.expect("ten in all");
    acme.create_group("one", &name).await;
    let group = v1::ConsumerGroup { name: "two".into(), stream: name.clone(), ..Default::default() };
    let request = v1::CreateConsumerGroupRequest { group: Some(group), ..Default::default() };
    let status = acme.groups.create_consumer_group(request).await.expect_err("a second group");
    assert_eq!(quota_of(&status).1, "groups");
    globex.create_stream("orders", 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_streams_and_calls_are_limited_by_credential() {
    let (ground, _app, [mut acme, _]) = two_tenants(&[("limits.credential_open_streams", "1")]).await;
    acme.create_stream("orders", 1).await;
    let follow = || v1::ReadRequest { stream: "orders".into(), follow: true, ..Default::default() };
    let first = acme.log.read(follow()).await.expect("a read");
    let status = acme.log.read(follow()).await.expect_err("a second one");
    assert_eq!(quota_of(&status), ("QUOTA_EXCEEDED".into(), "open_streams".into(), "credential".into()));
    drop(first);
    let again = async {
        // poll: the broker learns that the first has ended
        while acme.log.read(follow()).await.is_err() {}
    };
    within("room for another", again).await;

    let database = ground.database.connect().await;
    quotas::set(&database, "acme", "", Quota::RequestsPerSecond, Some(0)).await.expect("set");
    let list = v1::ListStreamsRequest::default;
    let limited = async {
        loop {
            // poll: the operator's limit is known within seconds
            if let Err(status) = acme.streams.list_streams(list()).await {
                return status;
            }
        }
    };
    let status = within("the limit", limited).await;
    assert_eq!(quota_of(&status), ("RATE_LIMITED".into(), "requests_per_second".into(), "organization".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_stores_all_that_it_may_publishes_again_after_a_purge() {
    let (_ground, _app, [mut acme, mut globex]) = two_tenants(&[("limits.organization_stored_bytes", "1000")]).await;
    acme.create_stream("orders", 1).await;
    globex.create_stream("orders", 1).await;
    let request = || v1::PublishRequest {
        stream: "orders".into(),
        partition: Some(0),
        events: vec![event(&"x".repeat(600))],
        ..Default::default()
    };
    let full = async {
        loop {
            // poll: what is stored is counted every few seconds
            if let Err(status) = acme.publisher.publish(request()).await {
                return status;
            }
        }
    };
    let status = within("a full organization", full).await;
    assert_eq!(quota_of(&status), ("QUOTA_EXCEEDED".into(), "stored_bytes".into(), "organization".into()));
    globex.publisher.publish(request()).await.expect("another organization");
    let purge = v1::PurgeStreamRequest {
        name: "orders".into(),
        before: Some(v1::purge_stream_request::Before::Everything(true)),
        ..Default::default()
    };
    acme.streams.purge_stream(purge).await.expect("purged");
    let room = async {
        // poll: as above
        while acme.publisher.publish(request()).await.is_err() {}
    };
    within("room again", room).await;
}
