//! Keys that may do something in some streams only.

use crate::support::{Clients, Ground, event, reason};
use eventflow_proto::v1::{self, publish_stream_response::Answer};
use eventflow_testkit::within;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

fn names(page: v1::ListStreamsResponse) -> Vec<String> {
    page.streams.into_iter().map(|stream| stream.name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_lists_the_streams_and_groups_that_it_may_see() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let mut all = Clients::new(&app, &ground.key("acme").await).await;
    for name in ["audit", "orders.eu", "orders.us"] {
        all.create_stream(name, 1).await;
        all.create_group(&format!("of-{name}"), name).await;
    }
    let mut some = Clients::new(&app, &ground.key_for("acme", &["consume:orders.*"]).await).await;
    let page = some.streams.list_streams(v1::ListStreamsRequest::default()).await.expect("a page").into_inner();
    assert_eq!(names(page), ["orders.eu", "orders.us"]);
    // A page whose only stream it may not see is empty, and has a token.
    let one = v1::ListStreamsRequest { page_size: 1, ..Default::default() };
    let page = some.streams.list_streams(one).await.expect("a page").into_inner();
    assert!(page.streams.is_empty() && !page.next_page_token.is_empty());
    let next = v1::ListStreamsRequest { page_size: 1, page_token: page.next_page_token };
    assert_eq!(names(some.streams.list_streams(next).await.expect("a page").into_inner()), ["orders.eu"]);
    let groups = some.groups.list_consumer_groups(v1::ListConsumerGroupsRequest::default()).await.expect("a page");
    let groups: Vec<_> = groups.into_inner().groups.into_iter().map(|group| group.name).collect();
    assert_eq!(groups, ["of-orders.eu", "of-orders.us"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_does_not_tell_whether_the_stream_exists() {
    let ground = Ground::new().await;
    let app = ground.broker(&[("publish.create_missing_streams", "true")]).await;
    let mut all = Clients::new(&app, &ground.key("acme").await).await;
    all.create_stream("secret", 1).await;
    let mut some = Clients::new(&app, &ground.key_for("acme", &["publish:orders.*", "read:orders.*"]).await).await;
    let mut told = Vec::new();
    for name in ["secret", "absent"] {
        let get = some.streams.get_stream(v1::GetStreamRequest { name: name.into() }).await.expect_err("refused");
        let publish = v1::PublishRequest { stream: name.into(), events: vec![event("x")], ..Default::default() };
        let publish = some.publisher.publish(publish).await.expect_err("refused");
        let read = v1::ReadRequest { stream: name.into(), ..Default::default() };
        let read = some.log.read(read).await.expect_err("refused");
        for status in [&get, &publish, &read] {
            assert_eq!((status.code(), reason(status).as_str()), (Code::PermissionDenied, "PERMISSION_DENIED"));
        }
        told.push([get, publish, read].map(|status| status.message().replace(name, "…")));
    }
    assert_eq!(told[0], told[1]);
    let page = all.streams.list_streams(v1::ListStreamsRequest::default()).await.expect("a page").into_inner();
    assert_eq!(names(page), ["secret"], "a first publish that is refused makes no stream");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_of_a_publish_stream_is_asked_for_its_own_stream() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let mut all = Clients::new(&app, &ground.key("acme").await).await;
    all.create_stream("orders.eu", 1).await;
    all.create_stream("audit", 1).await;
    let mut some = Clients::new(&app, &ground.key_for("acme", &["publish:orders.*"]).await).await;
    let (send, requests) = tokio::sync::mpsc::channel(4);
    for stream in ["orders.eu", "audit", "orders.eu"] {
        let publish = v1::PublishRequest { stream: stream.into(), events: vec![event("x")], ..Default::default() };
        send.send(v1::PublishStreamRequest { publish: Some(publish) }).await.expect("room");
    }
    let mut answers =
        some.publisher.publish_stream(ReceiverStream::new(requests)).await.expect("a stream").into_inner();
    let mut next = async || {
        let answer = within("an answer", answers.message()).await.expect("an answer").expect("an answer").answer;
        match answer.expect("an answer") {
            Answer::Published(_) => "published".to_owned(),
            Answer::Error(error) => error.reason,
        }
    };
    assert_eq!([next().await, next().await, next().await], ["published", "PERMISSION_DENIED", "published"]);
    drop(send);
    let statistics = v1::GetStreamStatisticsRequest { name: "audit".into() };
    let statistics = all.streams.get_stream_statistics(statistics).await.expect("statistics").into_inner();
    assert_eq!(statistics.events, 0);
    app.stop().await;
}
