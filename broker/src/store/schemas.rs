//! Schemas as they are stored: cold rows under row-level security.

use crate::domain::Result;
use crate::domain::ids::StreamId;
use crate::domain::schema::{Listed, Schema};
use crate::store::{Tenant, error::from_postgres};
use tokio_postgres::Row;

/// The newest version of each event type.
pub async fn newest(tenant: &Tenant, stream: StreamId) -> Result<Vec<Schema>> {
    let sql = include_str!("sql/schema/newest.sql");
    let rows = tenant.query(sql, &[&tenant.organization().0, &stream.0]).await.map_err(from_postgres)?;
    Ok(rows.iter().map(schema).collect())
}

/// A version of the schema of an event type; 0 is the newest.
pub async fn find(tenant: &Tenant, stream: StreamId, event_type: &str, version: i32) -> Result<Option<Schema>> {
    let sql = include_str!("sql/schema/find.sql");
    let arguments: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
        [&tenant.organization().0, &stream.0, &event_type, &version];
    let row = tenant.query_opt(sql, &arguments).await.map_err(from_postgres)?;
    Ok(row.as_ref().map(schema))
}

/// At most `limit` schemas by type and version, from behind `after`.
pub async fn list(
    tenant: &Tenant,
    stream: StreamId,
    listed: &Listed,
    after: (&str, i32),
    limit: u32,
) -> Result<Vec<Schema>> {
    let sql = include_str!("sql/schema/list.sql");
    let arguments: [&(dyn tokio_postgres::types::ToSql + Sync); 7] = [
        &tenant.organization().0,
        &stream.0,
        &listed.event_type,
        &after.0,
        &after.1,
        &listed.newest_only,
        &i64::from(limit),
    ];
    let rows = tenant.query(sql, &arguments).await.map_err(from_postgres)?;
    Ok(rows.iter().map(schema).collect())
}

/// Adds a version, and raises the stream's revision. The caller holds the stream's lock.
pub async fn add(tenant: &Tenant, stream: StreamId, event_type: &str, version: i32, definition: &str) -> Result<()> {
    let organization = tenant.organization().0;
    let sql = include_str!("sql/schema/add.sql");
    tenant
        .execute(sql, &[&organization, &stream.0, &event_type, &version, &definition])
        .await
        .map_err(from_postgres)?;
    let sql = include_str!("sql/schema/raise_revision.sql");
    tenant.execute(sql, &[&organization, &stream.0]).await.map_err(from_postgres)?;
    Ok(())
}

/// How many event types of the stream have a schema.
pub async fn count_types(tenant: &Tenant, stream: StreamId) -> Result<usize> {
    let sql = include_str!("sql/schema/count_types.sql");
    let row = tenant.query_one(sql, &[&tenant.organization().0, &stream.0]).await.map_err(from_postgres)?;
    Ok(row.get::<_, i64>("types") as usize)
}

fn schema(row: &Row) -> Schema {
    Schema {
        event_type: row.get("event_type"),
        version: row.get("version"),
        definition: row.get("definition"),
        created_at: row.get("created_at"),
    }
}
