//! Connections that die without a word, and clients that take little at a time.

use crate::support::{Clients, Ground, appended, event, text};
use eventflow::{Client, ClientOptions};
use eventflow_proto::v1;
use eventflow_testkit::{Direction, TcpProxy, WithKey, within};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_stream::StreamExt;
use tonic::transport::Endpoint;

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_whose_connection_dies_without_a_word_goes_on_elsewhere_and_misses_nothing() {
    let ground = Ground::new().await;
    let times = [("delivery.heartbeat_ms", "250"), ("delivery.silence_limit_ms", "1000")];
    let (one, other) = (ground.broker(&times).await, ground.broker(&times).await);
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&one, &key).await;
    clients.create_stream("orders", 2).await;
    clients.create_group("billing", "orders").await;
    let proxies = [TcpProxy::start(one.grpc_address()), TcpProxy::start(other.grpc_address())];
    let hosts = proxies.each_ref().map(|proxy| proxy.address().to_string()).join(",");
    let options = ClientOptions::new(&format!("eventflow://{hosts}?tls=off")).expect("a url").api_key(key);
    let client = Client::connect_with(options).await.expect("connected");
    let mut consumer = client.consumer("billing").build().await.expect("joined");
    let mut seen = BTreeSet::new();
    let mut until = async |count: usize| {
        let reading = async {
            while seen.len() < count {
                let record = consumer.next().await.expect("more").expect("an event");
                seen.insert((record.partition(), record.offset()));
            }
        };
        within("events", reading).await;
    };
    let large = "x".repeat(50_000);
    for partition in 0..2 {
        clients.publish("orders", partition, &[&large, &large]).await;
    }
    until(4).await;

    // Neither side hears that the connection is gone, and new ones to that broker lead nowhere either.
    let dead = proxies.iter().max_by_key(|proxy| proxy.counters().bytes_down).expect("two");
    dead.stall(Direction::Up);
    dead.stall(Direction::Down);
    for partition in 0..2 {
        clients.publish("orders", partition, &["a", "b", "c"]).await;
    }
    until(10).await;
    assert!(dead.counters().listening, "it only says nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_frames_both_ways_through_the_smallest_windows_end() {
    let ground = Ground::new().await;
    let app = ground.broker(&[]).await;
    let key = ground.key("acme").await;
    let mut clients = Clients::new(&app, &key).await;
    clients.create_stream("orders", 1).await;
    clients.create_group("billing", "orders").await;
    // A client that lets the broker send a thousand bytes of a stream at a time, over one connection for both directions.
    let endpoint = Endpoint::from_shared(format!("http://{}", app.grpc_address())).expect("a url");
    let channel = endpoint.initial_stream_window_size(1_000).initial_connection_window_size(65_535);
    let channel = channel.connect_timeout(Duration::from_secs(10)).connect().await.expect("a connection");
    let mut publisher =
        v1::publisher_service_client::PublisherServiceClient::with_interceptor(channel.clone(), WithKey::new(&key));
    let log = v1::log_service_client::LogServiceClient::with_interceptor(channel, WithKey::new(&key));
    let follow = v1::ReadRequest { stream: "orders".into(), follow: true, ..Default::default() };
    let mut frames = log.max_decoding_message_size(8 << 20).read(follow).await.expect("a read").into_inner();
    let payload = "x".repeat(900_000);
    const EVENTS: usize = 12;
    let requests = tokio_stream::iter((0..EVENTS).map(move |_| v1::PublishStreamRequest {
        publish: Some(v1::PublishRequest {
            stream: "orders".into(),
            partition: Some(0),
            events: vec![event(&payload)],
            ..Default::default()
        }),
    }));
    let publishing = async {
        let mut answers = publisher.publish_stream(requests).await.expect("a stream").into_inner();
        let mut offsets = Vec::new();
        while let Some(answer) = answers.message().await.expect("an answer") {
            match answer.answer.expect("set") {
                v1::publish_stream_response::Answer::Published(published) => {
                    offsets.push(appended(&published.results[0]).base_offset);
                }
                v1::publish_stream_response::Answer::Error(error) => panic!("{error:?}"),
            }
        }
        offsets
    };
    let reading = async {
        let mut bytes = 0;
        while bytes < EVENTS * 900_000 {
            let frame = frames.message().await.expect("a frame").expect("more");
            if let Some(v1::read_response::Frame::Batch(batch)) = frame.frame {
                bytes += batch.head.events.iter().map(|event| text(event).len()).sum::<usize>();
            }
        }
        bytes
    };
    let both = async { tokio::join!(publishing, reading) };
    let (offsets, bytes) = within("large frames both ways", both).await;
    assert_eq!(offsets, (0..EVENTS as i64).collect::<Vec<_>>());
    assert_eq!(bytes, EVENTS * 900_000);
}
