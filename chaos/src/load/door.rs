//! Raw gRPC, as a client without an SDK speaks it, and what its answers mean.

use std::net::SocketAddr;
use std::time::Duration;

use eventflow_proto::v1;
use eventflow_proto::v1::consumer_group_service_client::ConsumerGroupServiceClient;
use eventflow_proto::v1::consumer_service_client::ConsumerServiceClient;
use eventflow_proto::v1::log_service_client::LogServiceClient;
use eventflow_proto::v1::publisher_service_client::PublisherServiceClient;
use eventflow_proto::v1::stream_service_client::StreamServiceClient;
use eventflow_testkit::WithKey;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::Result;
use crate::history::Outcome;

/// Larger than any message of a broker.
const MESSAGE_BYTES: usize = 8 << 20;

type Wire = InterceptedService<Channel, WithKey>;

/// A connection of its own to one broker, made when it is used.
#[derive(Clone)]
pub struct Door {
    pub publisher: PublisherServiceClient<Wire>,
    pub consumer: ConsumerServiceClient<Wire>,
    pub log: LogServiceClient<Wire>,
    pub groups: ConsumerGroupServiceClient<Wire>,
    pub streams: StreamServiceClient<Wire>,
}

impl Door {
    pub fn to(address: SocketAddr, key: &str) -> Result<Door> {
        let channel =
            Endpoint::from_shared(format!("http://{address}"))?.connect_timeout(Duration::from_secs(2)).connect_lazy();
        let with_key = WithKey::new(key);
        Ok(Door {
            publisher: PublisherServiceClient::with_interceptor(channel.clone(), with_key.clone()),
            consumer: ConsumerServiceClient::with_interceptor(channel.clone(), with_key.clone())
                .max_decoding_message_size(MESSAGE_BYTES),
            log: LogServiceClient::with_interceptor(channel.clone(), with_key.clone())
                .max_decoding_message_size(MESSAGE_BYTES),
            groups: ConsumerGroupServiceClient::with_interceptor(channel.clone(), with_key.clone()),
            streams: StreamServiceClient::with_interceptor(channel, with_key),
        })
    }
}

/// What a failed call means for a write, and the reason to show.
pub fn failed(status: &Status) -> (Outcome, String) {
    let info = status.get_details_error_info();
    let reason = info.as_ref().map_or_else(|| format!("{:?}", status.code()), |info| info.reason.clone());
    let said_no = info.is_some_and(|info| info.metadata.get("applied").is_some_and(|applied| applied == "no"));
    let is_final = matches!(
        status.code(),
        Code::InvalidArgument
            | Code::Unauthenticated
            | Code::PermissionDenied
            | Code::NotFound
            | Code::Unimplemented
            | Code::OutOfRange
    );
    (if said_no || is_final { Outcome::Fail } else { Outcome::Info }, reason)
}

/// What became of one partition's part of a publish.
#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub outcome: Option<Outcome>,
    pub at: Vec<(i64, u32)>,
    pub duplicate: bool,
    pub reason: String,
}

impl Answer {
    pub fn of(answer: Result<v1::PublishResponse, Status>) -> Answer {
        let response = match answer {
            Ok(response) => response,
            Err(status) => {
                let (outcome, reason) = failed(&status);
                return Answer { outcome: Some(outcome), reason, ..Answer::default() };
            }
        };
        match response.results.into_iter().next().and_then(|result| result.outcome) {
            Some(v1::partition_result::Outcome::Appended(appended)) => {
                let first = (appended.base_offset, appended.event_count);
                let more = appended.more.iter().map(|range| (range.base_offset, range.event_count));
                let at = std::iter::once(first).chain(more).collect();
                Answer { outcome: Some(Outcome::Ok), at, duplicate: appended.duplicate, reason: String::new() }
            }
            // Inside an answer an error says that nothing of this part was applied.
            Some(v1::partition_result::Outcome::Error(error)) => {
                Answer { outcome: Some(Outcome::Fail), reason: error.reason, ..Answer::default() }
            }
            Some(v1::partition_result::Outcome::Unknown(error)) => {
                Answer { outcome: Some(Outcome::Info), reason: error.reason, ..Answer::default() }
            }
            other => Answer { outcome: Some(Outcome::Info), reason: format!("{other:?}"), ..Answer::default() },
        }
    }

    pub fn timed_out() -> Answer {
        Answer { outcome: Some(Outcome::Info), reason: "no answer in time".into(), ..Answer::default() }
    }

    pub fn outcome(&self) -> Outcome {
        self.outcome.unwrap_or(Outcome::Info)
    }
}
