//! Consumer groups.

use crate::catalogue::{Moved, Page, Seek};
use crate::domain::filter::Filter;
use crate::domain::group::{ConsumerGroup, DeliveryMode, OnTruncated};
use crate::domain::group_settings::{self as settings, GroupChange, NewGroup, Start};
use crate::domain::ids::{GroupId, GroupName, StreamName};
use crate::domain::labels::{check_description, check_labels};
use crate::domain::position::{LogEpoch, Position};
use crate::domain::reports::{HotKey, Member, OutcomeCounts, PartitionLag, PartitionSeek};
use crate::domain::retry::{OnFailure, RetryChoice, RetryPolicy};
use crate::domain::{Error, Result};
use crate::grpc::convert::mask;
use crate::grpc::convert::position::position;
use crate::grpc::convert::time::{duration, duration_us, timestamp};
use eventflow_proto::v1;

const UPDATABLE: [&str; 8] =
    ["description", "on_truncated", "drain_timeout", "filter", "labels", "ack_timeout", "retry_policy", "on_failure"];

/// The group to be made.
pub fn new_group(request: v1::CreateConsumerGroupRequest) -> Result<NewGroup> {
    let start = start(request.start.as_ref())?;
    let wire = request.group.ok_or_else(|| Error::invalid("group", "must be set"))?;
    check_description("group.description", &wire.description)?;
    check_labels("group.labels", &wire.labels)?;
    let mode = mode(&wire)?;
    if mode == DeliveryMode::Shared {
        if wire.on_failure != 0 {
            return Err(Error::invalid("group.on_failure", "must be unset in a shared group: it always goes on"));
        }
        if wire.on_truncated() == v1::OnTruncated::Stop {
            return Err(Error::invalid("group.on_truncated", "must be continue, or unset, in a shared group"));
        }
    }
    if mode == DeliveryMode::Ordered && wire.key_order {
        return Err(Error::invalid(
            "group.key_order",
            "must be unset in an ordered group: all its events are in order",
        ));
    }
    Ok(NewGroup {
        key_order: wire.key_order,
        name: GroupName::parse("group.name", &wire.name)?,
        stream: StreamName::parse("group.stream", &wire.stream)?,
        mode,
        ack_timeout_ms: ack_timeout_ms(&wire)?,
        retry: retry(&wire)?,
        on_failure: on_failure(&wire)?,
        on_truncated: on_truncated(&wire)?,
        drain_ms: drain_ms(&wire)?,
        filter: Filter::parse("group.filter", &wire.filter)?,
        description: wire.description,
        labels: wire.labels,
        start,
    })
}

fn start(wire: Option<&v1::Position>) -> Result<Start> {
    match position("start", wire)? {
        None | Some(Position::Earliest) => Ok(Start::Earliest),
        Some(Position::Latest) => Ok(Start::Latest),
        Some(Position::Time(time)) => Ok(Start::Time(time)),
        Some(Position::Offset(_)) => {
            Err(Error::invalid("start.offset", "must not be set: create the group, then seek its partitions"))
        }
    }
}

/// What to change, and of which group.
pub fn group_change(request: &v1::UpdateConsumerGroupRequest) -> Result<(GroupName, GroupChange)> {
    let wire = request.group.as_ref().ok_or_else(|| Error::invalid("group", "must be set"))?;
    let name = GroupName::parse("group.name", &wire.name)?;
    let mut change = GroupChange::default();
    for path in mask::paths(request.update_mask.as_ref(), &UPDATABLE)? {
        match path {
            "description" => {
                check_description("group.description", &wire.description)?;
                change.description = Some(wire.description.clone());
            }
            "on_truncated" => change.on_truncated = Some(on_truncated(wire)?),
            "filter" => change.filter = Some(Filter::parse("group.filter", &wire.filter)?),
            "drain_timeout" => change.drain_ms = Some(drain_ms(wire)?),
            "ack_timeout" => change.ack_timeout_ms = Some(ack_timeout_ms(wire)?),
            "retry_policy" => change.retry = Some(retry(wire)?),
            "on_failure" => change.on_failure = Some(on_failure(wire)?),
            _ => {
                check_labels("group.labels", &wire.labels)?;
                change.labels = Some(wire.labels.clone());
            }
        }
    }
    Ok((name, change))
}

fn mode(wire: &v1::ConsumerGroup) -> Result<DeliveryMode> {
    match v1::DeliveryMode::try_from(wire.delivery_mode) {
        Ok(v1::DeliveryMode::Unspecified | v1::DeliveryMode::Ordered) => Ok(DeliveryMode::Ordered),
        Ok(v1::DeliveryMode::Shared) => Ok(DeliveryMode::Shared),
        Err(_) => Err(Error::invalid("group.delivery_mode", "must be ordered, shared, or unspecified")),
    }
}

fn on_failure(wire: &v1::ConsumerGroup) -> Result<OnFailure> {
    match v1::OnFailure::try_from(wire.on_failure) {
        Ok(v1::OnFailure::Unspecified | v1::OnFailure::Block) => Ok(OnFailure::Block),
        Ok(v1::OnFailure::Skip) => Ok(OnFailure::Skip),
        Ok(v1::OnFailure::DeadLetter) => Ok(OnFailure::DeadLetter),
        Err(_) => Err(Error::invalid("group.on_failure", "must be block, skip, dead_letter, or unspecified")),
    }
}

fn ack_timeout_ms(wire: &v1::ConsumerGroup) -> Result<i64> {
    let field = "group.ack_timeout";
    settings::ack_timeout_ms(field, milliseconds(field, wire.ack_timeout.as_ref())?)
}

fn retry(wire: &v1::ConsumerGroup) -> Result<RetryPolicy> {
    let policy = wire.retry_policy.unwrap_or_default();
    let choice = RetryChoice {
        initial_ms: milliseconds("group.retry_policy.initial_backoff", policy.initial_backoff.as_ref())?,
        multiplier: policy.multiplier,
        max_ms: milliseconds("group.retry_policy.max_backoff", policy.max_backoff.as_ref())?,
        max_attempts: policy.max_attempts,
    };
    RetryPolicy::choose("group.retry_policy", choice)
}

fn milliseconds(field: &str, wire: Option<&prost_types::Duration>) -> Result<Option<i64>> {
    Ok(wire.map(|wire| duration_us(field, wire)).transpose()?.map(|us| us.div_euclid(1_000)))
}

fn on_truncated(wire: &v1::ConsumerGroup) -> Result<OnTruncated> {
    match v1::OnTruncated::try_from(wire.on_truncated) {
        Ok(v1::OnTruncated::Unspecified | v1::OnTruncated::Continue) => Ok(OnTruncated::Continue),
        Ok(v1::OnTruncated::Stop) => Ok(OnTruncated::Stop),
        Err(_) => Err(Error::invalid("group.on_truncated", "must be continue, stop, or unspecified")),
    }
}

fn drain_ms(wire: &v1::ConsumerGroup) -> Result<i64> {
    let field = "group.drain_timeout";
    settings::drain_ms(field, milliseconds(field, wire.drain_timeout.as_ref())?)
}

/// Where to move a group.
pub fn seek(request: &v1::SeekRequest) -> Result<Seek> {
    let to = position("to", request.to.as_ref())?.ok_or_else(|| Error::invalid("to", "must be set"))?;
    if matches!(to, Position::Offset(_)) && request.partition.is_none() {
        return Err(Error::invalid("partition", "is needed with an offset"));
    }
    Ok(Seek {
        group: GroupName::parse("name", &request.name)?,
        partition: request.partition,
        to,
        validate_only: request.validate_only,
    })
}

impl From<&ConsumerGroup> for v1::ConsumerGroup {
    fn from(group: &ConsumerGroup) -> Self {
        let on_truncated = match group.on_truncated {
            OnTruncated::Continue => v1::OnTruncated::Continue,
            OnTruncated::Stop => v1::OnTruncated::Stop,
        };
        Self {
            name: group.name.as_str().to_owned(),
            stream: group.stream.as_str().to_owned(),
            description: group.description.clone(),
            delivery_mode: match group.mode {
                DeliveryMode::Ordered => v1::DeliveryMode::Ordered.into(),
                DeliveryMode::Shared => v1::DeliveryMode::Shared.into(),
            },
            on_truncated: on_truncated.into(),
            drain_timeout: Some(duration(group.drain_ms * 1_000)),
            labels: group.labels.clone(),
            paused: group.paused,
            member_count: group.member_count,
            create_time: Some(timestamp(group.created_at)),
            update_time: Some(timestamp(group.updated_at)),
            generation: group.generation,
            ack_timeout: Some(duration(group.ack_timeout_ms * 1_000)),
            retry_policy: Some(v1::RetryPolicy {
                initial_backoff: Some(duration(group.retry.initial_ms * 1_000)),
                multiplier: Some(group.retry.multiplier),
                max_backoff: Some(duration(group.retry.max_ms * 1_000)),
                max_attempts: Some(group.retry.max_attempts),
            }),
            on_failure: match (group.mode, group.on_failure) {
                (DeliveryMode::Shared, _) => v1::OnFailure::Unspecified.into(),
                (_, OnFailure::Block) => v1::OnFailure::Block.into(),
                (_, OnFailure::Skip) => v1::OnFailure::Skip.into(),
                (_, OnFailure::DeadLetter) => v1::OnFailure::DeadLetter.into(),
            },
            filter: group.filter.as_ref().map(|filter| filter.as_str().to_owned()).unwrap_or_default(),
            filter_version: group.filter_version,
            key_order: group.key_order,
            managed_by: if group.managed { "rules".to_owned() } else { String::new() },
        }
    }
}

impl From<&ConsumerGroup> for v1::CreateConsumerGroupResponse {
    fn from(group: &ConsumerGroup) -> Self {
        Self { group: Some(group.into()) }
    }
}

impl From<&ConsumerGroup> for v1::GetConsumerGroupResponse {
    fn from(group: &ConsumerGroup) -> Self {
        Self { group: Some(group.into()) }
    }
}

impl From<&ConsumerGroup> for v1::UpdateConsumerGroupResponse {
    fn from(group: &ConsumerGroup) -> Self {
        Self { group: Some(group.into()) }
    }
}

impl From<&ConsumerGroup> for v1::PauseConsumerGroupResponse {
    fn from(group: &ConsumerGroup) -> Self {
        Self { group: Some(group.into()) }
    }
}

impl From<&ConsumerGroup> for v1::ResumeConsumerGroupResponse {
    fn from(group: &ConsumerGroup) -> Self {
        Self { group: Some(group.into()) }
    }
}

impl From<Page<ConsumerGroup>> for v1::ListConsumerGroupsResponse {
    fn from(page: Page<ConsumerGroup>) -> Self {
        Self { groups: page.items.iter().map(Into::into).collect(), next_page_token: page.next_page_token }
    }
}

impl From<&GroupId> for v1::DeleteConsumerGroupResponse {
    fn from(_gone: &GroupId) -> Self {
        Self {}
    }
}

/// Members, as they were listed.
pub fn members(members: Vec<Member>) -> v1::ListMembersResponse {
    v1::ListMembersResponse { members: members.into_iter().map(Into::into).collect() }
}

impl From<Member> for v1::Member {
    fn from(member: Member) -> Self {
        Self {
            name: member.name,
            broker: member.broker,
            client: member.client,
            client_address: member.client_address,
            partitions: member.partitions,
            join_time: Some(timestamp(member.joined_at)),
            connected: member.connected,
        }
    }
}

/// Lag of all partitions, the sum in events and the largest in seconds; and what failed in each.
pub fn lag((partitions, counts, hot_keys): (Vec<PartitionLag>, Vec<OutcomeCounts>, Vec<HotKey>)) -> v1::GetLagResponse {
    let failed = |partition: u32| counts.iter().find(|count| count.partition == partition).copied().unwrap_or_default();
    v1::GetLagResponse {
        lag_events: partitions.iter().map(|partition| partition.lag_events).sum(),
        lag_seconds: partitions.iter().map(|partition| partition.lag_seconds).fold(0.0, f64::max),
        retry_events: counts.iter().map(|count| count.retries).sum(),
        dead_letter_events: counts.iter().map(|count| count.dead_letters).sum(),
        partitions: partitions.iter().map(|lag| partition_lag(lag, failed(lag.partition))).collect(),
        hot_keys: hot_keys.into_iter().map(hot_key).collect(),
    }
}

fn hot_key(hot: HotKey) -> v1::HotKey {
    v1::HotKey {
        partition: hot.partition,
        key: hot.key.to_string(),
        waiting_events: hot.waiting.cast_signed(),
        behind_offset: hot.behind,
    }
}

fn partition_lag(lag: &PartitionLag, failed: OutcomeCounts) -> v1::PartitionLag {
    v1::PartitionLag {
        partition: lag.partition,
        next_offset: lag.next_offset,
        floor: lag.floor,
        head: lag.head,
        lag_events: lag.lag_events,
        lag_seconds: lag.lag_seconds,
        member: lag.member.clone().unwrap_or_default(),
        lease_epoch: lag.lease_epoch.cast_unsigned(),
        log_epoch: LogEpoch::of(lag.next_offset).0.cast_unsigned(),
        truncated_events: lag.truncated_events,
        retry_events: failed.retries,
        dead_letter_events: failed.dead_letters,
    }
}

impl From<&Moved> for v1::SeekResponse {
    fn from(moved: &Moved) -> Self {
        Self { partitions: moved.partitions.iter().map(Into::into).collect() }
    }
}

impl From<&PartitionSeek> for v1::PartitionSeek {
    fn from(moved: &PartitionSeek) -> Self {
        Self {
            partition: moved.partition,
            previous_offset: moved.previous_offset,
            next_offset: moved.next_offset,
            replayed_events: moved.replayed_events,
            cleared_retries: moved.cleared_retries,
        }
    }
}

#[cfg(test)]
mod tests;
