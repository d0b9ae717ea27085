//! Events, as producers write them and readers get them.
//!
//! ```
//! use eventflow::Event;
//!
//! let event = Event::new(r#"{"total": 42}"#)
//!     .with_key("customer-7")
//!     .with_type("order.paid")
//!     .with_content_type("application/json")
//!     .with_header("tenant", "acme");
//! assert_eq!(event.key(), Some("customer-7"));
//! ```

use std::time::SystemTime;

use bytes::Bytes;

/// An immutable fact: id, type, key, headers, content type, time and payload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Event {
    pub(crate) id: Option<String>,
    pub(crate) event_type: String,
    pub(crate) key: Option<String>,
    pub(crate) headers: Vec<Header>,
    pub(crate) content_type: String,
    pub(crate) time: Option<SystemTime>,
    pub(crate) payload: Bytes,
    /// Where the producer wants it; not part of what is kept.
    pub(crate) partition: Option<u32>,
    /// Names the event for its append; not part of what is kept.
    pub(crate) idempotency_key: Option<String>,
    pub(crate) deliver_at: Option<SystemTime>,
}

/// A name and a value beside an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Name, 1 to 256 bytes, unique within an event.
    pub name: String,
    /// Value.
    pub value: String,
}

impl Event {
    /// An event with a payload and nothing else. The payload is not copied when it is `Bytes`, `Vec<u8>`, `String` or static.
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self { payload: payload.into(), ..Self::default() }
    }

    /// Sets the key, at most 1,024 bytes. It chooses the partition; events of a key stay in order. Empty is a key.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the type, such as `order.paid`; at most 256 bytes. Default: empty.
    #[must_use]
    pub fn with_type(mut self, event_type: impl Into<String>) -> Self {
        self.event_type = event_type.into();
        self
    }

    /// Sets the id, 1 to 128 bytes, unique only by convention. Default: derived from the position, at no cost.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Sets the content type of the payload, at most 256 bytes. Default: empty, which means unspecified bytes.
    #[must_use]
    pub fn with_content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = content_type.into();
        self
    }

    /// Sets when the event happened; kept in microseconds. Default: the append time.
    #[must_use]
    pub fn with_time(mut self, time: SystemTime) -> Self {
        self.time = Some(time);
        self
    }

    /// Names the partition, 0-based, instead of leaving the choice to the key. A partition that the producer does not know is
    /// refused when the event is sent: `PARTITION_OUT_OF_RANGE`.
    #[must_use]
    pub fn with_partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Names the event for its append, 1 to 256 bytes: the broker appends one event of a key and partition, for as long as the
    /// stream keeps keys (a day unless it says otherwise). Sent again with the same type, key, payload, content type and headers,
    /// it gets the first position, as [`duplicate`](crate::Appended::duplicate); with another of these it fails with
    /// `IDEMPOTENCY_KEY_REUSED`. It chooses the partition of an event without a key.
    #[must_use]
    pub fn with_idempotency_key(mut self, key: impl Into<String>) -> Self {
        self.idempotency_key = Some(key.into());
        self
    }

    /// Shared groups get the event at this time, at most 30 days from now, or soon after; it is appended and kept at once, and ordered
    /// groups and reads get it at once. Kept in microseconds. Default: no delay.
    #[must_use]
    pub fn with_deliver_at(mut self, time: SystemTime) -> Self {
        self.deliver_at = Some(time);
        self
    }

    /// Adds a header. All headers of an event together: at most 64 and 16 KiB; names are unique.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push(Header { name: name.into(), value: value.into() });
        self
    }

    /// The id, when the producer set one; [`Record::id`](crate::Record::id) is always there.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The type; empty when not set.
    pub fn event_type(&self) -> &str {
        &self.event_type
    }

    /// The key; `Some("")` is a key, `None` is none.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The headers, ordered by name once they come from the log.
    pub fn headers(&self) -> &[Header] {
        &self.headers
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.name == name).map(|header| header.value.as_str())
    }

    /// The content type of the payload; empty means unspecified bytes.
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    /// When the event happened, if the producer said so.
    pub fn time(&self) -> Option<SystemTime> {
        self.time
    }

    /// When shared groups get the event, if the producer said so.
    pub fn deliver_at(&self) -> Option<SystemTime> {
        self.deliver_at
    }

    /// The idempotency key, when the producer set one; events that were read have none.
    pub fn idempotency_key(&self) -> Option<&str> {
        self.idempotency_key.as_deref()
    }

    /// The payload. Cloning it copies nothing.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The payload, without the rest.
    pub fn into_payload(self) -> Bytes {
        self.payload
    }
}
