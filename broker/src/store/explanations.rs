//! What is stored about one event of one group.

use crate::domain::explanation::{AtBroker, DeadLettered, Facts, Retrying};
use crate::domain::ids::{GroupId, OrganizationId, PartitionId};
use crate::domain::{Error, Result};
use crate::store::{Pooled, error::from_postgres};
use tokio_postgres::Row;

/// None: the group does not read that partition, or is gone.
pub async fn facts(
    db: &Pooled,
    organization: OrganizationId,
    group: GroupId,
    partition: PartitionId,
    offset: i64,
) -> Result<Option<Facts>> {
    let statement = db.prepare_cached(include_str!("sql/group/explain.sql")).await.map_err(from_postgres)?;
    let row =
        db.query_opt(&statement, &[&organization.0, &group.0, &partition.0, &offset]).await.map_err(from_postgres)?;
    row.as_ref().map(read).transpose()
}

fn read(row: &Row) -> Result<Facts> {
    let attempts = |name| -> Result<Option<u32>> { Ok(get::<Option<i32>>(row, name)?.map(|count| count as u32)) };
    let retry = match attempts("retry_attempts")? {
        None => None,
        Some(failed) => Some(Retrying {
            failed,
            due_at: get(row, "retry_due_at")?,
            in_place: get(row, "is_retry_in_place")?,
            is_held: get(row, "is_retry_held")?,
            at: at(row, "retry_broker")?,
            member: get::<Option<String>>(row, "retry_member")?.unwrap_or_default(),
            reason: get(row, "retry_reason")?,
            error_class: get(row, "retry_error_class")?,
            is_parked: get(row, "is_retry_parked")?,
            behind: get(row, "key_behind_offset")?,
        }),
    };
    let dead = match attempts("dead_attempts")? {
        None => None,
        Some(attempts) => Some(DeadLettered {
            attempts,
            at: get(row, "dead_at")?,
            member: get::<Option<String>>(row, "dead_member")?.unwrap_or_default(),
            reason: get(row, "dead_reason")?,
            error_class: get(row, "dead_error_class")?,
        }),
    };
    let in_place = match (get(row, "in_place_offset")?, attempts("in_place_attempts")?) {
        (Some(offset), Some(failed)) => Some((offset, failed, get(row, "in_place_due_at")?)),
        _ => None,
    };
    Ok(Facts {
        now: get(row, "now_at")?,
        floor: get(row, "floor_offset")?,
        head: get(row, "head_offset")?,
        start: get(row, "start_offset")?,
        next: get(row, "next_offset")?,
        claimed_to: get(row, "claim_offset")?,
        paused: get(row, "paused")?,
        members: get::<i64>(row, "members")?.unsigned_abs(),
        holder: get(row, "holder")?,
        session: get(row, "holder_session")?,
        holder_at: at(row, "holder_broker")?,
        in_place,
        is_claimed: get(row, "is_claimed")?,
        claim_at: at(row, "claim_broker")?,
        retry,
        dead,
        deliver_at: None,
    })
}

fn at(row: &Row, broker: &str) -> Result<Option<AtBroker>> {
    let Some(id) = get(row, broker)? else { return Ok(None) };
    let (name, address) = (format!("{broker}_name"), format!("{broker}_address"));
    Ok(Some(AtBroker { id, name: get(row, &name)?, address: get(row, &address)? }))
}

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, name: &str) -> Result<T> {
    row.try_get(name).map_err(Error::internal)
}
