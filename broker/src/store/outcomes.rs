//! What a broker hands out of shared groups, and what became of it: claims, and settlements in one server-side call.
//!
//! Everything is fenced by the holder and the lease epoch under which it was taken.

use crate::domain::ids::{GroupId, OrganizationId, PartitionId};
use crate::domain::position::Fence;
use crate::domain::ranges::Ranges;
use crate::domain::retry::Why;
use crate::domain::{Error, Result};
use crate::store::columns::{RecordWriter, composite_array};
use crate::store::dispatch::Aside;
use crate::store::{Pooled, error::from_postgres};
use bytes::BytesMut;
use postgres_types::{IsNull, ToSql, Type, to_sql_checked};
use std::error::Error as StdError;
use std::sync::Arc;
use tokio_postgres::Row;
use uuid::Uuid;

/// Who hands out, and of which group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    pub organization: OrganizationId,
    pub group: GroupId,
    pub holder: Uuid,
    /// The broker's incarnation, by which a sweep frees what is held.
    pub broker: Uuid,
}

/// Offsets that one broker hands out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub partition: PartitionId,
    pub from: i64,
    pub to: i64,
    pub fence: Fence,
    pub done: Ranges,
}

/// Names a claim (by its first offset) or a retry, and the epoch that it was taken under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    pub partition: PartitionId,
    pub offset: i64,
    pub lease_epoch: i64,
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The event, and the epoch that it was dealt under.
    pub key: Key,
    /// The claim that it is of; None: it was a retry.
    pub claim: Option<i64>,
    /// None: a dead letter.
    pub delay_ms: Option<i64>,
    pub lost_only: bool,
    pub alone: bool,
    pub why: Why,
    pub member: Arc<str>,
    pub duration_ms: i64,
}

/// What became of events, to be written in one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settlement {
    /// What is done of claims, failed events among it.
    pub done: Vec<(Key, Ranges)>,
    pub failed: Vec<Failed>,
    /// Retries that were acknowledged.
    pub acked: Vec<Key>,
    /// Written after these, so that what waits for an earlier event of its key never stands in `retry` alone.
    pub asides: Vec<Aside>,
    /// Last: keys whose next parked events may go.
    pub unparked: Vec<(PartitionId, Arc<str>)>,
}

/// What changed nothing, by its place in the settlement: it was not held any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    pub claims: Vec<usize>,
    pub failed: Vec<usize>,
    pub acked: Vec<usize>,
    pub asides: Vec<usize>,
}

/// Claims what is free or new, about `events` of each partition. A partition without a claim has nothing.
pub async fn claim(db: &Pooled, holder: &Holder, partitions: &[PartitionId], events: u64) -> Result<Vec<Claim>> {
    let statement = db.prepare_cached(include_str!("sql/outcome/claim.sql")).await.map_err(from_postgres)?;
    let ids: Vec<i64> = partitions.iter().map(|partition| partition.0).collect();
    let Holder { organization, group, holder, broker } = holder;
    let rows = db
        .query(&statement, &[&organization.0, &group.0, holder, broker, &ids, &events.cast_signed()])
        .await
        .map_err(from_postgres)?;
    rows.iter().map(read_claim).collect()
}

fn read_claim(row: &Row) -> Result<Claim> {
    let done: &str = get(row, 5)?;
    Ok(Claim {
        partition: PartitionId(get(row, 0)?),
        from: get(row, 1)?,
        to: get(row, 2)?,
        fence: Fence { lease_epoch: get(row, 3)?, log_epoch: get(row, 4)? },
        done: Ranges::parse(done).ok_or_else(|| Error::internal("a claim's ranges do not parse"))?,
    })
}

/// Writes what became of events. Durable when it returns.
pub async fn settle(db: &Pooled, holder: &Holder, settlement: &Settlement) -> Result<Lost> {
    let statement = db.prepare_cached(include_str!("sql/outcome/settle.sql")).await.map_err(from_postgres)?;
    let Settlement { done, failed, acked, .. } = settlement;
    let (organization, group) = (&holder.organization.0, &holder.group.0);
    let row = db
        .query_one(&statement, &[organization, group, &holder.holder, &Dones(done), &Failures(failed), &Keys(acked)])
        .await
        .map_err(crate::store::error::from_commit)?;
    let places = |index| -> Result<Vec<usize>> {
        let places: Vec<i32> = get(&row, index)?;
        Ok(places.into_iter().filter_map(|place| usize::try_from(place - 1).ok()).collect())
    };
    Ok(Lost { claims: places(0)?, failed: places(1)?, acked: places(2)?, asides: Vec::new() })
}

/// Gives claims and retries back; nothing is counted.
pub async fn give_back(db: &Pooled, holder: &Holder, claims: &[Key], retries: &[Key]) -> Result<()> {
    let statement = db.prepare_cached(include_str!("sql/outcome/give_back.sql")).await.map_err(from_postgres)?;
    let (organization, group) = (&holder.organization.0, &holder.group.0);
    db.execute(&statement, &[organization, group, &holder.holder, &Keys(claims), &Keys(retries)])
        .await
        .map_err(from_postgres)?;
    Ok(())
}

/// Gives back what was not dealt of a claim that stays.
pub async fn split(db: &Pooled, holder: &Holder, claim: Key, undealt: &Ranges) -> Result<()> {
    let statement = db.prepare_cached(include_str!("sql/outcome/split.sql")).await.map_err(from_postgres)?;
    let (organization, group) = (&holder.organization.0, &holder.group.0);
    let Key { partition, offset, lease_epoch } = &claim;
    let text = undealt.to_string();
    db.execute(&statement, &[organization, group, &holder.holder, &partition.0, offset, lease_epoch, &text])
        .await
        .map_err(from_postgres)?;
    Ok(())
}

/// What is still held: claims and retries.
pub async fn held(db: &Pooled, holder: &Holder) -> Result<(Vec<Key>, Vec<Key>)> {
    let statement = db.prepare_cached(include_str!("sql/outcome/held.sql")).await.map_err(from_postgres)?;
    let rows = db
        .query(&statement, &[&holder.organization.0, &holder.group.0, &holder.holder])
        .await
        .map_err(from_postgres)?;
    let (mut claims, mut retries) = (Vec::new(), Vec::new());
    for row in &rows {
        let key = Key { partition: PartitionId(get(row, 1)?), offset: get(row, 2)?, lease_epoch: get(row, 3)? };
        if get(row, 0)? { retries.push(key) } else { claims.push(key) }
    }
    Ok((claims, retries))
}

/// Writes a failure's fields, as `failure_input_v1` has them.
pub(super) fn write_failure(failed: &Failed, record: &mut RecordWriter<'_>) {
    record.int8(failed.key.partition.0);
    record.int8(failed.key.offset);
    record.opt_int8(failed.claim);
    record.int8(failed.key.lease_epoch);
    record.opt_int8(failed.delay_ms);
    record.bool(failed.lost_only);
    record.bool(failed.alone);
    record.text(&failed.why.reason);
    record.text(&failed.why.error_class);
    record.text(&failed.member);
    record.int8(failed.duration_ms);
    record.text(&failed.why.trace_id);
}

#[derive(Debug)]
struct Dones<'a>(&'a [(Key, Ranges)]);
#[derive(Debug)]
struct Failures<'a>(&'a [Failed]);
#[derive(Debug)]
struct Keys<'a>(&'a [Key]);

type Written = Result<IsNull, Box<dyn StdError + Sync + Send>>;

impl ToSql for Dones<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Written {
        composite_array(ty, self.0, out, |(key, ranges), record| {
            record.int8(key.partition.0);
            record.int8(key.offset);
            record.int8(key.lease_epoch);
            record.text(&ranges.to_string());
        })
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), postgres_types::Kind::Array(_))
    }

    to_sql_checked!();
}

impl ToSql for Failures<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Written {
        composite_array(ty, self.0, out, write_failure)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), postgres_types::Kind::Array(_))
    }

    to_sql_checked!();
}

impl ToSql for Keys<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Written {
        composite_array(ty, self.0, out, |key, record| {
            record.int8(key.partition.0);
            record.int8(key.offset);
            record.int8(key.lease_epoch);
        })
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), postgres_types::Kind::Array(_))
    }

    to_sql_checked!();
}

pub(super) fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, index: usize) -> Result<T> {
    row.try_get(index).map_err(Error::internal)
}
