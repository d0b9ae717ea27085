//! Administration of streams.
//!
//! ```no_run
//! # async fn run(client: eventflow::Client) -> eventflow::Result<()> {
//! use eventflow::StreamSpec;
//!
//! let orders = client.streams().create("orders", StreamSpec::default().partitions(16)).await?;
//! println!("{} has {} partitions", orders.name, orders.partitions);
//! # Ok(())
//! # }
//! ```

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use eventflow_proto::v1::{self, purge_stream_request::Before};

use crate::{
    call::request_id,
    client::Client,
    connection::Transport,
    convert::{duration_to_wire, required, time_to_wire},
    error::Result,
    pages::{Pages, pages},
    schemas::{SchemaCompatibility, SchemaEnforcement, SchemaPolicy},
};

/// A stream as it stands.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StreamInfo {
    /// Name, unique in the organization.
    pub name: String,
    /// Unguessable id; a stream created later under the same name has another.
    pub uid: String,
    /// For people.
    pub description: String,
    /// Number of partitions.
    pub partitions: u32,
    /// When events may be removed.
    pub retention: Retention,
    /// Largest event, bytes, with key, headers and all.
    pub max_event_bytes: u32,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Raised when keys go elsewhere.
    pub routing_version: u64,
    /// What its schemas do.
    pub schema_policy: SchemaPolicy,
    /// How long idempotency keys of events are kept. `None`: for ever.
    pub key_retention: Option<Duration>,
    /// Whether the last offset of each key is kept.
    pub track_keys: bool,
    /// Database time.
    pub create_time: SystemTime,
    /// Database time.
    pub update_time: SystemTime,
}

/// When events may be removed: what passes either limit goes, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Age by append time. `None`: no limit by age.
    pub max_age: Option<Duration>,
    /// Bytes of payload, keys and headers a partition. 0: no limit by size.
    pub max_bytes_per_partition: u64,
}

impl Default for Retention {
    /// Seven days, no limit by size.
    fn default() -> Self {
        let seconds = eventflow_proto::limits::RETENTION_SECONDS_DEFAULT.unsigned_abs();
        Self { max_age: Some(Duration::from_secs(seconds)), max_bytes_per_partition: 0 }
    }
}

/// What a new stream shall be, or what shall change. What is not set is the broker's default, or stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamSpec {
    pub(crate) description: Option<String>,
    pub(crate) partitions: Option<u32>,
    pub(crate) retention: Option<Retention>,
    pub(crate) max_event_bytes: Option<u32>,
    pub(crate) labels: Option<BTreeMap<String, String>>,
    pub(crate) schema_enforcement: Option<SchemaEnforcement>,
    pub(crate) schema_compatibility: Option<SchemaCompatibility>,
    pub(crate) key_retention: Option<Option<Duration>>,
    pub(crate) track_keys: bool,
}

impl StreamSpec {
    /// For people; at most 1,024 bytes.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> Self {
        self.description = Some(text.into());
        self
    }

    /// Number of partitions, 1 to 1,024; default 8. Only for new streams: see [`Streams::add_partitions`].
    #[must_use]
    pub fn partitions(mut self, partitions: u32) -> Self {
        self.partitions = Some(partitions);
        self
    }

    /// When events may be removed; default after seven days.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = Some(retention);
        self
    }

    /// Largest event, bytes, up to 3 MiB; default 1 MiB.
    #[must_use]
    pub fn max_event_bytes(mut self, bytes: u32) -> Self {
        self.max_event_bytes = Some(bytes);
        self
    }

    /// All labels; at most 32.
    #[must_use]
    pub fn labels(mut self, labels: impl IntoIterator<Item = (String, String)>) -> Self {
        self.labels = Some(labels.into_iter().collect());
        self
    }

    /// What happens to events that their schema refuses; they are rejected by default.
    #[must_use]
    pub fn schema_enforcement(mut self, enforcement: SchemaEnforcement) -> Self {
        self.schema_enforcement = Some(enforcement);
        self
    }

    /// What a new version of a schema must keep of the newest one; backward by default.
    #[must_use]
    pub fn schema_compatibility(mut self, compatibility: SchemaCompatibility) -> Self {
        self.schema_compatibility = Some(compatibility);
        self
    }

    /// How long idempotency keys of events are kept: at least a minute, or for ever (`None`); a day by default.
    #[must_use]
    pub fn key_retention(mut self, kept: Option<Duration>) -> Self {
        self.key_retention = Some(kept);
        self
    }

    /// Keeps the last offset of each key, for [`Client::publish_expecting_last`]: a row a key for as long as the stream is there. Only
    /// for new streams, which then get no more partitions.
    #[must_use]
    pub fn track_keys(mut self) -> Self {
        self.track_keys = true;
        self
    }
}

/// What a purge removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purge {
    /// Events of a partition below an offset, which is at most the head.
    Below {
        /// Partition, 0-based.
        partition: u32,
        /// The first offset that stays.
        offset: i64,
    },
    /// Events appended before a time (database time), of one partition or of all.
    Before {
        /// Partition, 0-based; `None`: all.
        partition: Option<u32>,
        /// The time.
        time: SystemTime,
    },
    /// Everything that is there now, of one partition or of all.
    Everything {
        /// Partition, 0-based; `None`: all.
        partition: Option<u32>,
    },
}

/// Counts and bounds of a stream.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StreamStatistics {
    /// Retained events.
    pub events: i64,
    /// Retained bytes of payload, keys and headers.
    pub bytes: i64,
    /// One entry a partition.
    pub partitions: Vec<PartitionStatistics>,
}

/// Counts and bounds of a partition.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PartitionStatistics {
    /// Partition, 0-based.
    pub partition: u32,
    /// The first retained offset.
    pub floor: i64,
    /// The next offset to be assigned.
    pub head: i64,
    /// Retained events.
    pub events: i64,
    /// Retained bytes of payload, keys and headers.
    pub bytes: i64,
    /// Append time of the newest event; `None` when there was none.
    pub last_append_time: Option<SystemTime>,
}

/// Administration of streams. From [`Client::streams`].
#[derive(Clone, Debug)]
pub struct Streams {
    client: Client,
}

impl Streams {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Creates a stream.
    ///
    /// # Errors
    /// `STREAM_EXISTS`, `INVALID_ARGUMENT`.
    pub async fn create(&self, name: impl Into<String>, spec: StreamSpec) -> Result<StreamInfo> {
        let (stream, _) = spec.into_wire(name.into());
        let request = v1::CreateStreamRequest { stream: Some(stream), request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.streams().create_stream(request).await }
        };
        required(self.client.unary(call).await?.stream, "stream")?.try_into()
    }

    /// Returns a stream.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`.
    pub async fn get(&self, name: impl Into<String>) -> Result<StreamInfo> {
        let name = name.into();
        let call = |broker: Transport| {
            let request = v1::GetStreamRequest { name: name.clone() };
            async move { broker.streams().get_stream(request).await }
        };
        required(self.client.unary(call).await?.stream, "stream")?.try_into()
    }

    /// All streams, by name; pages are fetched as the list is read.
    pub fn list(&self) -> Pages<StreamInfo> {
        pages(self.client.clone(), |client, page_token| async move {
            let call = |broker: Transport| {
                let request = v1::ListStreamsRequest { page_size: 0, page_token: page_token.clone() };
                async move { broker.streams().list_streams(request).await }
            };
            let page = client.unary(call).await?;
            let streams = page.streams.into_iter().map(StreamInfo::try_from).collect::<Result<_>>()?;
            Ok((streams, page.next_page_token))
        })
    }

    /// Changes what the spec sets: description, retention, the largest event, labels, what schemas do.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`, `INVALID_ARGUMENT`; also when the spec sets partitions, or tracks keys.
    pub async fn update(&self, name: impl Into<String>, spec: StreamSpec) -> Result<StreamInfo> {
        let (stream, paths) = spec.into_wire(name.into());
        let request = v1::UpdateStreamRequest {
            stream: Some(stream),
            update_mask: Some(prost_types::FieldMask { paths }),
            request_id: request_id(),
        };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.streams().update_stream(request).await }
        };
        required(self.client.unary(call).await?.stream, "stream")?.try_into()
    }

    /// Removes a stream and its events. Refused while it has consumer groups; see [`Streams::delete_with_groups`].
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`, `STREAM_HAS_GROUPS`.
    pub async fn delete(&self, name: impl Into<String>) -> Result<()> {
        self.remove(name.into(), false).await
    }

    /// Removes a stream, its events and its consumer groups.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`.
    pub async fn delete_with_groups(&self, name: impl Into<String>) -> Result<()> {
        self.remove(name.into(), true).await
    }

    async fn remove(&self, name: String, force: bool) -> Result<()> {
        let request = v1::DeleteStreamRequest { name, force, request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.streams().delete_stream(request).await }
        };
        self.client.unary(call).await.map(drop)
    }

    /// Raises the number of partitions. **Keys go elsewhere from then on**, so order per key is broken across the change.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`, `INVALID_ARGUMENT`; `KEY_REMAP_NOT_ALLOWED` for a stream that tracks its keys.
    pub async fn add_partitions(&self, name: impl Into<String>, partitions: u32) -> Result<StreamInfo> {
        let request =
            v1::AddPartitionsRequest { name: name.into(), partitions, allow_key_remap: true, request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.streams().add_partitions(request).await }
        };
        required(self.client.unary(call).await?.stream, "stream")?.try_into()
    }

    /// Raises the floor, so that events before it can no longer be read. Returns how many.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`, `PARTITION_OUT_OF_RANGE`, `OFFSET_ABOVE_HEAD`.
    pub async fn purge(&self, name: impl Into<String>, what: Purge) -> Result<i64> {
        let (partition, before) = match what {
            Purge::Below { partition, offset } => (Some(partition), Before::Offset(offset)),
            Purge::Before { partition, time } => (partition, Before::Time(time_to_wire(time))),
            Purge::Everything { partition } => (partition, Before::Everything(true)),
        };
        let request =
            v1::PurgeStreamRequest { name: name.into(), partition, before: Some(before), request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.streams().purge_stream(request).await }
        };
        Ok(self.client.unary(call).await?.purged_events)
    }

    /// Counts and bounds, from cheap counters.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`.
    pub async fn statistics(&self, name: impl Into<String>) -> Result<StreamStatistics> {
        let name = name.into();
        let call = |broker: Transport| {
            let request = v1::GetStreamStatisticsRequest { name: name.clone() };
            async move { broker.streams().get_stream_statistics(request).await }
        };
        Ok(self.client.unary(call).await?.into())
    }
}

impl From<Retention> for v1::Retention {
    fn from(retention: Retention) -> Self {
        Self {
            max_age: Some(duration_to_wire(retention.max_age.unwrap_or_default())),
            max_bytes_per_partition: retention.max_bytes_per_partition,
        }
    }
}
