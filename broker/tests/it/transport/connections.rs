//! Peers that misbehave below gRPC: their connection ends, others do not notice.

use super::{
    fixture::{Server, Setup, list},
    wire::{EMPTY_SETTINGS, PATIENCE, PREFACE, exchange, goaways, until_closed},
};
use eventflow_broker::grpc::layers::CallLimits;
use futures_util::future::join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const ENHANCE_YOUR_CALM: u32 = 11;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_say_what_it_speaks_is_closed_in_time() {
    let server = Server::start().await;
    for begun in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM", b"GET /livez HTTP/1.1\r\nhost: x\r\n"] {
        exchange(server.address, begun).await;
    }
    server.serves_others().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_against_the_plaintext_port_is_closed_at_once_and_quietly() {
    let server = Server::start().await;
    let hello = [&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03][..], &[7; 512]].concat();
    assert!(exchange(server.address, &hello).await.is_empty());
    server.serves_others().await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_is_told_what_the_port_is() {
    let server = Server::start().await;
    for request in ["GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n", "GET / HTTP/1.0\r\n\r\n"] {
        let answer = exchange(server.address, request.as_bytes()).await;
        let text = String::from_utf8_lossy(&answer);
        assert!(text.contains(" 415 ") && text.contains("this port speaks gRPC"), "{text}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broken_frames_end_their_own_connection() {
    let server = Server::start().await;
    let client = server.client().await;
    let cases: [&[u8]; 5] = [
        // A frame larger than allowed.
        &[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1],
        // DATA on a stream that was never opened.
        &[0, 0, 1, 0, 0, 0, 0, 0, 5, 42],
        // HEADERS that HPACK cannot read.
        &[0, 0, 3, 1, 4, 0, 0, 0, 1, 0xff, 0xff, 0xff],
        // SETTINGS of a wrong length.
        &[0, 0, 5, 4, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5],
        // CONTINUATION without HEADERS.
        &[0, 0, 0, 9, 4, 0, 0, 0, 1],
    ];
    for broken in cases {
        let answer = exchange(server.address, &[PREFACE, EMPTY_SETTINGS, broken].concat()).await;
        assert!(!goaways(&answer).is_empty(), "{broken:?} gave {answer:?}");
        client.clone().list_events(server.keyed(list("hello"))).await.expect("others do not notice");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_resets_and_of_empty_frames_is_sent_away() {
    let server = Server::start().await;
    let client = server.client().await;

    let mut resets = [PREFACE, EMPTY_SETTINGS].concat();
    for stream in (1..20_000_u32).step_by(2) {
        // :method POST, :scheme http, :path / and the end of the headers; then CANCEL.
        resets.extend([0, 0, 3, 1, 4]);
        resets.extend(stream.to_be_bytes());
        resets.extend([0x83, 0x86, 0x84]);
        resets.extend([0, 0, 4, 3, 0]);
        resets.extend(stream.to_be_bytes());
        resets.extend([0, 0, 0, 8]);
    }
    assert_eq!(goaways(&exchange(server.address, &resets).await).last(), Some(&ENHANCE_YOUR_CALM));

    // Continuations without an end.
    let mut headers = [PREFACE, EMPTY_SETTINGS, &[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x83]].concat();
    for _ in 0..10_000 {
        headers.extend([0, 0, 0, 9, 0, 0, 0, 0, 1]);
    }
    assert!(!goaways(&exchange(server.address, &headers).await).is_empty());

    client.clone().list_events(server.keyed(list("hello"))).await.expect("others do not notice");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_pings_settings_and_priorities_stops_nobody() {
    let server = Server::start().await;
    let client = server.client().await;
    let ping = [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], &[7; 8]].concat();
    let window = [&[0, 0, 4, 8, 0, 0, 0, 0, 0][..], &[0, 0, 0, 1]].concat();
    let priority = [&[0, 0, 5, 2, 0, 0, 0, 0, 1][..], &[0, 0, 0, 3, 16]].concat();
    for flood in [ping, EMPTY_SETTINGS.to_vec(), window, priority] {
        let mut stream = TcpStream::connect(server.address).await.expect("connect");
        stream.write_all(&[PREFACE, EMPTY_SETTINGS].concat()).await.expect("a beginning");
        let flood = flood.repeat(1_000);
        // Nothing is read: answers that nobody takes must not pile up, so the server may stop reading, or hang up.
        let flooding = async {
            for _ in 0..1_000 {
                if stream.write_all(&flood).await.is_err() {
                    break;
                }
            }
            std::future::pending::<()>().await;
        };
        let others = async {
            for _ in 0..50 {
                client.clone().list_events(server.keyed(list("hello"))).await.expect("others do not notice");
            }
        };
        let served = async {
            tokio::select! { () = others => {}, () = flooding => {} }
        };
        timeout(PATIENCE, served).await.expect("others are served meanwhile");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_beyond_the_limit_fail_their_call_only() {
    let server = Server::start().await;
    let mut client = server.client().await;
    let mut request = server.keyed(list("hello"));
    request.metadata_mut().insert("x-large", "x".repeat(20 * 1024).parse().expect("header"));
    client.list_events(request).await.expect_err("too large");
    client.list_events(server.keyed(list("hello"))).await.expect("the connection lives");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_cap_are_closed_at_once_until_one_goes() {
    let mut setup = Setup::default();
    setup.options.max_connections = 3;
    let server = Server::start_with(setup).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(server.address).await.expect("connect");
        stream.write_all(&[PREFACE, EMPTY_SETTINGS].concat()).await.expect("write");
        // The server's own settings: it has taken the connection.
        let mut settings = [0; 9];
        stream.read_exact(&mut settings).await.expect("settings");
        held.push(stream);
    }
    let refused = TcpStream::connect(server.address).await.expect("connect");
    assert!(until_closed(refused).await.is_empty());

    held.pop();
    // poll: the server has to see the end of the connection first.
    let place = async {
        loop {
            let mut stream = TcpStream::connect(server.address).await.expect("connect");
            let _ = stream.write_all(&[PREFACE, EMPTY_SETTINGS].concat()).await;
            let mut settings = [0; 9];
            if stream.read_exact(&mut settings).await.is_ok() {
                return;
            }
        }
    };
    timeout(PATIENCE, place).await.expect("a place becomes free");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_connections_stops_nobody() {
    let server = Server::start().await;
    let client = server.client().await;
    let flood = join_all((0..600).map(|number| {
        let bytes: &[u8] = if number % 2 == 0 { b"\x00\x01nonsense\r\n\r\n" } else { b"" };
        exchange(server.address, bytes)
    }));
    let calls = join_all((0..100).map(|_| {
        let (mut client, request) = (client.clone(), server.keyed(list("hello")));
        async move { client.list_events(request).await.map(drop) }
    }));
    let (_, calls) = tokio::join!(flood, calls);
    assert!(calls.iter().all(Result::is_ok), "{calls:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_calls_at_once_over_one_connection_are_served() {
    let server = Server::start().await;
    let client = server.client().await;
    let calls = join_all((0..10_000).map(|_| {
        let (mut client, request) = (client.clone(), server.keyed(list("hello")));
        async move { client.list_events(request).await.map(drop) }
    }));
    let answers = timeout(PATIENCE, calls).await.expect("in time");
    assert!(answers.iter().all(Result::is_ok));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_the_limit_are_shed_with_retry_info_until_one_ends() {
    let limits = CallLimits { unary: 2, streams: 2 };
    let server = Server::start_with(Setup { limits, ..Setup::default() }).await;
    let client = server.client().await;
    let waiting = || {
        let (mut client, request) = (client.clone(), server.keyed(list("forever")));
        Box::pin(async move { client.list_events(request).await.map(drop) })
    };
    let (mut one, mut two) = (waiting(), waiting());
    tokio::select! {
        _ = &mut one => unreachable!("it waits for ever"),
        _ = &mut two => unreachable!("it waits for ever"),
        () = async { server.one_entered().await; server.one_entered().await } => {}
    }
    let error = client.clone().list_events(server.keyed(list("hello"))).await.expect_err("shed");
    super::calls::assert_reason(&error, tonic::Code::ResourceExhausted, "OVERLOADED");

    // A cancelled call gives its place back.
    drop(one);
    // poll: the cancellation travels to the server.
    let served = async { while client.clone().list_events(server.keyed(list("hello"))).await.is_err() {} };
    tokio::select! {
        _ = &mut two => unreachable!("it waits for ever"),
        served = timeout(PATIENCE, served) => served.expect("a place becomes free"),
    }
    drop(two);
    server.stop().await;
}
