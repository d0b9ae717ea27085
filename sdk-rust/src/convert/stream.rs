//! Streams.

use std::time::Duration;

use eventflow_proto::{limits::KEY_RETENTION_SECONDS_DEFAULT, v1};

use super::{duration_from_wire, duration_to_wire, required, time_from_wire};
use crate::{
    error::{Error, Result},
    streams::{PartitionStatistics, Retention, StreamInfo, StreamSpec, StreamStatistics},
};

impl StreamSpec {
    /// The stream, and the paths of the fields that are set.
    pub(crate) fn into_wire(self, name: String) -> (v1::Stream, Vec<String>) {
        let set = [
            ("description", self.description.is_some()),
            ("partitions", self.partitions.is_some()),
            ("retention", self.retention.is_some()),
            ("max_event_bytes", self.max_event_bytes.is_some()),
            ("labels", self.labels.is_some()),
            ("schema_policy.enforcement", self.schema_enforcement.is_some()),
            ("schema_policy.compatibility", self.schema_compatibility.is_some()),
            ("idempotency_key_retention", self.key_retention.is_some()),
            ("track_keys", self.track_keys),
        ];
        let paths = set.iter().filter(|(_, set)| *set).map(|(path, _)| (*path).to_owned()).collect();
        let unspecified = (v1::SchemaEnforcement::Unspecified, v1::SchemaCompatibility::Unspecified);
        let schema_policy = v1::SchemaPolicy {
            enforcement: self.schema_enforcement.map_or(unspecified.0, Into::into).into(),
            compatibility: self.schema_compatibility.map_or(unspecified.1, Into::into).into(),
        };
        let stream = v1::Stream {
            name,
            description: self.description.unwrap_or_default(),
            partitions: self.partitions.unwrap_or_default(),
            retention: self.retention.map(v1::Retention::from),
            max_event_bytes: self.max_event_bytes.unwrap_or_default(),
            labels: self.labels.unwrap_or_default(),
            schema_policy: Some(schema_policy),
            idempotency_key_retention: self.key_retention.map(|kept| duration_to_wire(kept.unwrap_or_default())),
            track_keys: self.track_keys,
            ..v1::Stream::default()
        };
        (stream, paths)
    }
}

impl TryFrom<v1::Stream> for StreamInfo {
    type Error = Error;

    fn try_from(stream: v1::Stream) -> Result<Self> {
        Ok(Self {
            name: stream.name,
            uid: stream.uid,
            description: stream.description,
            partitions: stream.partitions,
            retention: stream.retention.as_ref().map(Retention::from).unwrap_or_default(),
            max_event_bytes: stream.max_event_bytes,
            labels: stream.labels,
            routing_version: stream.routing_version,
            schema_policy: stream.schema_policy.unwrap_or_default().into(),
            key_retention: match &stream.idempotency_key_retention {
                Some(kept) => Some(duration_from_wire(kept)).filter(|kept| !kept.is_zero()),
                None => Some(Duration::from_secs(KEY_RETENTION_SECONDS_DEFAULT.unsigned_abs())),
            },
            track_keys: stream.track_keys,
            create_time: time_from_wire(&required(stream.create_time, "stream.create_time")?),
            update_time: time_from_wire(&required(stream.update_time, "stream.update_time")?),
        })
    }
}

impl From<&v1::Retention> for Retention {
    fn from(retention: &v1::Retention) -> Self {
        Self {
            max_age: match &retention.max_age {
                Some(age) => Some(duration_from_wire(age)).filter(|age| !age.is_zero()),
                None => Self::default().max_age,
            },
            max_bytes_per_partition: retention.max_bytes_per_partition,
        }
    }
}

impl From<v1::GetStreamStatisticsResponse> for StreamStatistics {
    fn from(statistics: v1::GetStreamStatisticsResponse) -> Self {
        let partition = |entry: v1::PartitionStatistics| PartitionStatistics {
            partition: entry.partition,
            floor: entry.floor,
            head: entry.head,
            events: entry.events,
            bytes: entry.bytes,
            last_append_time: entry.last_append_time.as_ref().map(time_from_wire),
        };
        Self {
            events: statistics.events,
            bytes: statistics.bytes,
            partitions: statistics.partitions.into_iter().map(partition).collect(),
        }
    }
}
