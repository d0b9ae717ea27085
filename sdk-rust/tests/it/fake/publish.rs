//! Publishing, with the sequence rules of the append and the order after refusals.

use std::{collections::BTreeMap, pin::Pin};

use eventflow_proto::v1::{
    self, partition_result::Outcome, publish_stream_response::Answer, publisher_service_server::PublisherService,
};
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Code, Request, Response, Status, Streaming};

use super::{Service, Tables, payload, refusal, status};

/// What goes wrong with one publish request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Appended, but the broker does not know it.
    UnknownApplied,
    /// Not appended, and the broker does not know it.
    UnknownNotApplied,
    /// Refused for now.
    Overloaded,
    /// Appended; then the stream ends without an answer.
    AppliedThenDropped,
    /// Another producer took over.
    Fenced,
    /// Not appended; then the stream ends without an answer.
    Dropped,
}

/// What the log knows of a producer in a partition.
#[derive(Default)]
pub struct Known {
    epoch: u32,
    next: i64,
    /// First number, events, base offset.
    runs: Vec<(i64, usize, i64)>,
}

/// An event with this payload is refused.
pub const BAD: &str = "bad";

impl Tables {
    fn publish(&mut self, blocked: &mut BTreeMap<(u32, Vec<u8>), i64>, request: v1::PublishRequest) -> Option<Outcome> {
        self.requests += 1;
        let partition = request.partition.expect("the client chooses");
        let producer = request.producer.as_ref().expect("the client is idempotent").clone();
        let place = (partition, producer.id.to_vec());
        if blocked.get(&place).is_some_and(|first| *first != producer.first_sequence) {
            return Some(Outcome::Error(refusal(Code::FailedPrecondition, "PRECEDING_FAILED", "no")));
        }
        blocked.remove(&place);
        let fault = self.faults.pop_front().unwrap_or(Fault::None);
        let outcome = match fault {
            Fault::Dropped => return None,
            Fault::Fenced => Outcome::Error(refusal(Code::FailedPrecondition, "PRODUCER_FENCED", "no")),
            Fault::Overloaded => Outcome::Error(refusal(Code::ResourceExhausted, "OVERLOADED", "no")),
            Fault::UnknownNotApplied => Outcome::Unknown(refusal(Code::Unavailable, "OUTCOME_UNKNOWN", "unknown")),
            _ => self.append(partition, &producer, &request),
        };
        if matches!(outcome, Outcome::Error(_)) {
            blocked.entry(place).or_insert(producer.first_sequence);
        }
        match (fault, &outcome) {
            (Fault::UnknownApplied, Outcome::Appended(_)) => {
                Some(Outcome::Unknown(refusal(Code::Unavailable, "OUTCOME_UNKNOWN", "unknown")))
            }
            (Fault::AppliedThenDropped, _) => None,
            _ => Some(outcome),
        }
    }

    fn append(&mut self, partition: u32, producer: &v1::Producer, request: &v1::PublishRequest) -> Outcome {
        let refused = |code, reason| Outcome::Error(refusal(code, reason, "no"));
        if request.events.iter().any(|event| payload(event) == BAD) {
            return refused(Code::InvalidArgument, "INVALID_ARGUMENT");
        }
        let key = (partition, producer.id.to_vec());
        if producer.first_sequence > 0 && !self.producers.contains_key(&key) {
            return refused(Code::FailedPrecondition, "PRODUCER_UNKNOWN");
        }
        let known = self.producers.entry(key).or_default();
        if producer.epoch > known.epoch && producer.first_sequence == 0 {
            *known = Known { epoch: producer.epoch, ..Known::default() };
        }
        if producer.epoch < known.epoch {
            return refused(Code::FailedPrecondition, "PRODUCER_FENCED");
        }
        if producer.first_sequence > known.next || producer.epoch > known.epoch {
            return refused(Code::FailedPrecondition, "OUT_OF_SEQUENCE");
        }
        if producer.first_sequence < known.next {
            let repeat = |run: &&(i64, usize, i64)| (run.0, run.1) == (producer.first_sequence, request.events.len());
            let run = known.runs.iter().find(repeat).expect("a repeat is the same request");
            return Outcome::Appended(appended(run.2, run.1, true));
        }
        if request.routing_version != self.routing_version {
            return refused(Code::FailedPrecondition, "STALE_ROUTING");
        }
        let log = self.log.entry(partition).or_default();
        let base = log.len() as i64;
        log.extend(request.events.iter().cloned());
        known.runs.push((known.next, request.events.len(), base));
        known.next += request.events.len() as i64;
        Outcome::Appended(appended(base, request.events.len(), false))
    }
}

fn appended(base_offset: i64, events: usize, duplicate: bool) -> v1::Appended {
    let append_time = Some(prost_types::Timestamp::default());
    v1::Appended { base_offset, event_count: events as u32, duplicate, append_time, ..v1::Appended::default() }
}

#[tonic::async_trait]
impl PublisherService for Service {
    async fn publish(&self, request: Request<v1::PublishRequest>) -> Result<Response<v1::PublishResponse>, Status> {
        assert!(request.into_inner().validate_only, "the client publishes over streams");
        // As `eventflow dev` does: the stream is made when somebody publishes to it.
        self.database.tables().missing = false;
        Ok(Response::new(v1::PublishResponse::default()))
    }

    type PublishStreamStream = Pin<Box<dyn Stream<Item = Result<v1::PublishStreamResponse, Status>> + Send>>;

    async fn publish_stream(
        &self,
        request: Request<Streaming<v1::PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let (answers, answered) = mpsc::channel(64);
        let database = self.database.clone();
        database.tables().streams += 1;
        let mut requests = request.into_inner();
        let serve = async move {
            let mut blocked = BTreeMap::new();
            while let Ok(Some(request)) = requests.message().await {
                let publish = request.publish.expect("a request");
                let partition = publish.partition.unwrap_or_default();
                let outcome = database.tables().publish(&mut blocked, publish);
                database.changed();
                let Some(outcome) = outcome else {
                    let drop = status(Code::Unavailable, "DATABASE_UNAVAILABLE", "the script ends the stream");
                    let _ = answers.send(Err(drop)).await;
                    return;
                };
                let result = v1::PartitionResult { partition, outcome: Some(outcome), ..Default::default() };
                let published = v1::PublishResponse { results: vec![result] };
                let answer = v1::PublishStreamResponse { answer: Some(Answer::Published(published)) };
                if answers.send(Ok(answer)).await.is_err() {
                    return;
                }
            }
        };
        tokio::runtime::Handle::current().spawn(serve);
        Ok(Response::new(Box::pin(ReceiverStream::new(answered))))
    }
}
