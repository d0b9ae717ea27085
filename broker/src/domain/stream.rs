//! A stream as the services see it.

use crate::domain::ids::{OrganizationId, PartitionId, StreamId, StreamName};
use crate::domain::schema::Policy;
use crate::domain::{Applied, Error, Reason, Result};
use std::collections::BTreeMap;

/// A stream with its partitions. Cached and shared: it may be a few seconds old, which the append tolerates (it checks the
/// routing version and the partition under its lock).
#[derive(Clone, Debug)]
pub struct Stream {
    pub id: StreamId,
    pub organization: OrganizationId,
    pub uid: uuid::Uuid,
    pub name: StreamName,
    pub description: String,
    /// By index.
    pub partitions: Vec<PartitionId>,
    pub retention: Retention,
    pub max_event_bytes: usize,
    pub labels: BTreeMap<String, String>,
    pub routing_version: i64,
    pub schema_policy: Policy,
    /// Raised with every schema that is registered; 0: the stream has none.
    pub schema_revision: i64,
    /// How long idempotency keys of events are kept, in microseconds; 0 is for ever.
    pub key_retention_us: i64,
    /// Whether the last offset of each key is kept.
    pub track_keys: bool,
    /// Microseconds since 1970, database time.
    pub created_at: i64,
    pub updated_at: i64,
}

/// When events may be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Microseconds; 0 is no limit by age.
    pub max_age_us: i64,
    /// Bytes a partition; 0 is no limit by size.
    pub max_bytes: i64,
}

impl Stream {
    pub fn partition_count(&self) -> u32 {
        self.partitions.len() as u32
    }

    /// The partition at an index, or a refusal that names the limit.
    pub fn partition(&self, index: u32) -> Result<PartitionId> {
        self.partitions.get(index as usize).copied().ok_or_else(|| {
            Error::new(
                Reason::PartitionOutOfRange,
                format!(
                    "partition {index} of stream `{}` does not exist; it has {} partitions, from 0",
                    self.name,
                    self.partitions.len()
                ),
            )
            .fact("partitions", self.partitions.len())
            .applied(Applied::No)
        })
    }
}

/// No such stream; the same for one that belongs to somebody else.
pub fn stream_not_found(name: &str) -> Error {
    Error::new(Reason::StreamNotFound, format!("stream `{name}` does not exist; list streams to see what there is"))
        .fact("stream", name)
        .applied(Applied::No)
}

/// The name is taken.
pub fn stream_exists(name: &StreamName) -> Error {
    Error::new(Reason::StreamExists, format!("stream `{name}` exists; choose another name, or update it"))
        .fact("stream", name)
        .applied(Applied::No)
}

/// Groups still read the stream; some of them are named.
pub fn stream_has_groups(name: &StreamName, groups: &[String]) -> Error {
    let some = groups.iter().take(3).map(|group| format!("`{group}`")).collect::<Vec<_>>().join(", ");
    let count = groups.len();
    let message = format!("stream `{name}` has {count} consumer groups ({some}); delete them first, or use force");
    Error::new(Reason::StreamHasGroups, message).fact("stream", name).fact("groups", count).applied(Applied::No)
}

/// More partitions were not confirmed.
pub fn key_remap_not_allowed(name: &StreamName) -> Error {
    let message = format!(
        "more partitions of stream `{name}` change where keys go, which breaks their order across the change; \
         confirm with `allow_key_remap`"
    );
    Error::new(Reason::KeyRemapNotAllowed, message).fact("stream", name).applied(Applied::No)
}

/// More partitions would send keys where nothing is known of them.
pub fn keys_stay(name: &StreamName) -> Error {
    let message = format!(
        "stream `{name}` tracks its keys, which more partitions would send elsewhere; make another stream with as many as you need"
    );
    Error::new(Reason::KeyRemapNotAllowed, message).fact("stream", name).applied(Applied::No)
}

/// Something was expected of a key, and nobody knows.
pub fn keys_not_tracked(name: &StreamName) -> Error {
    let message = format!(
        "stream `{name}` does not keep the last offset of its keys, so nothing can be expected of them; that is chosen when a \
         stream is made, with `track_keys`"
    );
    Error::new(Reason::KeysNotTracked, message).fact("stream", name).applied(Applied::No)
}
