//! What a client says about ports that are not what it expects.

use eventflow::{Client, ClientOptions, ErrorKind};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};

use crate::fake::{Broker, Database};

/// Something that answers every connection with the same bytes.
async fn answering(bytes: &'static [u8]) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let serve = async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            let mut greeting = [0; 1024];
            let _ = tcp.read(&mut greeting).await;
            let _ = tcp.write_all(bytes).await;
            let _ = tcp.shutdown().await;
        }
    };
    (address, tokio::runtime::Handle::current().spawn(serve))
}

async fn reason(url: &str) -> (String, String) {
    let options = ClientOptions::new(url).expect("a connection string");
    let error = Client::connect_with(options).await.expect_err("no broker there");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    (error.reason().to_owned(), error.message().to_owned())
}

#[tokio::test]
async fn tls_against_a_plaintext_port_says_what_to_change() {
    let broker = Broker::start("a", &Database::new(1));
    let (reason, message) = reason(&format!("eventflow://{}?tls=on", broker.address)).await;
    assert_eq!(reason, "SERVER_SPEAKS_PLAINTEXT");
    assert!(message.contains("?tls=off"), "{message}");
}

#[tokio::test]
async fn plaintext_against_a_tls_port_says_what_to_change() {
    // What a TLS server says to what is not TLS: a fatal alert.
    let (address, server) = answering(&[0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x0a]).await;
    let (reason, message) = reason(&format!("eventflow://{address}")).await;
    assert_eq!(reason, "SERVER_SPEAKS_TLS", "{message}");
    assert!(message.contains("?tls=on"), "{message}");
    server.abort();
}

#[tokio::test]
async fn a_web_server_is_told_from_a_broker() {
    let (address, server) = answering(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert_eq!(reason(&format!("eventflow://{address}")).await.0, "NOT_A_BROKER");
    server.abort();
}

#[tokio::test]
async fn a_port_where_nothing_listens_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    drop(listener);
    let (reason, message) = reason(&format!("eventflow://{address}")).await;
    assert_eq!(reason, "CONNECTION_REFUSED");
    assert!(message.contains(&address), "{message}");
}

#[tokio::test]
async fn a_dead_host_is_passed_over() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let dead = listener.local_addr().expect("an address");
    drop(listener);
    let broker = Broker::start("a", &Database::new(1));
    let options = ClientOptions::new(&format!("eventflow://{dead},{}", broker.address))
        .expect("a connection string")
        .api_key("ef_live_test")
        .host_order(eventflow::HostOrder::AsGiven);
    let client = Client::connect_with(options).await.expect("the second host");
    assert_eq!(client.streams().get("orders").await.expect("a stream").partitions, 1);
}

#[tokio::test]
async fn a_missing_key_is_a_typed_error() {
    let broker = Broker::start("a", &Database::new(1));
    let options = ClientOptions::new(&format!("eventflow://{}", broker.address)).expect("a connection string");
    let client = Client::connect_with(options).await.expect("a broker");
    let error = client.streams().get("orders").await.expect_err("no key");
    assert_eq!((error.kind(), error.reason()), (ErrorKind::Unauthenticated, "UNAUTHENTICATED"));
}
