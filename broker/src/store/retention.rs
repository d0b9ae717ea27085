//! Raising floors, reclaiming space, pruning what producers need no more.

use crate::domain::ids::{OrganizationId, PartitionId};
use crate::domain::{Error, Result};
use crate::store::{Client, error::from_postgres};
use tokio_postgres::Row;

/// A partition whose retention says where its floor should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub partition: PartitionId,
    pub organization: OrganizationId,
    /// Where it is now.
    pub floor: i64,
    /// Where it should be.
    pub target: i64,
}

/// A page of partitions behind `after`, with the floors that their retention asks for.
pub async fn targets(db: &impl Client, after: PartitionId, limit: i32) -> Result<Vec<Target>> {
    let rows = db
        .query(
            "select partition_id, organization_id, floor_offset, target_floor from eventflow.retention_v1($1, $2)",
            &[&after.0, &limit],
        )
        .await
        .map_err(from_postgres)?;
    rows.iter()
        .map(|row| {
            Ok(Target {
                partition: PartitionId(get(row, 0)?),
                organization: OrganizationId(get(row, 1)?),
                floor: get(row, 2)?,
                target: get(row, 3)?,
            })
        })
        .collect()
}

/// Raises a floor; answers how many events can no longer be read.
pub async fn raise_floor(db: &impl Client, target: Target) -> Result<i64> {
    let row = db
        .query_one(
            "select eventflow.raise_floor_v1($1, $2, $3)",
            &[&target.organization.0, &target.partition.0, &target.target],
        )
        .await
        .map_err(from_postgres)?;
    get(&row, 0)
}

/// A page of partitions behind `after` that have rows to reclaim.
pub async fn reclaimable(db: &impl Client, after: PartitionId, limit: i32) -> Result<Vec<PartitionId>> {
    let rows = db.query("select eventflow.reclaimable_v1($1, $2)", &[&after.0, &limit]).await.map_err(from_postgres)?;
    rows.iter().map(|row| Ok(PartitionId(get(row, 0)?))).collect()
}

/// Removes at most `rows` rows below the floor; answers how many went.
pub async fn reclaim(db: &impl Client, partition: PartitionId, rows: i32) -> Result<i32> {
    let row =
        db.query_one("select eventflow.reclaim_v1($1, $2)", &[&partition.0, &rows]).await.map_err(from_postgres)?;
    get(&row, 0)
}

/// What a step of the ring did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Something; there may be more.
    Done,
    /// Nothing now: a condemned segment may still be seen by an older snapshot, or is locked.
    Waiting,
    /// Nothing, and there is nothing to do.
    Idle,
}

/// One step of the ring of segments; `turn_ring_v1` says which there are. At most one broker is at it, the others find it idle.
pub async fn turn_ring(db: &impl Client, segment_bytes: i64, rows: i32) -> Result<Turn> {
    let row =
        db.query_one("select eventflow.turn_ring_v1($1, $2)", &[&segment_bytes, &rows]).await.map_err(from_postgres)?;
    Ok(match get(&row, 0)? {
        "idle" => Turn::Idle,
        "waiting" => Turn::Waiting,
        step => {
            tracing::debug!(step, "the ring of segments");
            Turn::Done
        }
    })
}

/// Tells partitions whose stream's retention was changed where their next events go; answers how many.
pub async fn sort_streams(db: &impl Client) -> Result<i64> {
    let row = db.query_one("select eventflow.sort_streams_v1()", &[]).await.map_err(from_postgres)?;
    get(&row, 0)
}

/// Forgets producer runs beyond what is remembered; answers how many.
pub async fn prune_runs(db: &impl Client) -> Result<i64> {
    let row = db.query_one("select eventflow.prune_runs_v1()", &[]).await.map_err(from_postgres)?;
    get(&row, 0)
}

/// Forgets idempotency keys that their stream no longer keeps; answers how many.
pub async fn prune_keys(db: &impl Client) -> Result<i64> {
    let row = db.query_one("select eventflow.prune_keys_v1()", &[]).await.map_err(from_postgres)?;
    get(&row, 0)
}

/// Takes a job's lock for this transaction; false: another broker is at it.
pub async fn try_lock(db: &impl Client, job: &str) -> Result<bool> {
    let row = db
        .query_one("select pg_try_advisory_xact_lock(hashtext('eventflow.job.' || $1))", &[&job])
        .await
        .map_err(from_postgres)?;
    get(&row, 0)
}

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, index: usize) -> Result<T> {
    row.try_get(index).map_err(Error::internal)
}

/// Forgets sessions that ended long ago.
pub async fn prune_sessions(db: &impl Client) -> Result<()> {
    db.execute("select eventflow.prune_sessions_v1()", &[]).await.map(drop).map_err(from_postgres)
}
