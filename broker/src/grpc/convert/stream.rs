//! Streams.

use crate::catalogue::{Deleted, Page, Purge, PurgeBefore, Purged};
use crate::domain::ids::StreamName;
use crate::domain::labels::{check_description, check_labels};
use crate::domain::reports::PartitionStatistics;
use crate::domain::stream::{Retention, Stream};
use crate::domain::stream_settings::{self as settings, NewStream, StreamChange};
use crate::domain::{Error, Result, limits};
use crate::grpc::convert::mask;
use crate::grpc::convert::schema::{policy, schema_policy};
use crate::grpc::convert::time::{duration, duration_us, timestamp, timestamp_us};
use eventflow_proto::v1::{self, purge_stream_request::Before};

const UPDATABLE: [&str; 10] = [
    "description",
    "retention",
    "retention.max_age",
    "retention.max_bytes_per_partition",
    "max_event_bytes",
    "labels",
    "schema_policy",
    "schema_policy.enforcement",
    "schema_policy.compatibility",
    "idempotency_key_retention",
];

/// The stream to be made.
pub fn new_stream(wire: Option<v1::Stream>) -> Result<NewStream> {
    let wire = wire.ok_or_else(|| Error::invalid("stream", "must be set"))?;
    check_description("stream.description", &wire.description)?;
    check_labels("stream.labels", &wire.labels)?;
    Ok(NewStream {
        name: StreamName::parse("stream.name", &wire.name)?,
        partitions: settings::partitions("stream.partitions", wire.partitions)?,
        retention: Retention { max_age_us: max_age(&wire)?, max_bytes: max_bytes(&wire)? },
        max_event_bytes: settings::max_event_bytes("stream.max_event_bytes", wire.max_event_bytes)?,
        schema_policy: schema_policy(&wire)?,
        key_retention_us: key_retention(&wire)?,
        track_keys: wire.track_keys,
        description: wire.description,
        labels: wire.labels,
    })
}

/// What to change, and of which stream.
pub fn stream_change(request: &v1::UpdateStreamRequest) -> Result<(StreamName, StreamChange)> {
    let wire = request.stream.as_ref().ok_or_else(|| Error::invalid("stream", "must be set"))?;
    let name = StreamName::parse("stream.name", &wire.name)?;
    let mut change = StreamChange::default();
    for path in mask::paths(request.update_mask.as_ref(), &UPDATABLE)? {
        match path {
            "description" => {
                check_description("stream.description", &wire.description)?;
                change.description = Some(wire.description.clone());
            }
            "retention.max_age" => change.max_age_us = Some(max_age(wire)?),
            "retention.max_bytes_per_partition" => change.max_bytes = Some(max_bytes(wire)?),
            "max_event_bytes" => {
                let bytes = settings::max_event_bytes("stream.max_event_bytes", wire.max_event_bytes)?;
                change.max_event_bytes = Some(bytes);
            }
            "labels" => {
                check_labels("stream.labels", &wire.labels)?;
                change.labels = Some(wire.labels.clone());
            }
            "idempotency_key_retention" => change.key_retention_us = Some(key_retention(wire)?),
            "schema_policy.enforcement" => change.enforcement = Some(schema_policy(wire)?.enforcement),
            "schema_policy.compatibility" => change.compatibility = Some(schema_policy(wire)?.compatibility),
            "schema_policy" => {
                let policy = schema_policy(wire)?;
                change.enforcement = Some(policy.enforcement);
                change.compatibility = Some(policy.compatibility);
            }
            _ => {
                change.max_age_us = Some(max_age(wire)?);
                change.max_bytes = Some(max_bytes(wire)?);
            }
        }
    }
    Ok((name, change))
}

fn max_age(wire: &v1::Stream) -> Result<i64> {
    let field = "stream.retention.max_age";
    let age = wire.retention.as_ref().and_then(|retention| retention.max_age.as_ref());
    settings::max_age_us(field, age.map(|age| at_least_its_sign(field, age)).transpose()?)
}

fn key_retention(wire: &v1::Stream) -> Result<i64> {
    let field = "stream.idempotency_key_retention";
    let kept = wire.idempotency_key_retention.as_ref();
    settings::key_retention_us(field, kept.map(|kept| at_least_its_sign(field, kept)).transpose()?)
}

/// Microseconds; a duration too short to have any is not zero, which would mean no limit.
fn at_least_its_sign(field: &str, age: &prost_types::Duration) -> Result<i64> {
    match duration_us(field, age)? {
        0 => Ok(i64::from(age.nanos.signum())),
        us => Ok(us),
    }
}

fn max_bytes(wire: &v1::Stream) -> Result<i64> {
    let bytes = wire.retention.as_ref().map_or(0, |retention| retention.max_bytes_per_partition);
    settings::max_bytes("stream.retention.max_bytes_per_partition", bytes)
}

/// What to purge.
pub fn purge(request: &v1::PurgeStreamRequest) -> Result<Purge> {
    let before = match &request.before {
        Some(Before::Offset(offset)) if *offset < 0 => Err(Error::invalid("offset", "must not be negative")),
        Some(Before::Offset(_)) if request.partition.is_none() => {
            Err(Error::invalid("partition", "is needed with an offset"))
        }
        Some(Before::Offset(offset)) => Ok(PurgeBefore::Offset(*offset)),
        Some(Before::Time(time)) => Ok(PurgeBefore::Time(timestamp_us("time", time)?)),
        Some(Before::Everything(true)) => Ok(PurgeBefore::Everything),
        Some(Before::Everything(false)) => Err(Error::invalid("everything", "must be true when it is set")),
        None => Err(Error::invalid("before", "must be one of `offset`, `time`, `everything`")),
    }?;
    Ok(Purge { stream: StreamName::parse("name", &request.name)?, partition: request.partition, before })
}

impl From<&Stream> for v1::Stream {
    fn from(stream: &Stream) -> Self {
        Self {
            name: stream.name.as_str().to_owned(),
            description: stream.description.clone(),
            partitions: stream.partition_count(),
            retention: Some(v1::Retention {
                max_age: Some(duration(stream.retention.max_age_us)),
                max_bytes_per_partition: stream.retention.max_bytes.cast_unsigned(),
            }),
            max_event_bytes: stream.max_event_bytes as u32,
            labels: stream.labels.clone(),
            routing_version: stream.routing_version.cast_unsigned(),
            create_time: Some(timestamp(stream.created_at)),
            update_time: Some(timestamp(stream.updated_at)),
            uid: stream.uid.to_string(),
            schema_policy: Some(policy(stream.schema_policy)),
            idempotency_key_retention: Some(duration(stream.key_retention_us)),
            track_keys: stream.track_keys,
        }
    }
}

impl From<&Stream> for v1::CreateStreamResponse {
    fn from(stream: &Stream) -> Self {
        Self { stream: Some(stream.into()) }
    }
}

impl From<&Stream> for v1::GetStreamResponse {
    fn from(stream: &Stream) -> Self {
        Self { stream: Some(stream.into()) }
    }
}

impl From<&Stream> for v1::UpdateStreamResponse {
    fn from(stream: &Stream) -> Self {
        Self { stream: Some(stream.into()) }
    }
}

impl From<&Stream> for v1::AddPartitionsResponse {
    fn from(stream: &Stream) -> Self {
        Self { stream: Some(stream.into()) }
    }
}

impl From<Page<Stream>> for v1::ListStreamsResponse {
    fn from(page: Page<Stream>) -> Self {
        Self { streams: page.items.iter().map(Into::into).collect(), next_page_token: page.next_page_token }
    }
}

impl From<&Deleted> for v1::DeleteStreamResponse {
    fn from(_gone: &Deleted) -> Self {
        Self {}
    }
}

impl From<&Purged> for v1::PurgeStreamResponse {
    fn from(purged: &Purged) -> Self {
        Self { purged_events: purged.events }
    }
}

/// Counts of all partitions, and their sums.
pub fn statistics(partitions: Vec<PartitionStatistics>) -> v1::GetStreamStatisticsResponse {
    v1::GetStreamStatisticsResponse {
        events: partitions.iter().map(|partition| partition.events).sum(),
        bytes: partitions.iter().map(|partition| partition.bytes).sum(),
        partitions: partitions.into_iter().map(Into::into).collect(),
    }
}

impl From<PartitionStatistics> for v1::PartitionStatistics {
    fn from(counted: PartitionStatistics) -> Self {
        Self {
            partition: counted.partition,
            floor: counted.floor,
            head: counted.head,
            events: counted.events,
            bytes: counted.bytes,
            last_append_time: counted.last_append_at.map(timestamp),
        }
    }
}

/// The limits, as a client can run into them.
pub fn limits() -> v1::GetLimitsResponse {
    v1::GetLimitsResponse {
        event_bytes_default: limits::EVENT_BYTES_DEFAULT as u32,
        event_bytes_max: limits::EVENT_BYTES_MAX as u32,
        key_bytes_max: limits::KEY_BYTES_MAX as u32,
        headers_max: limits::HEADERS_MAX as u32,
        headers_bytes_max: limits::HEADERS_BYTES_MAX as u32,
        id_bytes_max: limits::ID_BYTES_MAX as u32,
        type_bytes_max: limits::TYPE_BYTES_MAX as u32,
        request_events_max: limits::REQUEST_EVENTS_MAX as u32,
        request_bytes_max: limits::MESSAGE_BYTES_MAX as u32,
        partitions_max: limits::PARTITIONS_MAX,
        producer_in_flight_max: limits::PRODUCER_IN_FLIGHT_MAX as u32,
        window_events_max: limits::WINDOW_EVENTS_MAX,
        window_bytes_max: limits::WINDOW_BYTES_MAX,
    }
}

#[cfg(test)]
mod tests;
