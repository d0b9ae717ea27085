//! Consumer groups.

use crate::catalogue::{Moved, Page, Seek};
use crate::domain::group::{ConsumerGroup, OnTruncated};
use crate::domain::group_settings::{self as settings, GroupChange, NewGroup, Start};
use crate::domain::ids::{GroupId, GroupName, StreamName};
use crate::domain::labels::{check_description, check_labels};
use crate::domain::position::{LogEpoch, Position};
use crate::domain::reports::{Member, PartitionLag, PartitionSeek};
use crate::domain::{Error, Result};
use crate::grpc::convert::mask;
use crate::grpc::convert::position::position;
use crate::grpc::convert::time::{duration, duration_us, timestamp};
use eventflow_proto::v1;

const UPDATABLE: [&str; 4] = ["description", "on_truncated", "drain_timeout", "labels"];

/// The group to be made.
pub fn new_group(request: v1::CreateConsumerGroupRequest) -> Result<NewGroup> {
    let start = start(request.start.as_ref())?;
    let wire = request.group.ok_or_else(|| Error::invalid("group", "must be set"))?;
    check_description("group.description", &wire.description)?;
    check_labels("group.labels", &wire.labels)?;
    if v1::DeliveryMode::try_from(wire.delivery_mode).is_err() {
        return Err(Error::invalid("group.delivery_mode", "must be ordered, or unspecified"));
    }
    Ok(NewGroup {
        name: GroupName::parse("group.name", &wire.name)?,
        stream: StreamName::parse("group.stream", &wire.stream)?,
        on_truncated: on_truncated(&wire)?,
        drain_ms: drain_ms(&wire)?,
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
            "drain_timeout" => change.drain_ms = Some(drain_ms(wire)?),
            _ => {
                check_labels("group.labels", &wire.labels)?;
                change.labels = Some(wire.labels.clone());
            }
        }
    }
    Ok((name, change))
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
    let drain = wire.drain_timeout.as_ref().map(|drain| duration_us(field, drain)).transpose()?;
    settings::drain_ms(field, drain.map(|us| us.div_euclid(1_000)))
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
            delivery_mode: v1::DeliveryMode::Ordered.into(),
            on_truncated: on_truncated.into(),
            drain_timeout: Some(duration(group.drain_ms * 1_000)),
            labels: group.labels.clone(),
            paused: group.paused,
            member_count: group.member_count,
            create_time: Some(timestamp(group.created_at)),
            update_time: Some(timestamp(group.updated_at)),
            generation: group.generation,
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

/// Lag of all partitions, the sum in events and the largest in seconds.
pub fn lag(partitions: Vec<PartitionLag>) -> v1::GetLagResponse {
    v1::GetLagResponse {
        lag_events: partitions.iter().map(|partition| partition.lag_events).sum(),
        lag_seconds: partitions.iter().map(|partition| partition.lag_seconds).fold(0.0, f64::max),
        partitions: partitions.into_iter().map(Into::into).collect(),
    }
}

impl From<PartitionLag> for v1::PartitionLag {
    fn from(lag: PartitionLag) -> Self {
        Self {
            partition: lag.partition,
            next_offset: lag.next_offset,
            floor: lag.floor,
            head: lag.head,
            lag_events: lag.lag_events,
            lag_seconds: lag.lag_seconds,
            member: lag.member.unwrap_or_default(),
            lease_epoch: lag.lease_epoch.cast_unsigned(),
            log_epoch: LogEpoch::of(lag.next_offset).0.cast_unsigned(),
            truncated_events: lag.truncated_events,
        }
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
        }
    }
}

#[cfg(test)]
mod tests;
