//! Calls that cannot be served: each gets the code and the reason of the table, and names the thing and the limit.

use super::{
    fixture::{LIST_EVENTS, Server, Setup, list, read},
    wire::{frame, message, request, send, send_bare, status},
};
use bytes::Bytes;
use eventflow_broker::{
    config::Reflection,
    grpc::servers::MESSAGE_BYTES,
    identity::{ApiKey, Environment},
};
use http::StatusCode;
use http_body_util::StreamBody;
use std::time::Duration;
use tonic::{Code, Status, body::Body, codec::CompressionEncoding};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
use tonic_types::{ErrorInfo, StatusExt};

/// The status has this code and reason, and the id of its request.
pub fn assert_reason(status: &Status, code: Code, reason: &str) -> ErrorInfo {
    assert_eq!(status.code(), code, "{status:?}");
    let info = status.get_details_error_info().expect("error info");
    assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, "eventflow"), "{status:?}");
    assert!(info.metadata.contains_key("request_id"), "{info:?}");
    info
}

/// A raw call with the server's key.
async fn raw(server: &Server, path: &str, headers: &[(&str, &str)], body: Bytes) -> Status {
    let bearer = server.bearer();
    let headers = [&[("authorization", bearer.as_str())], headers].concat();
    status(send(&server.channel().await, request(path, &headers, body)).await).await.0
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_good_key_nothing_is_served_but_health() {
    let server = Server::start().await;
    let channel = server.channel().await;
    let stranger = format!("Bearer {}", ApiKey::generate(Environment::Live).reveal());
    let cases: [(&str, &[(&str, &str)]); 4] = [
        ("no key", &[]),
        ("another scheme", &[("authorization", "Basic eDp5")]),
        ("no key behind Bearer", &[("authorization", "Bearer")]),
        ("an unknown key", &[("authorization", &stranger)]),
    ];
    for (case, headers) in cases {
        let answer = send(&channel, request(LIST_EVENTS, headers, message(&list("hello")))).await;
        let (status, _) = status(answer).await;
        let info = assert_reason(&status, Code::Unauthenticated, "UNAUTHENTICATED");
        assert_eq!(info.metadata["applied"], "no", "{case}");
    }
    for service in ["", "eventflow.v1.PublisherService"] {
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = HealthClient::new(channel.clone()).check(request).await.expect("health needs no key");
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_id_of_the_client_is_kept_in_headers_and_errors() {
    let server = Server::start().await;
    let channel = server.channel().await;
    let headers = [("x-request-id", "order-42")];
    let (error, headers) = status(send(&channel, request(LIST_EVENTS, &headers, message(&list("x")))).await).await;
    assert_eq!(headers["x-request-id"], "order-42");
    assert_eq!(assert_reason(&error, Code::Unauthenticated, "UNAUTHENTICATED").metadata["request_id"], "order-42");

    let mut client = server.client().await;
    let mut hello = server.keyed(list("hello"));
    hello.metadata_mut().insert("x-request-id", "two words".parse().expect("header"));
    let made =
        client.list_events(hello).await.expect("an answer").metadata().get("x-request-id").expect("an id").clone();
    assert_eq!(made.len(), 16, "an id that is not sane is replaced");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn descriptors_need_a_key_unless_they_are_open() {
    for version in ["v1", "v1alpha"] {
        let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
        // ServerReflectionRequest { list_services: "" }
        let ask = frame(0, &[0x3a, 0x00]);
        for (descriptors, code) in [
            (Reflection::Key, Code::Unauthenticated),
            (Reflection::Open, Code::Ok),
            (Reflection::Off, Code::Unimplemented),
        ] {
            let server = Server::start_with(Setup { descriptors, ..Setup::default() }).await;
            let answer = send(&server.channel().await, request(&path, &[], ask.clone())).await;
            assert_eq!(status(answer).await.0.code(), code, "{version} {descriptors:?}");
            if descriptors == Reflection::Key {
                assert_eq!(raw(&server, &path, &[], ask.clone()).await.code(), Code::Ok);
            }
            server.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_method_is_named_and_needs_no_key() {
    let server = Server::start().await;
    let channel = server.channel().await;
    for path in ["/eventflow.v1.LogService/Nothing", "/nothing.at.all/Here", "/", "/x/y/z"] {
        let (error, _) = status(send(&channel, request(path, &[], Bytes::new())).await).await;
        assert_reason(&error, Code::Unimplemented, "UNIMPLEMENTED");
        assert!(error.message().contains(path), "{error:?}");
    }
    // In the table, and served by nobody here.
    let error = raw(&server, "/eventflow.v1.StreamService/GetLimits", &[], frame(0, &[])).await;
    assert_reason(&error, Code::Unimplemented, "UNIMPLEMENTED");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_content_type_is_an_http_error() {
    let server = Server::start().await;
    let channel = server.channel().await;
    for content_type in ["application/json", "application/grpc-web-text"] {
        let answer = send(&channel, request(LIST_EVENTS, &[("content-type", content_type)], Bytes::new())).await;
        assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_is_malformed_and_nothing_was_applied() {
    let server = Server::start().await;
    let hello = message(&list("hello"));
    let nested = (0..2_000).fold(Vec::new(), |inner, _| [&[0x1a, 0x00][..], &inner].concat());
    for (case, headers, body) in [
        ("no message", &[][..], Bytes::new()),
        ("invalid protobuf", &[], frame(0, &[0x0a, 0xff, 0xff])),
        ("invalid UTF-8", &[], frame(0, &[0x0a, 0x02, 0xc3, 0x28])),
        ("nested groups", &[], frame(0, &[0x0b; 200])),
        ("nonsense in a message", &[], frame(0, &[&[0x1a, 0x7f][..], &nested[..0x7f]].concat())),
        ("an unknown flag", &[], frame(9, &hello[5..])),
        ("compressed without an encoding", &[], frame(1, &hello[5..])),
        ("not gzip", &[("grpc-encoding", "gzip")], frame(1, &hello[5..])),
        ("not zstd", &[("grpc-encoding", "zstd")], frame(1, &hello[5..])),
        ("cut short", &[], hello.slice(..hello.len() - 1)),
        ("half a header", &[], hello.slice(..3)),
    ] {
        let error = raw(&server, LIST_EVENTS, headers, body).await;
        assert_eq!(error.code(), Code::InvalidArgument, "{case}: {error:?}");
        let info = assert_reason(&error, Code::InvalidArgument, "MALFORMED_MESSAGE");
        assert_eq!(info.metadata["applied"], "no", "{case}");
    }
    server.serves_others().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_beyond_the_limit_is_refused_before_and_after_decompression() {
    let server = Server::start().await;
    let oversized = list(&"x".repeat(MESSAGE_BYTES));
    let bomb = list(&"\0".repeat(64 << 20));
    let plain = server.client().await;
    let gzip = server.client().await.send_compressed(CompressionEncoding::Gzip);
    let zstd = server.client().await.send_compressed(CompressionEncoding::Zstd);
    for (mut client, message) in [(plain, oversized), (gzip, bomb.clone()), (zstd, bomb)] {
        let error = client.list_events(server.keyed(message)).await.expect_err("too large");
        let info = assert_reason(&error, Code::OutOfRange, "MESSAGE_TOO_LARGE");
        assert_eq!(info.metadata["limit_bytes"], MESSAGE_BYTES.to_string());
        assert_eq!(info.metadata["applied"], "no");
    }
    // A length that promises four gigabytes reserves nothing.
    let error = raw(&server, LIST_EVENTS, &[], Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff])).await;
    assert_reason(&error, Code::OutOfRange, "MESSAGE_TOO_LARGE");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gzip_and_zstd_are_understood_and_others_named() {
    let server = Server::start().await;
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut client = server.client().await.send_compressed(encoding).accept_compressed(encoding);
        client.list_events(server.keyed(list(&"x".repeat(100_000)))).await.expect("understood");
    }
    let headers = [("grpc-encoding", "snappy"), ("authorization", &server.bearer())];
    let answer = send(&server.channel().await, request(LIST_EVENTS, &headers, message(&list("hello")))).await;
    let (error, headers) = status(answer).await;
    assert_reason(&error, Code::Unimplemented, "UNIMPLEMENTED");
    assert!(error.message().contains("snappy"), "{error:?}");
    assert_eq!(headers["grpc-accept-encoding"], "gzip,zstd,identity");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deadlines_are_honoured_and_unreadable_ones_refused() {
    let server = Server::start().await;
    for (timeout, code, reason) in [
        ("50m", Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
        ("1n", Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
        ("-1S", Code::InvalidArgument, "INVALID_ARGUMENT"),
        ("soon", Code::InvalidArgument, "INVALID_ARGUMENT"),
    ] {
        let headers = [("grpc-timeout", timeout), ("authorization", &server.bearer())];
        let request = request(LIST_EVENTS, &headers, message(&list("forever")));
        let (error, _) = status(send_bare(server.address, request).await).await;
        let info = assert_reason(&error, code, reason);
        let applied = if code == Code::DeadlineExceeded { "unknown" } else { "no" };
        assert_eq!(info.metadata["applied"], applied, "{timeout}");
    }
    let hello = raw(&server, LIST_EVENTS, &[("grpc-timeout", "99999999H")], message(&list("hello"))).await;
    assert_eq!(hello.code(), Code::Ok);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_trickles_in_is_bounded_by_the_deadline() {
    let server = Server::start().await;
    let begun = futures_util::stream::iter([Ok::<_, Status>(http_body::Frame::data(Bytes::from_static(&[0, 0, 0])))]);
    let endless = StreamBody::new(futures_util::StreamExt::chain(begun, futures_util::stream::pending()));
    let headers = [("grpc-timeout", "100m"), ("authorization", &server.bearer())];
    let request = request(LIST_EVENTS, &headers, Bytes::new()).map(|_| Body::new(endless));
    let (error, _) = status(send_bare(server.address, request).await).await;
    assert_reason(&error, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bug_shows_a_request_id_and_nothing_else() {
    let server = Server::start().await;
    let mut client = server.client().await;
    for stream in ["bug", "panic"] {
        let error = client.list_events(server.keyed(list(stream))).await.expect_err("a bug");
        assert_reason(&error, Code::Internal, "INTERNAL");
        let everything = format!("{error:?}{}", String::from_utf8_lossy(error.details()));
        assert!(!everything.contains("secret_table") && !everything.contains("on purpose"), "{everything}");
    }
    let mut stream = client.read(server.keyed(read("panic"))).await.expect("it begins well").into_inner();
    assert!(stream.message().await.expect("a frame").is_some());
    let error = stream.message().await.expect_err("then the panic");
    assert_reason(&error, Code::Internal, "INTERNAL");

    client.list_events(server.keyed(list("hello"))).await.expect("the connection and the process live");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_field_is_named() {
    let server = Server::start().await;
    let error = raw(&server, "/eventflow.v1.LogService/GetEvent", &[], frame(0, &[])).await;
    assert_reason(&error, Code::InvalidArgument, "INVALID_ARGUMENT");
    assert_eq!(error.get_details_bad_request().expect("fields").field_violations[0].field, "offset");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_counted_by_method_and_code() {
    let server = Server::start().await;
    server.serves_others().await;
    let line = "eventflow_grpc_requests_total{method=\"eventflow.v1.LogService/ListEvents\",code=\"OK\"}";
    // poll: the server counts when the last byte has left, which the client may see first.
    let counted = async {
        while !eventflow_broker::telemetry::metrics::render().contains(line) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), counted).await.expect("counted");
    server.stop().await;
}

/// What is refused before its request has been read: the connection stays, although much of the requests comes behind the refusals.
#[tokio::test(flavor = "multi_thread")]
async fn many_large_calls_that_are_refused_at_the_door_leave_their_connection_open() {
    let ground = crate::support::Ground::new().await;
    let app = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let mut clients = crate::support::Clients::new(&app, &key).await;
    clients.create_stream("orders", 1).await;
    let stranger = crate::support::Clients::new(&app, &format!("{}x", &key[..key.len() - 1])).await;
    let payload = "x".repeat(200_000);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (mut publisher, payload) = (stranger.publisher.clone(), payload.clone());
        calls.spawn(async move {
            for _ in 0..64 {
                let events = vec![crate::support::event(&payload)];
                let request =
                    eventflow_proto::v1::PublishRequest { stream: "orders".into(), events, ..Default::default() };
                let refused = publisher.publish(request).await.expect_err("a stranger");
                assert_eq!(crate::support::reason(&refused), "UNAUTHENTICATED", "{refused:?}");
            }
        });
    }
    calls.join_all().await;
}
