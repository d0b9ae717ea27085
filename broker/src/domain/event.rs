//! Events in their canonical form, and batches of them.
//!
//! An event is made canonical once, at admission. Its canonical encoding is the protobuf field that readers get
//! (`EventBatch.events`), so it is encoded once and is byte-identical whether it comes from memory or from the table; the
//! checksum of a row covers these bytes. [`Fields`] is the borrowed form that both sides encode from.

use crate::domain::publisher::Publishers;
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;

/// The header under which an event keeps when it is to be delivered, as microseconds since 1970. Readers get it as a field.
pub const DELIVER_AT: &str = "eventflow-deliver-at";

/// An admitted event: every limit holds, nothing in it can be refused by Postgres.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// None: derived from the position.
    pub id: Option<String>,
    pub kind: String,
    pub key: Option<String>,
    /// A JSON object of strings, names in order; None is no headers.
    pub headers: Option<String>,
    pub content_type: String,
    /// Microseconds since 1970; None is the append time.
    pub time_us: Option<i64>,
    pub payload: Bytes,
    /// Names this event for the append, and is not kept with it.
    pub idempotency_key: Option<String>,
}

impl Event {
    /// Bytes that count against limits and quotas: all fields together.
    pub fn size(&self) -> usize {
        let text = |field: &Option<String>| field.as_ref().map_or(0, String::len);
        text(&self.id)
            + self.kind.len()
            + text(&self.key)
            + text(&self.headers)
            + self.content_type.len()
            + self.payload.len()
    }

    pub fn fields(&self) -> Fields<'_> {
        Fields {
            id: self.id.as_deref(),
            kind: &self.kind,
            key: self.key.as_deref(),
            headers: self.headers.as_deref(),
            content_type: &self.content_type,
            time_us: self.time_us,
            payload: &self.payload,
        }
    }
}

/// An event's fields, borrowed from an [`Event`] or from a row of the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fields<'a> {
    pub id: Option<&'a str>,
    pub kind: &'a str,
    pub key: Option<&'a str>,
    pub headers: Option<&'a str>,
    pub content_type: &'a str,
    pub time_us: Option<i64>,
    pub payload: &'a [u8],
}

/// Headers as kept: a JSON object, names in order. None when there are none.
pub fn headers_text(headers: &BTreeMap<String, String>) -> Option<String> {
    if headers.is_empty() {
        return None;
    }
    // A map of strings always serializes.
    serde_json::to_string(headers).ok()
}

/// The reverse of [`headers_text`]. Damaged text gives no headers: the checksum of the row has been compared before.
pub fn parse_headers(text: &str) -> BTreeMap<String, String> {
    serde_json::from_str(text).unwrap_or_default()
}

/// When an event is to be delivered, out of its headers.
fn take_deliver_at(headers: &mut BTreeMap<String, String>) -> Option<i64> {
    let time = headers.get(DELIVER_AT)?.parse().ok()?;
    headers.remove(DELIVER_AT);
    Some(time)
}

/// Events encoded one after the other, and where each ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded {
    pub bytes: Bytes,
    /// End of each event in `bytes`.
    pub ends: Vec<u32>,
    /// An event among them is not to be delivered at once.
    pub is_delayed: bool,
}

/// Builds an [`Encoded`].
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: BytesMut,
    ends: Vec<u32>,
    is_delayed: bool,
}

impl Encoder {
    pub fn with_capacity(events: usize, bytes: usize) -> Self {
        Self {
            bytes: BytesMut::with_capacity(bytes + events * 16),
            ends: Vec::with_capacity(events),
            is_delayed: false,
        }
    }

    /// Appends the canonical encoding of one event: the field `events` of an `EventBatch`.
    pub fn push(&mut self, event: Fields<'_>) {
        let mut headers = event.headers.map(parse_headers).unwrap_or_default();
        let deliver_at = take_deliver_at(&mut headers);
        self.is_delayed |= deliver_at.is_some();
        let length = text_len(event.id)
            + text_len(non_empty(event.kind))
            + text_len(event.key)
            + headers.iter().map(|(name, value)| field_len(header_len(name, value))).sum::<usize>()
            + text_len(non_empty(event.content_type))
            + event.time_us.map_or(0, |time| field_len(timestamp_len(time)))
            + deliver_at.map_or(0, |time| field_len(timestamp_len(time)))
            + if event.payload.is_empty() { 0 } else { field_len(event.payload.len()) };
        let out = &mut self.bytes;
        put_header(out, 6, length);
        put_text(out, 1, event.id);
        put_text(out, 2, non_empty(event.kind));
        put_text(out, 3, event.key);
        for (name, value) in &headers {
            put_header(out, 4, header_len(name, value));
            put_text(out, 1, non_empty(name));
            put_text(out, 2, non_empty(value));
        }
        put_text(out, 5, non_empty(event.content_type));
        if let Some(time) = event.time_us {
            put_header(out, 6, timestamp_len(time));
            put_timestamp(out, time);
        }
        if !event.payload.is_empty() {
            put_header(out, 7, event.payload.len());
            out.put_slice(event.payload);
        }
        if let Some(time) = deliver_at {
            put_header(out, 11, timestamp_len(time));
            put_timestamp(out, time);
        }
        self.ends.push(self.bytes.len() as u32);
    }

    /// Appends events that are encoded already.
    pub fn extend(&mut self, from: &Encoded, events: std::ops::Range<usize>) {
        let start = from.start_of(events.start);
        let base = self.bytes.len() as u32;
        self.is_delayed |= from.is_delayed;
        self.bytes.put_slice(&from.bytes[start as usize..from.start_of(events.end) as usize]);
        self.ends.extend(from.ends[events].iter().map(|end| base + end - start));
    }

    /// So many events are not in here: their places are empty, and whoever reads the others says which those are.
    pub fn leave_out(&mut self, events: usize) {
        self.ends.extend(std::iter::repeat_n(self.bytes.len() as u32, events));
    }

    pub fn finish(self) -> Encoded {
        Encoded { bytes: self.bytes.freeze(), ends: self.ends, is_delayed: self.is_delayed }
    }
}

impl Encoded {
    /// Where the event at an index starts.
    pub fn start_of(&self, index: usize) -> u32 {
        if index == 0 { 0 } else { self.ends[index - 1] }
    }

    /// The bytes of a range of events, shared.
    pub fn slice(&self, events: std::ops::Range<usize>) -> Bytes {
        self.bytes.slice(self.start_of(events.start) as usize..self.start_of(events.end) as usize)
    }

    /// The checksum of these bytes; that of a row adds its publishers.
    pub fn crc(&self) -> u32 {
        crc32c::crc32c(&self.bytes)
    }
}

/// Consecutive events of a partition as they stand in one row of the log: immutable, shared by all readers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub base_offset: i64,
    /// Microseconds since 1970, database time.
    pub appended_at_us: i64,
    pub encoded: Encoded,
    pub publishers: Publishers,
}

impl Batch {
    pub fn event_count(&self) -> usize {
        self.encoded.ends.len()
    }

    /// The offset behind the last event.
    pub fn end_offset(&self) -> i64 {
        self.base_offset + self.event_count() as i64
    }

    /// What it takes in memory, about.
    pub fn memory(&self) -> usize {
        self.encoded.bytes.len() + self.encoded.ends.len() * 4 + self.publishers.runs().len() * 24 + 120
    }
}

fn non_empty(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// Length of a length-delimited field whose number is below 16.
fn field_len(content: usize) -> usize {
    1 + varint_len(content as u64) + content
}

fn text_len(text: Option<&str>) -> usize {
    text.map_or(0, |text| field_len(text.len()))
}

fn header_len(name: &str, value: &str) -> usize {
    text_len(non_empty(name)) + text_len(non_empty(value))
}

fn put_header(out: &mut BytesMut, field: u8, length: usize) {
    out.put_u8(field << 3 | 2);
    put_varint(out, length as u64);
}

fn put_text(out: &mut BytesMut, field: u8, text: Option<&str>) {
    if let Some(text) = text {
        put_header(out, field, text.len());
        out.put_slice(text.as_bytes());
    }
}

/// Seconds and nanoseconds of a `google.protobuf.Timestamp`.
fn timestamp(time_us: i64) -> (i64, i64) {
    (time_us.div_euclid(1_000_000), time_us.rem_euclid(1_000_000) * 1_000)
}

fn timestamp_len(time_us: i64) -> usize {
    let (seconds, nanos) = timestamp(time_us);
    let part = |value: i64| if value == 0 { 0 } else { 1 + varint_len(value as u64) };
    part(seconds) + part(nanos)
}

fn put_timestamp(out: &mut BytesMut, time_us: i64) {
    let (seconds, nanos) = timestamp(time_us);
    for (field, value) in [(1u8, seconds), (2, nanos)] {
        if value != 0 {
            out.put_u8(field << 3);
            put_varint(out, value as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eventflow_proto::{EventBatch, v1};
    use prost::Message;

    fn event() -> Event {
        let headers = BTreeMap::from([("b".into(), "2".into()), ("a".into(), "ä\"\n".into())]);
        Event {
            id: Some("id-1".into()),
            kind: "order.paid".into(),
            key: Some(String::new()),
            headers: headers_text(&headers),
            content_type: "application/json".into(),
            time_us: Some(-1),
            idempotency_key: None,
            payload: Bytes::from_static(b"{\"total\":7}"),
        }
    }

    fn encode(events: &[Event]) -> Encoded {
        let mut encoder = Encoder::with_capacity(events.len(), 0);
        events.iter().for_each(|event| encoder.push(event.fields()));
        encoder.finish()
    }

    #[test]
    fn the_canonical_encoding_is_what_protobuf_readers_expect() {
        let encoded = encode(&[event(), Event::default()]);
        let batch = EventBatch::decode(encoded.bytes.clone()).expect("decodes");
        let first = &batch.events[0];
        assert_eq!(first.id.as_deref(), Some("id-1"));
        assert_eq!(first.key.as_deref(), Some(""));
        assert_eq!(first.headers.len(), 2);
        assert_eq!(first.headers[0], v1::Header { name: "a".into(), value: "ä\"\n".into() });
        assert_eq!(first.time, Some(prost_types::Timestamp { seconds: -1, nanos: 999_999_000 }));
        assert_eq!(first.payload, Some(v1::event::Payload::Data(Bytes::from_static(b"{\"total\":7}"))));
        assert_eq!(batch.events[1], v1::Event::default());
        // Prost writes the same bytes back: lengths and order are canonical.
        assert_eq!(batch.encode_to_vec(), encoded.bytes);
    }

    #[test]
    fn when_an_event_is_to_be_delivered_is_a_field_of_it_and_no_header() {
        let headers = BTreeMap::from([("a".into(), "1".into()), (DELIVER_AT.into(), "1700000000000001".into())]);
        let delayed = Event { headers: headers_text(&headers), ..event() };
        let encoded = encode(&[event(), delayed]);
        assert!(encoded.is_delayed && !encode(&[event()]).is_delayed);
        let batch = EventBatch::decode(encoded.bytes.clone()).expect("decodes");
        assert_eq!(batch.events[1].headers.len(), 1);
        let time = prost_types::Timestamp { seconds: 1_700_000_000, nanos: 1_000 };
        assert_eq!(batch.events[1].deliver_at, Some(time));
        assert_eq!(batch.encode_to_vec(), encoded.bytes);
        let seen = [0, 1].map(|index| encoded.view(index).and_then(|event| event.deliver_at_us));
        assert_eq!(seen, [None, Some(1_700_000_000_000_001)]);
        let mut encoder = Encoder::default();
        encoder.extend(&encoded, 1..2);
        assert!(encoder.finish().is_delayed);
    }

    #[test]
    fn parts_of_encoded_events_are_events() {
        let whole = encode(&[event(), Event::default(), event()]);
        let mut encoder = Encoder::default();
        encoder.extend(&whole, 2..3);
        encoder.extend(&whole, 0..2);
        assert_eq!(encoder.finish(), encode(&[event(), event(), Event::default()]));
        assert_eq!(whole.slice(1..3), encode(&[Event::default(), event()]).bytes);
    }
}
