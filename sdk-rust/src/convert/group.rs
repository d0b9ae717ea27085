//! Consumer groups.

use eventflow_proto::v1;

use super::{duration_from_wire, duration_to_wire, required, time_from_wire};
use crate::{
    error::{Error, Result},
    groups::{
        DeliveryMode, GroupInfo, GroupSpec, HotKey, Lag, Member, OnFailure, OnTruncated, PartitionLag, PartitionSeek,
        RetryPolicy,
    },
};

impl From<OnTruncated> for v1::OnTruncated {
    fn from(policy: OnTruncated) -> Self {
        match policy {
            OnTruncated::Continue => Self::Continue,
            OnTruncated::Stop => Self::Stop,
        }
    }
}

impl From<RetryPolicy> for v1::RetryPolicy {
    fn from(policy: RetryPolicy) -> Self {
        Self {
            initial_backoff: Some(duration_to_wire(policy.initial)),
            multiplier: Some(policy.multiplier),
            max_backoff: Some(duration_to_wire(policy.max)),
            max_attempts: Some(policy.max_attempts),
        }
    }
}

impl From<v1::RetryPolicy> for RetryPolicy {
    fn from(policy: v1::RetryPolicy) -> Self {
        let default = Self::default();
        Self {
            initial: policy.initial_backoff.as_ref().map_or(default.initial, duration_from_wire),
            multiplier: policy.multiplier.unwrap_or(default.multiplier),
            max: policy.max_backoff.as_ref().map_or(default.max, duration_from_wire),
            max_attempts: policy.max_attempts.unwrap_or(default.max_attempts),
        }
    }
}

fn on_failure_to_wire(policy: OnFailure) -> v1::OnFailure {
    match policy {
        OnFailure::Block => v1::OnFailure::Block,
        OnFailure::Skip => v1::OnFailure::Skip,
        OnFailure::DeadLetter => v1::OnFailure::DeadLetter,
    }
}

impl GroupSpec {
    /// The group, and the paths of the fields that are set.
    pub(crate) fn into_wire(self, name: String) -> (v1::ConsumerGroup, Vec<String>) {
        let set = [
            ("description", self.description.is_some()),
            ("on_truncated", self.on_truncated.is_some()),
            ("drain_timeout", self.drain_timeout.is_some()),
            ("filter", self.filter.is_some()),
            ("labels", self.labels.is_some()),
            ("ack_timeout", self.ack_timeout.is_some()),
            ("retry_policy", self.retry.is_some()),
            ("on_failure", self.on_failure.is_some()),
        ];
        let paths = set.iter().filter(|(_, set)| *set).map(|(path, _)| (*path).to_owned()).collect();
        let group = v1::ConsumerGroup {
            name,
            description: self.description.unwrap_or_default(),
            on_truncated: self.on_truncated.map_or(0, |policy| v1::OnTruncated::from(policy) as i32),
            drain_timeout: self.drain_timeout.map(duration_to_wire),
            filter: self.filter.unwrap_or_default(),
            labels: self.labels.unwrap_or_default(),
            delivery_mode: match self.mode {
                None => 0,
                Some(DeliveryMode::Ordered) => v1::DeliveryMode::Ordered as i32,
                Some(DeliveryMode::Shared) => v1::DeliveryMode::Shared as i32,
            },
            ack_timeout: self.ack_timeout.map(duration_to_wire),
            retry_policy: self.retry.map(v1::RetryPolicy::from),
            on_failure: self.on_failure.map_or(0, |policy| on_failure_to_wire(policy) as i32),
            key_order: self.key_order,
            ..v1::ConsumerGroup::default()
        };
        (group, paths)
    }
}

impl TryFrom<v1::ConsumerGroup> for GroupInfo {
    type Error = Error;

    fn try_from(group: v1::ConsumerGroup) -> Result<Self> {
        Ok(Self {
            mode: match group.delivery_mode() {
                v1::DeliveryMode::Shared => DeliveryMode::Shared,
                _ => DeliveryMode::Ordered,
            },
            on_failure: match group.on_failure() {
                v1::OnFailure::Unspecified => None,
                v1::OnFailure::Block => Some(OnFailure::Block),
                v1::OnFailure::Skip => Some(OnFailure::Skip),
                v1::OnFailure::DeadLetter => Some(OnFailure::DeadLetter),
            },
            ack_timeout: duration_from_wire(&group.ack_timeout.unwrap_or_default()),
            retry: group.retry_policy.unwrap_or_default().into(),
            on_truncated: match group.on_truncated() {
                v1::OnTruncated::Stop => OnTruncated::Stop,
                _ => OnTruncated::Continue,
            },
            drain_timeout: duration_from_wire(&required(group.drain_timeout, "group.drain_timeout")?),
            create_time: time_from_wire(&required(group.create_time, "group.create_time")?),
            update_time: time_from_wire(&required(group.update_time, "group.update_time")?),
            name: group.name,
            stream: group.stream,
            description: group.description,
            labels: group.labels,
            paused: group.paused,
            member_count: group.member_count,
            generation: group.generation,
            filter: group.filter,
            filter_version: group.filter_version,
            key_order: group.key_order,
            managed_by: group.managed_by,
        })
    }
}

impl TryFrom<v1::Member> for Member {
    type Error = Error;

    fn try_from(member: v1::Member) -> Result<Self> {
        Ok(Self {
            join_time: time_from_wire(&required(member.join_time, "member.join_time")?),
            name: member.name,
            broker: member.broker,
            client: member.client,
            client_address: member.client_address,
            partitions: member.partitions,
            connected: member.connected,
        })
    }
}

impl From<v1::GetLagResponse> for Lag {
    fn from(lag: v1::GetLagResponse) -> Self {
        let partition = |entry: v1::PartitionLag| PartitionLag {
            partition: entry.partition,
            next_offset: entry.next_offset,
            floor: entry.floor,
            head: entry.head,
            events: entry.lag_events,
            seconds: entry.lag_seconds,
            member: Some(entry.member).filter(|member| !member.is_empty()),
            lease_epoch: entry.lease_epoch,
            log_epoch: entry.log_epoch,
            truncated_events: entry.truncated_events,
            retries: entry.retry_events,
            dead_letters: entry.dead_letter_events,
        };
        Self {
            events: lag.lag_events,
            seconds: lag.lag_seconds,
            partitions: lag.partitions.into_iter().map(partition).collect(),
            retries: lag.retry_events,
            dead_letters: lag.dead_letter_events,
            hot_keys: lag.hot_keys.into_iter().map(HotKey::from).collect(),
        }
    }
}

impl From<v1::HotKey> for HotKey {
    fn from(hot: v1::HotKey) -> Self {
        Self { partition: hot.partition, key: hot.key, waiting: hot.waiting_events, behind_offset: hot.behind_offset }
    }
}

impl From<v1::PartitionSeek> for PartitionSeek {
    fn from(seek: v1::PartitionSeek) -> Self {
        Self {
            partition: seek.partition,
            previous_offset: seek.previous_offset,
            next_offset: seek.next_offset,
            replayed_events: seek.replayed_events,
            cleared_retries: seek.cleared_retries,
        }
    }
}
