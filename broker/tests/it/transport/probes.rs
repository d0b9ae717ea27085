//! The plaintext port over real sockets.

use super::wire::exchange;
use eventflow_broker::{
    grpc::accept,
    http::{self, Pages},
    runtime::{Condition, Kind, Readiness, Tasks},
    telemetry::lag::LagBoard,
};
use std::net::SocketAddr;

async fn start() -> (SocketAddr, Readiness, Tasks) {
    let listener = accept::bind("127.0.0.1:0".parse().expect("address")).expect("a free port");
    let address = listener.local_addr().expect("address");
    let (readiness, tasks) = (Readiness::starting(), Tasks::new());
    let pages = Pages {
        readiness: readiness.clone(),
        lags: LagBoard::default(),
        alerts: Default::default(),
        public_keys: Default::default(),
    };
    tasks.spawn(Kind::Http, http::run(listener, pages, tasks.clone()));
    (address, readiness, tasks)
}

async fn get(address: SocketAddr, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    String::from_utf8(exchange(address, request.as_bytes()).await).expect("utf-8")
}

#[tokio::test]
async fn probes_see_life_readiness_and_its_reasons() {
    let (address, readiness, tasks) = start().await;
    assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200 "));
    let starting = get(address, "/readyz").await;
    assert!(starting.starts_with("HTTP/1.1 503 ") && starting.contains("\"condition\":\"starting\""), "{starting}");
    readiness.clear(Condition::Starting);
    assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200 "));
    readiness.raise(Condition::UnsafeDurability, "fsync is off");
    let unsafe_now = get(address, "/readyz").await;
    assert!(unsafe_now.contains("unsafe_durability") && unsafe_now.contains("fsync is off"), "{unsafe_now}");
    assert!(get(address, "/metrics").await.contains("# TYPE eventflow_publish_events_total counter"));
    tasks.stop();
    tasks.wait().await;
}

#[tokio::test]
async fn nonsense_and_large_headers_end_their_connection_only() {
    let (address, _, tasks) = start().await;
    let large = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(64 * 1024));
    for bytes in [&b"\x16\x03\x01\x02\x00\x01"[..], b"\0\0\0\0\r\n\r\n", large.as_bytes()] {
        let answer = exchange(address, bytes).await;
        assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    }
    assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200 "));
    tasks.stop();
    tasks.wait().await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_a_way_out() {
    let (address, _, tasks) = start().await;
    let error = accept::bind(address).expect_err("taken");
    assert_eq!(error.reason().as_str(), "PORT_TAKEN");
    assert!(error.message().contains(&address.to_string()) && error.message().contains("choose another"));
    tasks.stop();
    tasks.wait().await;
}
