//! Pages in browsers: gRPC-Web over HTTP/1 and 2, what foreign pages are refused, and the headers that guard every answer.

mod cookies;

use crate::support::{Clients, Ground, event};
use crate::transport::wire::{PATIENCE, exchange, message, request, send_bare};
use bytes::{Buf, Bytes};
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use prost::Message;
use tokio::time::timeout;

const PAGE: &str = "https://console.example.com";
const ADMITTED: [(&str, &str); 1] = [("server.browser_origins", PAGE)];
const LIST_STREAMS: &str = "/eventflow.v1.StreamService/ListStreams";

/// An answer of gRPC-Web: its messages, and the trailers that follow them.
struct Answer {
    code: StatusCode,
    headers: HeaderMap,
    messages: Vec<Bytes>,
    trailers: String,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().expect("text")).unwrap_or_default()
    }

    /// In the headers when there is nothing else to say.
    fn status(&self) -> String {
        let last = self.trailers.lines().find_map(|line| line.strip_prefix("grpc-status: "));
        last.map_or_else(|| self.header("grpc-status").to_owned(), str::to_owned)
    }
}

/// Splits a body into its parts: five bytes of head each, the trailers marked.
fn parts(mut body: Bytes) -> (Vec<Bytes>, String) {
    let (mut messages, mut trailers) = (Vec::new(), String::new());
    while body.has_remaining() {
        let (mark, length) = (body.get_u8(), body.get_u32() as usize);
        let part = body.split_to(length);
        match mark {
            0 => messages.push(part),
            0x80 => trailers = String::from_utf8(part.to_vec()).expect("text"),
            other => panic!("a part marked {other}"),
        }
    }
    (messages, trailers)
}

/// A page's call over HTTP/2.
async fn call(app: &App, path: &str, headers: &[(&str, &str)], body: Bytes) -> Answer {
    let web = [("content-type", "application/grpc-web+proto"), ("x-grpc-web", "1")];
    let answer = send_bare(app.grpc_address(), request(path, &[&web[..], headers].concat(), body)).await;
    let (head, body) = answer.into_parts();
    let body = timeout(PATIENCE, body.collect()).await.expect("in time").expect("a whole body");
    assert!(body.trailers().is_none(), "trailers that no browser can read");
    if head.status != StatusCode::OK {
        let code = head.status;
        return Answer { code, headers: head.headers, messages: Vec::new(), trailers: String::new() };
    }
    let (messages, trailers) = parts(body.to_bytes());
    Answer { code: head.status, headers: head.headers, messages, trailers }
}

async fn http1(app: &App, text: &str, body: &[u8]) -> String {
    let bytes = [text.replace('\n', "\r\n").as_bytes(), body].concat();
    String::from_utf8_lossy(&exchange(app.grpc_address(), &bytes).await).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_an_admitted_origin_lists_publishes_and_reads() {
    let ground = Ground::new().await;
    let app = ground.broker(&ADMITTED).await;
    let key = ground.key("acme").await;
    let bearer = format!("Bearer {key}");
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 1).await;
    let headers = [("authorization", bearer.as_str()), ("origin", PAGE)];
    let listed = call(&app, LIST_STREAMS, &headers, message(&v1::ListStreamsRequest::default())).await;
    assert_eq!((listed.code, listed.status().as_str()), (StatusCode::OK, "0"), "{}", listed.trailers);
    assert_eq!(listed.header("content-type"), "application/grpc-web+proto");
    assert_eq!(listed.header("access-control-allow-origin"), PAGE);
    assert!(listed.header("access-control-expose-headers").contains("grpc-status"));
    assert_eq!((listed.header("vary"), listed.header("access-control-allow-credentials")), ("origin", "true"));
    let page = v1::ListStreamsResponse::decode(listed.messages[0].clone()).expect("an answer");
    assert_eq!(page.streams[0].name, "orders");

    let publish = v1::PublishRequest { stream: "orders".into(), events: vec![event("x")], ..Default::default() };
    let published = call(&app, "/eventflow.v1.PublisherService/Publish", &headers, message(&publish)).await;
    assert_eq!(published.status(), "0", "{}", published.trailers);
    // A stream of answers comes as it is made, and its end as the last part.
    let read = v1::ReadRequest { stream: "orders".into(), ..Default::default() };
    let read = call(&app, "/eventflow.v1.LogService/Read", &headers, message(&read)).await;
    assert!(read.status() == "0" && !read.messages.is_empty(), "{}", read.trailers);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_works_over_http1_without_a_browser() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let body = message(&v1::ListStreamsRequest::default());
    let head = format!(
        "POST {LIST_STREAMS} HTTP/1.1\nhost: x\ncontent-type: application/grpc-web\nauthorization: Bearer {key}\n\
         content-length: {}\nconnection: close\n\n",
        body.len()
    );
    let answer = http1(&app, &head, &body).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("grpc-status: 0"), "{answer}");
    assert!(!answer.contains("access-control-"), "{answer}");
    // gRPC itself stays on HTTP/2.
    let answer = http1(&app, &head.replace("grpc-web", "grpc"), &body).await;
    assert!(answer.starts_with("HTTP/1.1 505 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_is_refused_before_anything_begins() {
    let ground = Ground::new().await;
    let app = ground.broker(&ADMITTED).await;
    let key = ground.key("acme").await;
    let bearer = format!("Bearer {key}");
    let stream = v1::Stream { name: "orders".into(), partitions: 1, ..Default::default() };
    let create = message(&v1::CreateStreamRequest { stream: Some(stream), ..Default::default() });
    for origin in
        ["https://evil.example", "http://console.example.com", "https://console.example.com.evil.example", "null"]
    {
        let headers = [("authorization", bearer.as_str()), ("origin", origin)];
        let answer = call(&app, "/eventflow.v1.StreamService/CreateStream", &headers, create.clone()).await;
        assert_eq!((answer.code, answer.status().as_str()), (StatusCode::OK, "7"), "{origin}");
        assert_eq!(answer.header("access-control-allow-origin"), "", "{origin}");
        let question = format!(
            "OPTIONS {LIST_STREAMS} HTTP/1.1\nhost: x\norigin: {origin}\naccess-control-request-method: POST\nconnection: close\n\n"
        );
        let answer = http1(&app, &question, b"").await;
        assert!(answer.starts_with("HTTP/1.1 403 ") && !answer.contains("access-control-"), "{answer}");
    }
    let mut clients = Clients::new(&app, &key).await;
    let found = clients.streams.list_streams(v1::ListStreamsRequest::default()).await.expect("a page").into_inner();
    assert!(found.streams.is_empty(), "a foreign page made {found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_that_asks_is_told_what_a_page_may_send_and_a_cookie_is_no_credential() {
    let ground = Ground::new().await;
    let app = ground.broker(&ADMITTED).await;
    let key = ground.key("acme").await;
    let question = format!(
        "OPTIONS {LIST_STREAMS} HTTP/1.1\nhost: x\norigin: {PAGE}\naccess-control-request-method: POST\n\
         access-control-request-headers: authorization,x-grpc-web\nconnection: close\n\n"
    );
    let answer = http1(&app, &question, b"").await.to_lowercase();
    assert!(answer.starts_with("http/1.1 204 "), "{answer}");
    for line in [
        format!("access-control-allow-origin: {PAGE}"),
        "access-control-allow-methods: post".to_owned(),
        "access-control-allow-headers: authorization, content-type, grpc-timeout".to_owned(),
        "access-control-allow-credentials: true".to_owned(),
        "vary: origin".to_owned(),
    ] {
        assert!(answer.contains(&line), "no `{line}` in {answer}");
    }
    assert!(!answer.contains("origin: *") && !answer.contains("cookie"), "{answer}");
    let cookie = format!("authorization=Bearer {key}");
    let headers = [("cookie", cookie.as_str()), ("origin", PAGE)];
    let refused = call(&app, LIST_STREAMS, &headers, message(&v1::ListStreamsRequest::default())).await;
    assert_eq!((refused.status().as_str(), refused.header("access-control-allow-origin")), ("16", PAGE));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_streams_requests_is_refused_to_browsers() {
    let ground = Ground::new().await;
    let app = ground.broker(&ADMITTED).await;
    let key = ground.key("acme").await;
    let bearer = format!("Bearer {key}");
    for path in ["/eventflow.v1.PublisherService/PublishStream", "/eventflow.v1.ConsumerService/Commit"] {
        let headers = [("authorization", bearer.as_str()), ("origin", PAGE)];
        let answer = call(&app, path, &headers, Bytes::new()).await;
        assert_eq!((answer.code, answer.status().as_str()), (StatusCode::OK, "12"), "{path}");
    }
    let text = [("content-type", "application/grpc-web-text"), ("origin", PAGE)];
    let answer = call(&app, LIST_STREAMS, &text, Bytes::new()).await;
    assert_eq!(answer.code, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_over_http_is_guarded() {
    let ground = Ground::new().await;
    let app = ground.broker(&ADMITTED).await;
    let guards = [
        "content-security-policy: default-src 'none'; frame-ancestors 'none'",
        "x-content-type-options: nosniff",
        "x-frame-options: DENY",
        "referrer-policy: no-referrer",
    ];
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    for path in ["/livez", "/readyz", "/metrics", "/.well-known/jwks.json", "/nothing"] {
        let answer = exchange(app.http_address(), get(path).as_bytes()).await;
        let answer = String::from_utf8_lossy(&answer);
        guards.iter().for_each(|guard| assert!(answer.contains(guard), "no `{guard}` at {path}: {answer}"));
    }
    let asked = format!("OPTIONS / HTTP/1.1\nhost: x\norigin: {PAGE}\nconnection: close\n\n");
    let foreign = asked.replace(PAGE, "https://evil.example");
    let call = "POST / HTTP/1.1\nhost: x\ncontent-type: application/grpc-web\ncontent-length: 0\nconnection: close\n\n";
    for text in [get("/").as_str(), &asked, &foreign, call] {
        let answer = http1(&app, &text.replace("\r\n", "\n"), b"").await;
        guards.iter().for_each(|guard| assert!(answer.contains(guard), "no `{guard}` for {text}: {answer}"));
        // Plaintext cannot ask for TLS.
        assert!(!answer.contains("strict-transport-security"), "{answer}");
    }
}
