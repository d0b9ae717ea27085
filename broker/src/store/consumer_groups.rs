//! Consumer groups as they are stored: the row is cold; progress and members are hot and reached through the schema's functions.

use crate::domain::bounds::Bounds;
use crate::domain::filter::Filter;
use crate::domain::group::{ConsumerGroup, DeliveryMode, OnTruncated};
use crate::domain::group_settings::{GroupChange, NewGroup, Start};
use crate::domain::ids::{GroupId, GroupName, OrganizationId, PartitionId, StreamId, StreamName};
use crate::domain::reports::{GroupLag, HotKey, Member, OutcomeCounts, PartitionLag, PartitionSeek};
use crate::domain::retry::{OnFailure, RetryPolicy};
use crate::domain::{Error, Result};
use crate::store::streams::{labels, labels_text};
use crate::store::{Client, Tenant, error::from_postgres};
use tokio_postgres::Row;

/// The group of that name.
pub async fn find(tenant: &Tenant, name: &GroupName) -> Result<Option<ConsumerGroup>> {
    let sql = include_str!("sql/consumer_group/find.sql");
    let row = tenant.query_opt(sql, &[&tenant.organization().0, &name.as_str()]).await.map_err(from_postgres)?;
    row.as_ref().map(group).transpose()
}

/// At most `limit` groups by name, from behind `after`; those of one stream, or all.
pub async fn list(tenant: &Tenant, stream: Option<StreamId>, after: &str, limit: u32) -> Result<Vec<ConsumerGroup>> {
    let sql = include_str!("sql/consumer_group/list.sql");
    let stream = stream.map(|stream| stream.0);
    let rows = tenant
        .query(sql, &[&tenant.organization().0, &after, &stream, &i64::from(limit)])
        .await
        .map_err(from_postgres)?;
    rows.iter().map(group).collect()
}

/// Makes a group, and its progress at the offsets that its start means now. `None`: the name is taken. The caller holds the
/// stream, so that no partition is missed.
pub async fn create(tenant: &Tenant, stream: StreamId, new: &NewGroup) -> Result<Option<GroupId>> {
    let row = tenant
        .query_opt(
            include_str!("sql/consumer_group/create.sql"),
            &[
                &tenant.organization().0,
                &stream.0,
                &new.name.as_str(),
                &new.description,
                &on_truncated_text(new.on_truncated),
                &new.drain_ms,
                &labels_text(&new.labels)?,
                &new.mode.as_str(),
                &new.ack_timeout_ms,
                &new.retry.initial_ms,
                &new.retry.multiplier,
                &new.retry.max_ms,
                &new.retry.max_attempts.cast_signed(),
                &new.on_failure.as_str(),
                &new.filter.as_ref().map_or("", Filter::as_str),
                &new.key_order,
            ],
        )
        .await
        .map_err(from_postgres)?;
    let Some(id) = row.map(|row| GroupId(row.get(0))) else {
        return Ok(None);
    };
    let (start, time) = match new.start {
        Start::Earliest => ("earliest", None),
        Start::Latest => ("latest", None),
        Start::Time(time) => ("time", Some(time)),
    };
    let sql = include_str!("sql/consumer_group/create_progress.sql");
    tenant.execute(sql, &[&tenant.organization().0, &id.0, &stream.0, &start, &time]).await.map_err(from_postgres)?;
    Ok(Some(id))
}

/// Changes what `change` names, at least the time of the update. `None`: there is no such group.
pub async fn update(tenant: &Tenant, name: &GroupName, change: &GroupChange) -> Result<Option<GroupId>> {
    let labels = change.labels.as_ref().map(labels_text).transpose()?;
    let row = tenant
        .query_opt(
            include_str!("sql/consumer_group/update.sql"),
            &[
                &tenant.organization().0,
                &name.as_str(),
                &change.description,
                &change.on_truncated.map(on_truncated_text),
                &change.drain_ms,
                &labels,
                &change.ack_timeout_ms,
                &change.retry.map(|retry| retry.initial_ms),
                &change.retry.map(|retry| retry.multiplier),
                &change.retry.map(|retry| retry.max_ms),
                &change.retry.map(|retry| retry.max_attempts.cast_signed()),
                &change.on_failure.map(OnFailure::as_str),
                &change.filter.as_ref().map(|filter| filter.as_ref().map_or("", Filter::as_str)),
            ],
        )
        .await
        .map_err(from_postgres)?;
    Ok(row.map(|row| GroupId(row.get(0))))
}

/// Tells the group's sessions that its filter has changed.
pub async fn refilter(tenant: &Tenant, group: GroupId) -> Result<()> {
    let sql = include_str!("sql/consumer_group/refilter.sql");
    tenant.execute(sql, &[&tenant.organization().0, &group.0]).await.map_err(from_postgres)?;
    Ok(())
}

/// Removes the group and its progress; says how many members it had. `None`: there is no such group.
pub async fn delete(tenant: &Tenant, name: &GroupName) -> Result<Option<(GroupId, i64)>> {
    let sql = include_str!("sql/consumer_group/delete.sql");
    let row = tenant.query_opt(sql, &[&tenant.organization().0, &name.as_str()]).await.map_err(from_postgres)?;
    let Some(id) = row.map(|row| row.get::<_, i64>(0)) else {
        return Ok(None);
    };
    let members = drop_progress(tenant, &[id]).await?;
    Ok(Some((GroupId(id), members)))
}

/// Removes all groups of a stream with their progress. The caller has locked the stream.
pub async fn delete_of_stream(tenant: &Tenant, stream: StreamId) -> Result<Vec<GroupId>> {
    let sql = include_str!("sql/consumer_group/delete_of_stream.sql");
    let rows = tenant.query(sql, &[&tenant.organization().0, &stream.0]).await.map_err(from_postgres)?;
    let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    drop_progress(tenant, &ids).await?;
    Ok(ids.into_iter().map(GroupId).collect())
}

async fn drop_progress(tenant: &Tenant, groups: &[i64]) -> Result<i64> {
    let sql = include_str!("sql/consumer_group/drop_progress.sql");
    let row = tenant.query_one(sql, &[&tenant.organization().0, &groups]).await.map_err(from_postgres)?;
    Ok(row.get("members"))
}

/// Names of the groups that read a stream.
pub async fn names_of_stream(tenant: &Tenant, stream: StreamId) -> Result<Vec<String>> {
    let sql = include_str!("sql/consumer_group/names_of_stream.sql");
    let rows = tenant.query(sql, &[&tenant.organization().0, &stream.0]).await.map_err(from_postgres)?;
    Ok(rows.iter().map(|row| row.get("name")).collect())
}

/// The groups that read a stream.
pub async fn ids_of_stream(tenant: &Tenant, stream: StreamId) -> Result<Vec<GroupId>> {
    let sql = include_str!("sql/consumer_group/ids_of_stream.sql");
    let rows = tenant.query(sql, &[&tenant.organization().0, &stream.0]).await.map_err(from_postgres)?;
    Ok(rows.iter().map(|row| GroupId(row.get("group_id"))).collect())
}

/// Stops delivery, or lets it go on.
pub async fn pause(tenant: &Tenant, group: GroupId, paused: bool) -> Result<()> {
    let sql = include_str!("sql/consumer_group/pause.sql");
    tenant.execute(sql, &[&tenant.organization().0, &group.0, &paused]).await.map(drop).map_err(from_postgres)
}

/// Members by name.
pub async fn members(tenant: &Tenant, group: GroupId) -> Result<Vec<Member>> {
    let sql = include_str!("sql/consumer_group/members.sql");
    let rows = tenant.query(sql, &[&tenant.organization().0, &group.0]).await.map_err(from_postgres)?;
    let members = rows.iter().map(|row| Member {
        name: row.get("member_name"),
        broker: row.get("broker"),
        client: row.get("client"),
        client_address: row.get("client_address"),
        partitions: row.get::<_, Vec<i32>>("partition_indexes").into_iter().map(i32::cast_unsigned).collect(),
        joined_at: row.get("joined_at"),
        connected: row.get("connected"),
    });
    Ok(members.collect())
}

/// Progress and lag, a partition.
pub async fn lag(tenant: &Tenant, group: GroupId) -> Result<Vec<PartitionLag>> {
    let sql = include_str!("sql/consumer_group/lag.sql");
    let rows = tenant.query(sql, &[&tenant.organization().0, &group.0]).await.map_err(from_postgres)?;
    let lag = rows.iter().map(|row| PartitionLag {
        partition: row.get::<_, i32>("partition_index").cast_unsigned(),
        next_offset: row.get("next_offset"),
        floor: row.get("floor_offset"),
        head: row.get("head_offset"),
        lag_events: row.get("lag_events"),
        lag_seconds: row.get("lag_seconds"),
        member: Some(row.get::<_, String>("member_name")).filter(|name| !name.is_empty()),
        lease_epoch: row.get("lease_epoch"),
        truncated_events: row.get("truncated_events"),
    });
    Ok(lag.collect())
}

/// The lag of groups of any organization, all partitions of each together. Those that are gone are left out.
pub async fn lags(db: &impl Client, groups: &[GroupId]) -> Result<Vec<(GroupId, GroupLag)>> {
    let ids: Vec<i64> = groups.iter().map(|group| group.0).collect();
    let sql = include_str!("sql/consumer_group/lags.sql");
    let rows = db.query(sql, &[&ids]).await.map_err(from_postgres)?;
    let lag = rows.iter().map(|row| {
        let lag = GroupLag {
            organization: row.get("organization"),
            stream: row.get("stream"),
            group: row.get("consumer_group"),
            events: row.get("lag_events"),
            seconds: row.get("lag_seconds"),
        };
        (GroupId(row.get("group_id")), lag)
    });
    Ok(lag.collect())
}

/// Retries and dead letters of each partition.
pub async fn outcome_counts(tenant: &Tenant, group: GroupId) -> Result<Vec<OutcomeCounts>> {
    let sql = include_str!("sql/consumer_group/outcome_counts.sql");
    let rows = tenant.query(sql, &[&tenant.organization().0, &group.0]).await.map_err(from_postgres)?;
    let counts = rows.iter().map(|row| OutcomeCounts {
        partition: row.get::<_, i32>("partition_index").cast_unsigned(),
        retries: row.get("retries"),
        dead_letters: row.get("dead_letters"),
    });
    Ok(counts.collect())
}

/// Keys for which events wait, the hottest first.
pub async fn hot_keys(tenant: &Tenant, group: GroupId) -> Result<Vec<HotKey>> {
    let sql = include_str!("sql/consumer_group/hot_keys.sql");
    let rows = tenant.query(sql, &[&tenant.organization().0, &group.0]).await.map_err(from_postgres)?;
    let keys = rows.iter().map(|row| HotKey {
        partition: row.get::<_, i32>("partition_index").cast_unsigned(),
        key: row.get::<_, &str>("key").into(),
        waiting: row.get::<_, i64>("waiting_events").cast_unsigned(),
        behind: row.get("behind_offset"),
    });
    Ok(keys.collect())
}

/// What a seek answered for one partition.
pub struct Sought {
    pub moved: PartitionSeek,
    pub bounds: Bounds,
    /// The target lies within the bounds. Unless all do, nothing moved.
    pub within: bool,
}

/// Moves a group to `targets`, all of them or none; a dry run only answers. Empty: the group is gone.
pub async fn seek(
    tenant: &Tenant,
    group: GroupId,
    targets: &[(PartitionId, i64)],
    dry_run: bool,
) -> Result<Vec<Sought>> {
    let (partitions, offsets): (Vec<i64>, Vec<i64>) = targets.iter().map(|(id, offset)| (id.0, *offset)).unzip();
    let rows = tenant
        .query(
            include_str!("sql/consumer_group/seek.sql"),
            &[&tenant.organization().0, &group.0, &partitions, &offsets, &dry_run],
        )
        .await
        .map_err(from_postgres)?;
    let sought = rows.iter().map(|row| Sought {
        moved: PartitionSeek {
            partition: row.get::<_, i32>("partition_index").cast_unsigned(),
            previous_offset: row.get("previous_offset"),
            next_offset: row.get("next_offset"),
            replayed_events: row.get("replayed_events"),
            cleared_retries: row.get("cleared_retries"),
        },
        bounds: Bounds { floor: row.get("floor_offset"), head: row.get("head_offset") },
        within: row.get("within"),
    });
    Ok(sought.collect())
}

fn on_truncated_text(value: OnTruncated) -> &'static str {
    match value {
        OnTruncated::Continue => "continue",
        OnTruncated::Stop => "stop",
    }
}

fn group(row: &Row) -> Result<ConsumerGroup> {
    Ok(ConsumerGroup {
        id: GroupId(row.get("group_id")),
        organization: OrganizationId(row.get("organization_id")),
        name: GroupName::parse("group.name", row.get("name")).map_err(Error::internal)?,
        stream_id: StreamId(row.get("stream_id")),
        stream: StreamName::parse("group.stream", row.get("stream")).map_err(Error::internal)?,
        description: row.get("description"),
        mode: DeliveryMode::parse(row.get("delivery_mode")),
        key_order: row.get("key_order"),
        ack_timeout_ms: row.get("ack_timeout_ms"),
        retry: RetryPolicy {
            initial_ms: row.get("retry_initial_ms"),
            multiplier: row.get("retry_multiplier"),
            max_ms: row.get("retry_max_ms"),
            max_attempts: row.get::<_, i32>("max_attempts").cast_unsigned(),
        },
        on_failure: OnFailure::parse(row.get("on_failure")),
        on_truncated: match row.get("on_truncated") {
            "stop" => OnTruncated::Stop,
            _ => OnTruncated::Continue,
        },
        drain_ms: row.get("drain_ms"),
        filter: Filter::parse("group.filter", row.get("filter"))?,
        filter_version: row.get("filter_version"),
        labels: labels(row.get("labels"))?,
        managed: row.get("managed"),
        paused: row.get("paused"),
        generation: row.get("generation"),
        member_count: u32::try_from(row.get::<_, i64>("members")).unwrap_or(u32::MAX),
        created_at: row.get("created_at"),
        updated_at: row.get("updated_at"),
    })
}
