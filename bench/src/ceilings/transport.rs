//! A bare bidirectional stream of tonic on loopback: batches of 1,000 events go out, answers come back, nothing is kept.
//! Client and server share this process.

use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;
use eventflow_proto::v1::publisher_service_client::PublisherServiceClient;
use eventflow_proto::v1::publisher_service_server::{PublisherService, PublisherServiceServer};
use eventflow_proto::v1::{self, event::Payload, partition_result::Outcome, publish_stream_response::Answer};
use futures_util::{Stream, StreamExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

use crate::Result;
use crate::figures::Sample;
use crate::payloads::{Kind, Pool};

const BATCH_EVENTS: usize = 1_000;
/// Batches on their way.
const IN_FLIGHT: usize = 16;
const WINDOW: u32 = 4 << 20;

pub async fn measure(span: Duration) -> Result<Vec<Sample>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let server = tonic::transport::Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .add_service(PublisherServiceServer::new(Answering))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let server = tokio::spawn(server);
    let outcome = drive(url, span).await;
    server.abort();
    Ok(vec![Sample::new("transport_ceiling", outcome?)])
}

async fn drive(url: String, span: Duration) -> Result<f64> {
    let channel = tonic::transport::Endpoint::from_shared(url)?
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .tcp_nodelay(true)
        .connect()
        .await?;
    let mut client = PublisherServiceClient::new(channel);
    let (requests, sent) = mpsc::channel(IN_FLIGHT);
    let mut pool = Pool::new(Kind::Json, 200);
    let event = |payload: Bytes| v1::Event { payload: Some(Payload::Data(payload)), ..v1::Event::default() };
    let publish = v1::PublishRequest {
        stream: "transport".into(),
        events: (0..BATCH_EVENTS).map(|_| event(pool.next())).collect(),
        ..v1::PublishRequest::default()
    };
    let request = v1::PublishStreamRequest { publish: Some(publish) };
    let sender = tokio::spawn(async move { while requests.send(request.clone()).await.is_ok() {} });
    let mut answers = client.publish_stream(ReceiverStream::new(sent)).await?.into_inner();
    let start = Instant::now();
    let mut events = 0;
    while start.elapsed() < span {
        answers.message().await?.ok_or("the stream ended")?;
        events += BATCH_EVENTS;
    }
    let rate = events as f64 / start.elapsed().as_secs_f64();
    sender.abort();
    Ok(rate)
}

/// Answers every batch, and keeps nothing.
struct Answering;

#[tonic::async_trait]
impl PublisherService for Answering {
    async fn publish(&self, _: Request<v1::PublishRequest>) -> Result<Response<v1::PublishResponse>, Status> {
        Err(Status::unimplemented("only streams are measured"))
    }

    type PublishStreamStream = Pin<Box<dyn Stream<Item = Result<v1::PublishStreamResponse, Status>> + Send>>;

    async fn publish_stream(
        &self,
        requests: Request<Streaming<v1::PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let answers = requests.into_inner().map(|request| {
            let events = request?.publish.map_or(0, |publish| publish.events.len());
            let appended = v1::Appended { event_count: events as u32, ..v1::Appended::default() };
            let result = v1::PartitionResult { outcome: Some(Outcome::Appended(appended)), ..Default::default() };
            let answer = Answer::Published(v1::PublishResponse { results: vec![result] });
            Ok(v1::PublishStreamResponse { answer: Some(answer) })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}
