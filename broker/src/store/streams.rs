//! Streams as they are stored. The row is cold and administered by plain SQL; what touches the log's hot rows goes through the
//! schema's functions, in the same transaction.

use crate::domain::bounds::Bounds;
use crate::domain::ids::{OrganizationId, PartitionId, StreamId, StreamName};
use crate::domain::labels::Labels;
use crate::domain::reports::PartitionStatistics;
use crate::domain::schema::{Compatibility, Enforcement, Policy};
use crate::domain::stream::{Retention, Stream};
use crate::domain::stream_settings::{NewStream, StreamChange};
use crate::domain::{Error, Result};
use crate::store::{Tenant, error::from_postgres};
use tokio_postgres::Row;

/// The stream of that name.
pub async fn find(tenant: &Tenant, name: &StreamName) -> Result<Option<Stream>> {
    let sql = include_str!("sql/stream/find.sql");
    let row = tenant.query_opt(sql, &[&tenant.organization().0, &name.as_str()]).await.map_err(from_postgres)?;
    row.as_ref().map(stream).transpose()
}

/// The stream of that id.
pub async fn find_by_id(tenant: &Tenant, id: StreamId) -> Result<Option<Stream>> {
    let sql = include_str!("sql/stream/find_by_id.sql");
    let row = tenant.query_opt(sql, &[&tenant.organization().0, &id.0]).await.map_err(from_postgres)?;
    row.as_ref().map(stream).transpose()
}

/// At most `limit` streams by name, from behind `after`.
pub async fn list(tenant: &Tenant, after: &str, limit: u32) -> Result<Vec<Stream>> {
    let sql = include_str!("sql/stream/list.sql");
    let rows =
        tenant.query(sql, &[&tenant.organization().0, &after, &i64::from(limit)]).await.map_err(from_postgres)?;
    rows.iter().map(stream).collect()
}

/// Makes a stream with its partitions. `None`: the name is taken.
pub async fn create(tenant: &Tenant, new: &NewStream) -> Result<Option<StreamId>> {
    let partitions = new.partitions.cast_signed();
    let row = tenant
        .query_opt(
            include_str!("sql/stream/create.sql"),
            &[
                &tenant.organization().0,
                &new.name.as_str(),
                &new.description,
                &partitions,
                &new.retention.max_age_us,
                &new.retention.max_bytes,
                &(new.max_event_bytes as i32),
                &labels_text(&new.labels)?,
                &new.schema_policy.enforcement.as_str(),
                &new.schema_policy.compatibility.as_str(),
                &new.key_retention_us,
                &new.track_keys,
            ],
        )
        .await
        .map_err(from_postgres)?;
    let Some(id) = row.map(|row| StreamId(row.get(0))) else {
        return Ok(None);
    };
    let sql = include_str!("sql/stream/create_partitions.sql");
    tenant.execute(sql, &[&tenant.organization().0, &id.0, &partitions]).await.map_err(from_postgres)?;
    Ok(Some(id))
}

/// Changes what `change` names. False: there is no such stream.
pub async fn update(tenant: &Tenant, name: &StreamName, change: &StreamChange) -> Result<bool> {
    let labels = change.labels.as_ref().map(labels_text).transpose()?;
    let row = tenant
        .query_opt(
            include_str!("sql/stream/update.sql"),
            &[
                &tenant.organization().0,
                &name.as_str(),
                &change.description,
                &change.max_age_us,
                &change.max_bytes,
                &change.max_event_bytes.map(|bytes| bytes as i32),
                &labels,
                &change.enforcement.map(Enforcement::as_str),
                &change.compatibility.map(Compatibility::as_str),
                &change.key_retention_us,
            ],
        )
        .await
        .map_err(from_postgres)?;
    Ok(row.is_some())
}

/// Locks the stream for a change that nothing may overlap: deletion, more partitions.
pub async fn lock(tenant: &Tenant, name: &StreamName) -> Result<Option<StreamId>> {
    let sql = include_str!("sql/stream/lock.sql");
    let row = tenant.query_opt(sql, &[&tenant.organization().0, &name.as_str()]).await.map_err(from_postgres)?;
    Ok(row.map(|row| StreamId(row.get(0))))
}

/// Keeps the stream and its partitions as they are until the transaction ends.
pub async fn hold(tenant: &Tenant, name: &StreamName) -> Result<Option<StreamId>> {
    let sql = include_str!("sql/stream/hold.sql");
    let row = tenant.query_opt(sql, &[&tenant.organization().0, &name.as_str()]).await.map_err(from_postgres)?;
    Ok(row.map(|row| StreamId(row.get(0))))
}

/// Marks the stream as deleted; nothing can be appended or read from here on. The space goes with reclaim.
pub async fn delete(tenant: &Tenant, id: StreamId) -> Result<()> {
    for sql in [include_str!("sql/stream/delete.sql"), include_str!("sql/stream/drop_partitions.sql")] {
        tenant.execute(sql, &[&tenant.organization().0, &id.0]).await.map_err(from_postgres)?;
    }
    Ok(())
}

/// Makes the partitions from `from` up to `to`, and raises the routing version.
pub async fn add_partitions(tenant: &Tenant, id: StreamId, from: u32, to: u32) -> Result<()> {
    let (from, to) = (from.cast_signed(), to.cast_signed());
    let sql = include_str!("sql/stream/raise_partition_count.sql");
    tenant.execute(sql, &[&tenant.organization().0, &id.0, &to]).await.map_err(from_postgres)?;
    let sql = include_str!("sql/stream/add_partitions.sql");
    tenant.execute(sql, &[&tenant.organization().0, &id.0, &from, &to]).await.map_err(from_postgres)?;
    Ok(())
}

/// Floor and head of partitions, in their order. Partitions that went meanwhile are left out.
pub async fn bounds(tenant: &Tenant, partitions: &[PartitionId]) -> Result<Vec<(PartitionId, Bounds)>> {
    let rows = tenant.query(include_str!("sql/stream/bounds.sql"), &[&ids(partitions)]).await.map_err(from_postgres)?;
    let bounds = rows.iter().map(|row| {
        let bounds = Bounds { floor: row.get("floor_offset"), head: row.get("head_offset") };
        (PartitionId(row.get("partition_id")), bounds)
    });
    Ok(bounds.collect())
}

/// The first offset appended at a time (microseconds since 1970) or later, a partition, in their order.
pub async fn offsets_at_time(tenant: &Tenant, partitions: &[PartitionId], time: i64) -> Result<Vec<Option<i64>>> {
    let sql = include_str!("sql/stream/offsets_at_time.sql");
    let rows = tenant.query(sql, &[&tenant.organization().0, &ids(partitions), &time]).await.map_err(from_postgres)?;
    Ok(rows.iter().map(|row| row.get("at_time")).collect())
}

/// Raises floors, never lowers them. Returns how many events can no longer be read.
pub async fn raise_floors(tenant: &Tenant, floors: &[(PartitionId, i64)]) -> Result<i64> {
    let (partitions, floors): (Vec<i64>, Vec<i64>) = floors.iter().map(|(id, floor)| (id.0, *floor)).unzip();
    let sql = include_str!("sql/stream/raise_floors.sql");
    let row = tenant.query_one(sql, &[&tenant.organization().0, &partitions, &floors]).await.map_err(from_postgres)?;
    Ok(row.get("purged"))
}

/// Counts, a partition.
pub async fn statistics(tenant: &Tenant, id: StreamId) -> Result<Vec<PartitionStatistics>> {
    let sql = include_str!("sql/stream/statistics.sql");
    let rows = tenant.query(sql, &[&tenant.organization().0, &id.0]).await.map_err(from_postgres)?;
    let counted = rows.iter().map(|row| PartitionStatistics {
        partition: row.get::<_, i32>("partition_index").cast_unsigned(),
        floor: row.get("floor_offset"),
        head: row.get("head_offset"),
        events: row.get("events"),
        bytes: row.get("bytes"),
        last_append_at: row.get("appended_at"),
    });
    Ok(counted.collect())
}

fn ids(partitions: &[PartitionId]) -> Vec<i64> {
    partitions.iter().map(|partition| partition.0).collect()
}

fn stream(row: &Row) -> Result<Stream> {
    let partitions: Vec<i64> = row.get("partitions");
    Ok(Stream {
        id: StreamId(row.get("stream_id")),
        organization: OrganizationId(row.get("organization_id")),
        uid: row.get("uid"),
        name: StreamName::parse("stream.name", row.get("name")).map_err(Error::internal)?,
        description: row.get("description"),
        partitions: partitions.into_iter().map(PartitionId).collect(),
        retention: Retention { max_age_us: row.get("retention_max_age_us"), max_bytes: row.get("retention_max_bytes") },
        max_event_bytes: row.get::<_, i32>("max_event_bytes").cast_unsigned() as usize,
        labels: labels(row.get("labels"))?,
        routing_version: row.get("routing_version"),
        schema_policy: schema_policy(row)?,
        schema_revision: row.get("schema_revision"),
        key_retention_us: row.get("key_retention_us"),
        track_keys: row.get("track_keys"),
        created_at: row.get("created_at"),
        updated_at: row.get("updated_at"),
    })
}

fn schema_policy(row: &Row) -> Result<Policy> {
    let unknown = || Error::internal("a stream's schema policy is one that this broker does not know");
    Ok(Policy {
        enforcement: Enforcement::parse(row.get("schema_enforcement")).ok_or_else(unknown)?,
        compatibility: Compatibility::parse(row.get("schema_compatibility")).ok_or_else(unknown)?,
    })
}

pub(super) fn labels(text: &str) -> Result<Labels> {
    serde_json::from_str(text).map_err(Error::internal)
}

pub(super) fn labels_text(labels: &Labels) -> Result<String> {
    serde_json::to_string(labels).map_err(Error::internal)
}
