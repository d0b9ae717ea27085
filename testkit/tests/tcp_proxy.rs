//! Each fault of the TCP proxy, seen from a client of an echo server.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test may panic and spawn")]

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use eventflow_testkit::{Direction, TcpProxy, Upstream, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::Instant;

/// A server that sends everything back.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    address
}

async fn proxied() -> (TcpProxy, TcpStream) {
    let proxy = TcpProxy::start(echo().await);
    let client = TcpStream::connect(proxy.address()).await.unwrap();
    (proxy, client)
}

async fn round_trip(client: &mut TcpStream, bytes: &[u8]) {
    client.write_all(bytes).await.unwrap();
    let mut answer = vec![0; bytes.len()];
    let read = within("the echo", client.read_exact(&mut answer)).await;
    read.unwrap();
    assert_eq!(answer, bytes);
}

async fn error_of_read(client: &mut TcpStream) -> ErrorKind {
    let mut byte = [0];
    within("the end", client.read_exact(&mut byte)).await.unwrap_err().kind()
}

#[tokio::test]
async fn bytes_pass_and_are_counted_and_the_end_passes_too() {
    let (proxy, mut client) = proxied().await;
    round_trip(&mut client, b"hello").await;
    client.shutdown().await.unwrap();
    assert_eq!(error_of_read(&mut client).await, ErrorKind::UnexpectedEof);
    let counters = proxy.wait_for(|counters| counters.open == 0).await;
    assert_eq!((counters.bytes_up, counters.bytes_down), (5, 5));
    assert_eq!((counters.accepted, counters.ended_by_proxy), (1, 0));
}

#[tokio::test]
async fn a_delay_moves_bytes_in_time_and_keeps_their_order() {
    let (proxy, mut client) = proxied().await;
    let delay = Duration::from_millis(50);
    proxy.delay_jittered(Direction::Up, delay, delay);
    proxy.delay(Direction::Down, delay);
    let began = Instant::now();
    for chunk in 0..20_u8 {
        client.write_all(&[chunk; 1000]).await.unwrap();
        client.flush().await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = vec![0; 20_000];
    client.read_exact(&mut answer).await.unwrap();
    // bound: the delay itself, once for each direction
    assert!(began.elapsed() >= 2 * delay);
    assert!(answer.is_sorted());
}

#[tokio::test]
async fn a_throttle_limits_the_rate() {
    let (proxy, mut client) = proxied().await;
    proxy.throttle(Direction::Up, 50_000);
    let began = Instant::now();
    round_trip(&mut client, &[7; 10_000]).await;
    // bound: 10,000 bytes at 50,000 a second, less the last step
    assert!(began.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn a_stall_keeps_the_connection_and_delivers_later() {
    let (proxy, mut client) = proxied().await;
    round_trip(&mut client, b"before").await;
    proxy.stall(Direction::Down);
    client.write_all(b"during").await.unwrap();
    let counters = proxy.wait_for(|counters| counters.bytes_up == 12).await;
    assert_eq!(counters.bytes_down, 6);
    proxy.resume(Direction::Down);
    let mut answer = [0; 6];
    client.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"during");
}

#[tokio::test]
async fn a_cut_delivers_exactly_its_bytes() {
    let (proxy, mut client) = proxied().await;
    proxy.cut_after(Direction::Up, 3);
    client.write_all(b"12345").await.unwrap();
    let counters = proxy.wait_for(|counters| counters.ended_by_proxy == 1).await;
    assert_eq!(counters.bytes_up, 3);
    let mut again = TcpStream::connect(proxy.address()).await.unwrap();
    round_trip(&mut again, b"only once").await;
}

#[tokio::test]
async fn a_reset_and_a_close_look_different() {
    let (proxy, mut client) = proxied().await;
    round_trip(&mut client, b"x").await;
    proxy.reset_all().await;
    assert_eq!(error_of_read(&mut client).await, ErrorKind::ConnectionReset);

    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    round_trip(&mut client, b"x").await;
    proxy.close_all().await;
    assert_eq!(error_of_read(&mut client).await, ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn refused_means_refused_by_the_kernel_and_spares_open_connections() {
    let (proxy, mut client) = proxied().await;
    round_trip(&mut client, b"x").await;
    proxy.refuse_new().await;
    let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    round_trip(&mut client, b"still here").await;
    proxy.accept_new().await;
    let mut next = TcpStream::connect(proxy.address()).await.unwrap();
    round_trip(&mut next, b"back").await;
}

#[tokio::test]
async fn a_unix_socket_can_stand_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let proxy = TcpProxy::start(Upstream::Unix(path));
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    client.write_all(b"hi").await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    let mut heard = [0; 2];
    server.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"hi");
}
