//! Publish requests and their answers.

use crate::domain::ids::StreamName;
use crate::domain::position::LogEpoch;
use crate::domain::{Applied, Error, Result};
use crate::grpc::convert::event::{event_key, events};
use crate::grpc::convert::time::timestamp;
use crate::grpc::convert::trace::Trace;
use crate::grpc::status::{to_error_status, wire_violation};
use crate::publish::lane::Appended;
use crate::publish::plan::Producer;
use crate::publish::terms::{Expected, ExpectedKey};
use crate::publish::{Outcome as Became, PartitionOutcome, Request};
use eventflow_proto::v1::{self, partition_result::Outcome};
use std::sync::Arc;
use uuid::Uuid;

/// A request of a publisher, whose name and trace its events keep.
pub fn request(wire: v1::PublishRequest, publisher: &Arc<str>, trace: Option<&Trace>) -> Result<Request> {
    let producer = producer(wire.producer.as_ref())?;
    Ok(Request {
        stream: StreamName::parse("stream", &wire.stream).map_err(|error| error.applied(Applied::No))?,
        producer,
        publisher: publisher.clone(),
        events: events(wire.events, trace)?,
        partition: wire.partition,
        routing_version: i64::try_from(wire.routing_version)
            .map_err(|_| Error::invalid("routing_version", "is not one that a stream has had").applied(Applied::No))?,
        validate_only: wire.validate_only,
        after_refusal: wire.after_refusal,
        expected: Expected { next_offset: wire.expected_next_offset, keys: expected_keys(wire.expected_keys)? },
    })
}

fn expected_keys(wire: Vec<v1::KeyExpectation>) -> Result<Vec<ExpectedKey>> {
    let keys = wire.into_iter().enumerate().map(|(index, expected)| {
        event_key(&format!("expected_keys[{index}]"), &expected.key)?;
        Ok(ExpectedKey { index, key: expected.key, last_offset: expected.last_offset })
    });
    keys.collect()
}

/// The producer of a request, checked.
pub fn producer(wire: Option<&v1::Producer>) -> Result<Option<Producer>> {
    let Some(wire) = wire else { return Ok(None) };
    let refused = |field: &str, why: &str| Error::invalid(field, why).applied(Applied::No);
    let id = Uuid::from_slice(&wire.id).map_err(|_| refused("producer.id", "must be a UUID of 16 bytes"))?;
    if id.is_nil() {
        return Err(refused("producer.id", "must not be the nil UUID"));
    }
    let epoch = i32::try_from(wire.epoch).map_err(|_| refused("producer.epoch", "must be at most 2,147,483,647"))?;
    Ok(Some(Producer { id, epoch, first_sequence: wire.first_sequence }))
}

/// What became of each part.
pub fn response(outcomes: Vec<PartitionOutcome>) -> v1::PublishResponse {
    let results = outcomes.into_iter().map(|part| {
        let outcome = match part.outcome {
            Became::Validated => Outcome::Validated(v1::Validated {}),
            Became::Appended(done) => Outcome::Appended(appended(done)),
            Became::Refused(error) if error.was_applied() == Some(Applied::Unknown) => {
                Outcome::Unknown(to_error_status(&error))
            }
            Became::Refused(error) => Outcome::Error(to_error_status(&error)),
        };
        let event_indexes = part.events.unwrap_or_default();
        let schema_warnings = part.warnings.iter().map(wire_violation).collect();
        v1::PartitionResult { partition: part.partition, event_indexes, schema_warnings, outcome: Some(outcome) }
    });
    v1::PublishResponse { results: results.collect() }
}

fn appended(done: Appended) -> v1::Appended {
    let mut ranges = done.ranges.into_iter();
    let (base_offset, event_count) = ranges.next().unwrap_or_default();
    v1::Appended {
        base_offset,
        log_epoch: LogEpoch::of(base_offset).0.unsigned_abs(),
        event_count: event_count.unsigned_abs(),
        append_time: Some(timestamp(done.appended_at_us)),
        duplicate: done.duplicate,
        duplicate_places: done.known,
        more: ranges
            .map(|(base_offset, count)| v1::OffsetRange { base_offset, event_count: count.unsigned_abs() })
            .collect(),
    }
}
