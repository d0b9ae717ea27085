//! How calls and connections end: by a shutdown, and by age.

use super::{
    calls::assert_reason,
    fixture::{Server, Setup, list, read},
    wire::PATIENCE,
};
use eventflow_broker::runtime::Condition;
use std::time::Duration;
use tokio::{net::TcpStream, time::timeout};
use tonic::Code;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::StatusExt;

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_broker_refuses_new_calls_and_says_so_to_probes() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let mut health = HealthClient::new(server.channel().await);
    let mut watch = health.watch(HealthCheckRequest::default()).await.expect("a watch").into_inner();
    let first = watch.message().await.expect("a frame").expect("a status");
    assert_eq!(first.status(), ServingStatus::Serving);

    server.readiness.raise(Condition::Draining, "stopping");
    server.farewell.refusing.cancel();
    let error = client.list_events(server.keyed(list("hello"))).await.expect_err("refused");
    let info = assert_reason(&error, Code::Unavailable, "BROKER_DRAINING");
    assert_eq!(info.metadata["applied"], "no");
    assert!(error.get_details_retry_info().is_some());
    let second = watch.message().await.expect("a frame").expect("a status");
    assert_eq!(second.status(), ServingStatus::NotServing);
    let answer = health.check(HealthCheckRequest::default()).await.expect("probes are answered");
    assert_eq!(answer.into_inner().status(), ServingStatus::NotServing);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_ends_streams_with_a_reason_and_leaves_nothing_behind() {
    let server = Server::start().await;
    let mut stream = server.client().await.read(server.keyed(read("forever"))).await.expect("a stream").into_inner();
    assert!(stream.message().await.expect("a frame").is_some());
    let mut watch = HealthClient::new(server.channel().await)
        .watch(HealthCheckRequest::default())
        .await
        .expect("a watch")
        .into_inner();
    assert!(watch.message().await.expect("a frame").is_some());

    server.tasks.expect_ends();
    server.farewell.closing.cancel();
    let error = stream.message().await.expect_err("ended");
    let info = assert_reason(&error, Code::Unavailable, "BROKER_DRAINING");
    assert_eq!(info.metadata["applied"], "unknown");
    assert!(error.get_details_retry_info().is_some());
    assert_eq!(watch.message().await.expect_err("ended").code(), Code::Unavailable);

    let address = server.address;
    timeout(PATIENCE, server.stop()).await.expect("nothing is left");
    TcpStream::connect(address).await.expect_err("the port is free");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_a_stream_that_would_go_on_for_ever() {
    let server = Server::start().await;
    let mut request = server.keyed(read("forever"));
    request.set_timeout(Duration::from_millis(300));
    let mut stream = server.client().await.read(request).await.expect("a stream").into_inner();
    assert!(stream.message().await.expect("a frame").is_some());
    let error = timeout(PATIENCE, stream.message()).await.expect("it ends").expect_err("by its deadline");
    let info = assert_reason(&error, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    assert_eq!(info.metadata["deadline_ms"], "300");

    let mut unbounded = server.client().await.read(server.keyed(read("forever"))).await.expect("a stream").into_inner();
    assert!(unbounded.message().await.expect("a frame").is_some(), "others go on");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unary_call_that_runs_at_the_close_is_finished() {
    let server = Server::start().await;
    let (mut client, mut stream) = (server.client().await, server.client().await);
    let ended = stream.read(server.keyed(read("forever"))).await.expect("a stream");
    server.one_entered().await;
    let request = server.keyed(list("released"));
    let call = async move { client.list_events(request).await };
    let closing = async {
        server.one_entered().await;
        server.tasks.expect_ends();
        server.farewell.closing.cancel();
        // When the stream has ended, the call has outlived the close.
        let mut ended = ended.into_inner();
        while ended.message().await.is_ok() {}
        server.release.add_permits(1);
    };
    let (answer, ()) = tokio::join!(call, closing);
    answer.expect("finished");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_never_ends_is_dropped_with_its_connection_at_the_bound() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let request = server.keyed(list("forever"));
    let call = async move { client.list_events(request).await };
    let closing = async {
        server.one_entered().await;
        server.tasks.expect_ends();
        server.farewell.closing.cancel();
        server.tasks.kill();
        timeout(PATIENCE, server.tasks.wait()).await.expect("dropped");
    };
    let (answer, ()) = tokio::join!(call, closing);
    answer.expect_err("the connection is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aged_connection_is_told_to_go_and_the_client_gets_another() {
    let mut setup = Setup::default();
    setup.options.age = Some(Duration::from_millis(500));
    let server = Server::start_with(setup).await;
    let mut client = server.client().await;
    let mut stream = client.read(server.keyed(read("polite"))).await.expect("a stream").into_inner();
    assert!(stream.message().await.expect("a frame").is_some());
    // The session hears that its connection is going, says its last word, and ends well.
    let last = timeout(PATIENCE, stream.message()).await.expect("in time").expect("a frame");
    assert!(last.is_some());
    assert!(stream.message().await.expect("a good end").is_none());
    // The same client goes on, over a new connection.
    // poll: a call that meets the GOAWAY fails at the client, unsent; new connections age too.
    let reconnected = async { while client.list_events(server.keyed(list("hello"))).await.is_err() {} };
    timeout(PATIENCE, reconnected).await.expect("another connection");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ignores_the_age_of_its_connection_is_ended() {
    let mut setup = Setup::default();
    setup.options.age = Some(Duration::from_millis(500));
    setup.options.age_grace = Duration::from_millis(50);
    let server = Server::start_with(setup).await;
    let mut stream = server.client().await.read(server.keyed(read("forever"))).await.expect("a stream").into_inner();
    assert!(stream.message().await.expect("a frame").is_some());
    let error = timeout(PATIENCE, stream.message()).await.expect("in time").expect_err("ended");
    assert_reason(&error, Code::Unavailable, "BROKER_DRAINING");
    server.stop().await;
}
