//! Events. Strings and payloads are moved, never copied.

use std::sync::Arc;

use bytes::Bytes;
use eventflow_proto::v1::{self, event::Payload};

use super::{required, time_from_wire, time_to_wire};
use crate::{
    error::Result,
    event::{Event, Header},
    position::Record,
};

pub(crate) fn event_to_wire(event: Event) -> v1::Event {
    v1::Event {
        id: event.id,
        r#type: event.event_type,
        key: event.key,
        headers: event.headers.into_iter().map(|Header { name, value }| v1::Header { name, value }).collect(),
        content_type: event.content_type,
        time: event.time.map(time_to_wire),
        payload: (!event.payload.is_empty()).then_some(Payload::Data(event.payload)),
        idempotency_key: event.idempotency_key,
        deliver_at: event.deliver_at.map(time_to_wire),
    }
}

pub(crate) fn event_from_wire(event: v1::Event) -> Event {
    Event {
        id: event.id,
        event_type: event.r#type,
        key: event.key,
        headers: event.headers.into_iter().map(|v1::Header { name, value }| Header { name, value }).collect(),
        content_type: event.content_type,
        time: event.time.as_ref().map(time_from_wire),
        payload: match event.payload {
            Some(Payload::Data(data)) => data,
            Some(Payload::Text(text)) => Bytes::from(text),
            // The client asks for bytes, so a broker never sends this form.
            Some(Payload::Json(_)) | None => Bytes::new(),
        },
        partition: None,
        idempotency_key: None,
        deliver_at: event.deliver_at.as_ref().map(time_from_wire),
    }
}

/// The record of a stored event, whose group knows of which stream it is.
pub(crate) fn record_from_wire(stored: v1::StoredEvent, field: &str) -> Result<Record> {
    Ok(Record {
        stream: Arc::from(""),
        partition: stored.partition,
        offset: stored.offset,
        next_offset: stored.offset + 1,
        log_epoch: stored.log_epoch,
        append_time: time_from_wire(&stored.append_time.unwrap_or_default()),
        publisher: Some(stored.publisher).filter(|publisher| !publisher.is_empty()).map(Arc::from),
        event: event_from_wire(required(stored.event, field)?),
    })
}
