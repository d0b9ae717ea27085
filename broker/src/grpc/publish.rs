//! `PublisherService`.

use crate::domain::Error;
use crate::grpc::convert::publish::{producer, request, response};
use crate::grpc::convert::trace::Trace;
use crate::grpc::layers::caller;
use crate::grpc::status::to_error_status;
use crate::identity::{Granted, Publish, authorize};
use crate::publish::chain::Chain;
use crate::publish::{Publisher, Queued};
use crate::runtime::Tasks;
use crate::telemetry::metrics;
use eventflow_proto::v1::{
    PublishRequest, PublishResponse, PublishStreamRequest, PublishStreamResponse, publish_stream_response::Answer,
    publisher_service_server::PublisherService,
};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;

/// Requests of one publish stream that are under way; what comes then waits at the client.
const PIPELINED: usize = 256;
/// Answers that wait for the client to read them.
const ANSWERS: usize = 64;

/// Publishing, over the publisher.
pub struct PublishService {
    publisher: Publisher,
    tasks: Tasks,
}

impl PublishService {
    pub fn new(publisher: Publisher, tasks: Tasks) -> Self {
        Self { publisher, tasks }
    }
}

#[tonic::async_trait]
impl PublisherService for PublishService {
    async fn publish(&self, call: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        let caller = caller(&call)?;
        let granted = authorize(&caller, Publish)?;
        let started = Instant::now();
        let trace = Trace::of(call.metadata());
        let request = request(call.into_inner(), &caller.publisher(), trace.as_ref())?;
        let span = tracing::debug_span!("publish", stream = %request.stream, events = request.events.len());
        let queued = self.publisher.publish(&granted, request, None).instrument(span).await?;
        let answer = response(self.publisher.settle(queued, None).await);
        metrics::get().publish_seconds.record(started.elapsed());
        Ok(Response::new(answer))
    }

    type PublishStreamStream = ReceiverStream<Result<PublishStreamResponse, Status>>;

    async fn publish_stream(
        &self,
        call: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let caller = caller(&call)?;
        let granted = authorize(&caller, Publish)?;
        let (name, trace) = (caller.publisher(), Trace::of(call.metadata()));
        let (pending, waiting) = mpsc::channel(PIPELINED);
        let (answers, receiver) = mpsc::channel(ANSWERS);
        let (publisher, chain) = (self.publisher.clone(), Chain::default());
        let settling = answer_in_order(publisher.clone(), chain.clone(), waiting, answers.clone());
        let intake = Intake { publisher, granted, name, trace, chain, pending };
        let requests = call.into_inner();
        self.tasks.spawn_call(intake.run(requests, answers));
        self.tasks.spawn_call(settling);
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}

/// A request of a publish stream: queued, or refused as a whole.
type Waiting = (Instant, Result<Queued, Error>);

/// Takes requests off a publish stream, one after the other: that is their order.
struct Intake {
    publisher: Publisher,
    granted: Granted<Publish>,
    /// Who publishes, as events keep it.
    name: Arc<str>,
    trace: Option<Trace>,
    chain: Chain,
    pending: mpsc::Sender<Waiting>,
}

impl Intake {
    async fn run(
        self,
        mut requests: Streaming<PublishStreamRequest>,
        answers: mpsc::Sender<Result<PublishStreamResponse, Status>>,
    ) {
        loop {
            // Room for the answer first: a client that does not read its answers is not read either.
            let Ok(room) = self.pending.reserve().await else { return };
            match requests.message().await {
                Ok(Some(frame)) => {
                    let started = Instant::now();
                    room.send((started, self.queue(frame.publish.unwrap_or_default()).await));
                }
                Ok(None) => return,
                // A broken frame ends the stream; what was queued before is still answered by its own task.
                Err(status) => {
                    drop(room);
                    drop(self.pending);
                    let _ = answers.send(Err(status)).await;
                    return;
                }
            }
        }
    }

    async fn queue(&self, wire: PublishRequest) -> Result<Queued, Error> {
        let (stream, partition) = (wire.stream.clone(), wire.partition);
        let numbered = producer(wire.producer.as_ref()).ok().flatten();
        match request(wire, &self.name, self.trace.as_ref()) {
            Ok(request) => {
                let span = tracing::debug_span!("publish", stream = %request.stream, events = request.events.len());
                self.publisher.publish(&self.granted, request, Some(&self.chain)).instrument(span).await
            }
            Err(error) => {
                self.publisher.refuse(&self.granted, &stream, partition, numbered, &error, &self.chain).await;
                Err(error)
            }
        }
    }
}

/// Waits for each request's outcome in turn and sends it.
async fn answer_in_order(
    publisher: Publisher,
    chain: Chain,
    mut waiting: mpsc::Receiver<Waiting>,
    answers: mpsc::Sender<Result<PublishStreamResponse, Status>>,
) {
    while let Some((started, queued)) = waiting.recv().await {
        let answer = match queued {
            Ok(queued) => Answer::Published(response(publisher.settle(queued, Some(&chain)).await)),
            Err(error) => Answer::Error(to_error_status(&error)),
        };
        metrics::get().publish_seconds.record(started.elapsed());
        if answers.send(Ok(PublishStreamResponse { answer: Some(answer) })).await.is_err() {
            return;
        }
    }
}
