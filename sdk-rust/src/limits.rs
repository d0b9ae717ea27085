//! The limits that a client can run into, as the broker states them.

use eventflow_proto::v1::GetLimitsRequest;

use crate::{client::Client, error::Result};

/// Limits of the broker; the same for every caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Default of a stream's largest event, bytes.
    pub event_bytes_default: u32,
    /// Largest value that a stream may set for it, bytes.
    pub event_bytes_max: u32,
    /// Key, bytes.
    pub key_bytes_max: u32,
    /// Headers of one event.
    pub headers_max: u32,
    /// Names and values of all headers of one event, bytes.
    pub headers_bytes_max: u32,
    /// Id, bytes.
    pub id_bytes_max: u32,
    /// Type, bytes.
    pub type_bytes_max: u32,
    /// Events a request.
    pub request_events_max: u32,
    /// Bytes a request, and a message in either direction.
    pub request_bytes_max: u32,
    /// Partitions of a stream.
    pub partitions_max: u32,
    /// Requests in flight of one producer and partition.
    pub producer_in_flight_max: u32,
    /// Window of a consumer, events.
    pub window_events_max: u32,
    /// Window of a consumer, bytes.
    pub window_bytes_max: u64,
}

pub(crate) async fn get(client: &Client) -> Result<Limits> {
    let answer = client.unary(|broker| async move { broker.streams().get_limits(GetLimitsRequest {}).await }).await?;
    Ok(Limits {
        event_bytes_default: answer.event_bytes_default,
        event_bytes_max: answer.event_bytes_max,
        key_bytes_max: answer.key_bytes_max,
        headers_max: answer.headers_max,
        headers_bytes_max: answer.headers_bytes_max,
        id_bytes_max: answer.id_bytes_max,
        type_bytes_max: answer.type_bytes_max,
        request_events_max: answer.request_events_max,
        request_bytes_max: answer.request_bytes_max,
        partitions_max: answer.partitions_max,
        producer_in_flight_max: answer.producer_in_flight_max,
        window_events_max: answer.window_events_max,
        window_bytes_max: answer.window_bytes_max,
    })
}
