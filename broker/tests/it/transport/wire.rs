//! Bytes that no proper client would send.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tonic::{Status, body::Body, transport::Channel};
use tower::{Service, ServiceExt};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const EMPTY_SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
/// Longer than any wait in these tests should take; it only bounds a failure.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A gRPC frame of `message` with this compression flag.
pub fn frame(flag: u8, message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(message.len() + 5);
    bytes.put_u8(flag);
    bytes.put_u32(u32::try_from(message.len()).expect("short"));
    bytes.put_slice(message);
    bytes.freeze()
}

pub fn message(message: &impl Message) -> Bytes {
    frame(0, &message.encode_to_vec())
}

/// A request as it stands, with gRPC's headers unless overwritten.
pub fn request(path: &str, headers: &[(&str, &str)], body: Bytes) -> Request<Body> {
    let mut request = Request::post(format!("http://test{path}")).body(Body::new(Full::new(body))).expect("request");
    let fixed = [("content-type", "application/grpc"), ("te", "trailers")];
    for (name, value) in fixed.iter().chain(headers) {
        let name: http::HeaderName = name.parse().expect("name");
        request.headers_mut().insert(name, value.parse().expect("value"));
    }
    request
}

/// Sends it over a client's connection.
pub async fn send(channel: &Channel, request: Request<Body>) -> Response<Body> {
    let mut channel = channel.clone();
    let ready = channel.ready().await.expect("connected");
    timeout(PATIENCE, ready.call(request)).await.expect("in time").expect("an answer")
}

/// The same over a connection of its own, without a client that has views on deadlines.
#[expect(clippy::disallowed_methods, reason = "the client's own connection, which ends with the test")]
pub async fn send_bare(address: SocketAddr, request: Request<Body>) -> Response<Incoming> {
    let stream = TcpStream::connect(address).await.expect("connect");
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.expect("handshake");
    tokio::spawn(connection);
    timeout(PATIENCE, sender.send_request(request)).await.expect("in time").expect("an answer")
}

/// The status of an answer, from its headers or trailers, and all headers before it.
pub async fn status<B>(response: Response<B>) -> (Status, HeaderMap)
where
    B: http_body::Body<Error: std::fmt::Debug>,
{
    let (parts, body) = response.into_parts();
    if let Some(status) = Status::from_header_map(&parts.headers) {
        return (status, parts.headers);
    }
    let collected = timeout(PATIENCE, body.collect()).await.expect("in time").expect("a whole body");
    let trailers = collected.trailers().expect("trailers");
    (Status::from_header_map(trailers).expect("a status"), parts.headers)
}

/// Everything that the server says to these bytes before it closes the connection.
pub async fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("connect");
    // The server may close while we still write.
    let _ = stream.write_all(bytes).await;
    until_closed(stream).await
}

/// Reads until the server closes, which it must do in time.
pub async fn until_closed(mut stream: TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the server closes in time");
    // A reset is a close too, when the server had not read all that we sent.
    drop(read);
    answer
}

/// The error codes of all GOAWAY frames in an HTTP/2 answer.
pub fn goaways(mut answer: &[u8]) -> Vec<u32> {
    let mut codes = Vec::new();
    while answer.len() >= 9 {
        let length = usize::from(answer[0]) << 16 | usize::from(answer[1]) << 8 | usize::from(answer[2]);
        let (kind, body) = (answer[3], &answer[9..]);
        if body.len() < length {
            break;
        }
        if kind == 7 {
            codes.push(u32::from_be_bytes(body[4..8].try_into().expect("four bytes")));
        }
        answer = &body[length..];
    }
    codes
}
