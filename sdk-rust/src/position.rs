//! Where things stand in a stream: positions to start from, records that were read, places where events were put.

use std::{borrow::Cow, sync::Arc, time::SystemTime};

use eventflow_proto::v1::{self, position::At};

use crate::{convert::time_to_wire, event::Event};

/// Where to start in a partition, or in all partitions of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Position {
    /// The first retained event.
    #[default]
    Earliest,
    /// Behind the newest event.
    Latest,
    /// This very offset, from the floor to the head. Needs a single partition.
    Offset(i64),
    /// The first event appended at this time or later (database time).
    Time(SystemTime),
}

impl From<Position> for v1::Position {
    fn from(position: Position) -> Self {
        let at = match position {
            Position::Earliest => At::Earliest(true),
            Position::Latest => At::Latest(true),
            Position::Offset(offset) => At::Offset(offset),
            Position::Time(time) => At::Time(time_to_wire(time)),
        };
        Self { at: Some(at) }
    }
}

/// Where a published event stands. It is durable: Postgres has flushed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Partition, 0-based.
    pub partition: u32,
    /// Offset within the partition.
    pub offset: i64,
    /// Log epoch that the offset belongs to.
    pub log_epoch: u64,
    /// When Postgres appended it (database time).
    pub append_time: SystemTime,
    /// True: it had been appended before, by an attempt whose answer was lost, or under the same idempotency key. It is in the log
    /// once.
    pub duplicate: bool,
}

/// One event that was read, and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub(crate) stream: Arc<str>,
    pub(crate) partition: u32,
    pub(crate) offset: i64,
    pub(crate) next_offset: i64,
    pub(crate) log_epoch: u64,
    pub(crate) append_time: SystemTime,
    pub(crate) publisher: Option<Arc<str>>,
    pub(crate) event: Event,
}

impl Record {
    /// Stream that it was read from.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Partition, 0-based.
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// Offset within the partition.
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Where to go on behind this event: what a commit of this record commits. Not always `offset + 1`.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// Log epoch that the offset belongs to.
    pub fn log_epoch(&self) -> u64 {
        self.log_epoch
    }

    /// When Postgres appended it (database time).
    pub fn append_time(&self) -> SystemTime {
        self.append_time
    }

    /// Whose credential the publish call had: `key:` and the public part of the API key. None: not known.
    pub fn publisher(&self) -> Option<&str> {
        self.publisher.as_deref()
    }

    /// The event.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// The event, without its position.
    pub fn into_event(self) -> Event {
        self.event
    }

    /// The event's id: the producer's, or `<partition>-<offset>`.
    pub fn id(&self) -> Cow<'_, str> {
        match &self.event.id {
            Some(id) => Cow::Borrowed(id),
            None => Cow::Owned(format!("{}-{}", self.partition, self.offset)),
        }
    }

    /// The event's key.
    pub fn key(&self) -> Option<&str> {
        self.event.key()
    }

    /// The event's payload.
    pub fn payload(&self) -> &bytes::Bytes {
        self.event.payload()
    }
}
