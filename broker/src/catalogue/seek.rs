//! Moving a group.

use crate::catalogue::{Answer, Catalogue, Once, groups::existing_group};
use crate::domain::audit::Target;
use crate::domain::group::{ConsumerGroup, group_not_found};
use crate::domain::ids::{GroupId, GroupName, PartitionId};
use crate::domain::position::Position;
use crate::domain::reports::PartitionSeek;
use crate::domain::stream::stream_not_found;
use crate::domain::{Error, Reason, Result};
use crate::identity::{Granted, ManageGroups};
use crate::store::{Tenant, consumer_groups, streams};

/// Where a group shall go on.
#[derive(Clone, Debug)]
pub struct Seek {
    pub group: GroupName,
    /// All partitions when absent.
    pub partition: Option<u32>,
    pub to: Position,
    /// Only say what would happen.
    pub validate_only: bool,
}

/// A group that was moved, or would be.
#[derive(Clone, Debug)]
pub struct Moved {
    pub group: GroupId,
    pub partitions: Vec<PartitionSeek>,
}

impl Catalogue {
    /// Moves a group in all partitions that were asked for, or in none. A preview changes nothing, and is not remembered.
    pub async fn seek(
        &self,
        granted: &Granted<ManageGroups>,
        once: &Once<Moved>,
        seek: &Seek,
    ) -> Result<Answer<Moved>> {
        let organization = granted.organization();
        let work = |tenant| async move { carry_out(&tenant, granted, seek).await };
        if seek.validate_only {
            return Ok(Answer::Fresh(self.0.store.tenant(organization, work).await?));
        }
        let answer = self.0.store.change(granted.actor(), once, |_| moved(seek), work).await?;
        if let Some(moved) = answer.fresh() {
            self.0.changed.group(moved.group);
        }
        Ok(answer)
    }
}

/// What the audit log says of it.
fn moved(seek: &Seek) -> Target {
    let to = match seek.to {
        Position::Offset(offset) => format!("offset {offset}"),
        Position::Time(us) => format!("time {us} us"),
        Position::Earliest => "earliest".to_owned(),
        Position::Latest => "latest".to_owned(),
    };
    let partition = seek.partition.map(|index| format!(", partition {index}")).unwrap_or_default();
    Target::group(&seek.group).saying(format!("to {to}{partition}"))
}

async fn carry_out(tenant: &Tenant, granted: &Granted<ManageGroups>, seek: &Seek) -> Result<Moved> {
    let group = existing_group(tenant, granted, &seek.group).await?;
    let targets = targets(tenant, &group, seek).await?;
    let sought = consumer_groups::seek(tenant, group.id, &targets, seek.validate_only).await?;
    if sought.is_empty() {
        return Err(group_not_found(seek.group.as_str()));
    }
    if let Some(outside) = sought.iter().find(|sought| !sought.within) {
        if matches!(seek.to, Position::Offset(_)) {
            outside.bounds.check(outside.moved.partition, outside.moved.next_offset)?;
        }
        // The floor rose between the look and the move.
        return Err(Error::new(Reason::ConcurrentChange, "retention moved the floor at the same time; try again"));
    }
    Ok(Moved { group: group.id, partitions: sought.into_iter().map(|sought| sought.moved).collect() })
}

async fn targets(tenant: &Tenant, group: &ConsumerGroup, seek: &Seek) -> Result<Vec<(PartitionId, i64)>> {
    let stream = streams::find_by_id(tenant, group.stream_id).await?;
    let stream = stream.ok_or_else(|| stream_not_found(group.stream.as_str()))?;
    let partitions = match seek.partition {
        Some(index) => vec![stream.partition(index)?],
        None => stream.partitions,
    };
    match seek.to {
        Position::Offset(_) if seek.partition.is_none() => Err(Error::invalid("partition", "is needed with an offset")),
        Position::Offset(offset) => Ok(partitions.into_iter().map(|id| (id, offset)).collect()),
        Position::Time(time) => {
            let offsets = streams::offsets_at_time(tenant, &partitions, time).await?;
            Ok(partitions.into_iter().zip(offsets).filter_map(|(id, offset)| Some((id, offset?))).collect())
        }
        Position::Earliest | Position::Latest => {
            let earliest = seek.to == Position::Earliest;
            let bounds = streams::bounds(tenant, &partitions).await?;
            Ok(bounds.into_iter().map(|(id, at)| (id, if earliest { at.floor } else { at.head })).collect())
        }
    }
}
