//! Partitions of a group that keeps the order of keys: which pool hands them out, and what waits for an earlier event of its key.

use crate::domain::ids::PartitionId;
use crate::domain::reports::HotKey;
use crate::domain::{Error, Result};
use crate::store::columns::composite_array;
use crate::store::outcomes::{Holder, Key, get};
use crate::store::{Pooled, error::from_postgres};
use bytes::BytesMut;
use postgres_types::{IsNull, ToSql, Type, to_sql_checked};
use std::error::Error as StdError;
use std::sync::Arc;

/// What a pool hands out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dispatched {
    /// With the number of the taking: another one, and what was known before does not count.
    pub partitions: Vec<(PartitionId, i64)>,
    /// So many should go to others.
    pub excess: usize,
}

/// An event that stands in the way of its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    pub key: Arc<str>,
    pub offset: i64,
    pub parked: bool,
}

/// An event that is moved out of its claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aside {
    pub claim: Key,
    pub offset: i64,
    /// When it is due, in microseconds since 1970. None: when the earlier events of its key are done.
    pub due_at: Option<i64>,
}

/// Takes partitions that are free, up to a fair share. None: the broker's lease ran out.
pub async fn dispatch(db: &Pooled, holder: &Holder, hot: Option<&HotKey>) -> Result<Option<Dispatched>> {
    let statement = db.prepare_cached(include_str!("sql/outcome/dispatch.sql")).await.map_err(from_postgres)?;
    let Holder { organization, group, holder, broker } = holder;
    let partition = hot.map(|hot| hot.partition.cast_signed());
    let (key, waiting, behind) =
        (hot.map(|hot| &*hot.key), hot.map(|hot| hot.waiting.cast_signed()), hot.map(|hot| hot.behind));
    let row = db
        .query_opt(&statement, &[&organization.0, &group.0, holder, broker, &partition, &key, &waiting, &behind])
        .await
        .map_err(from_postgres)?;
    row.map(|row| {
        let (ids, epochs): (Vec<i64>, Vec<i64>) = (get(&row, 0)?, get(&row, 1)?);
        let excess = usize::try_from(get::<i32>(&row, 2)?).unwrap_or(0);
        Ok(Dispatched { partitions: ids.into_iter().map(PartitionId).zip(epochs).collect(), excess })
    })
    .transpose()
}

/// Lets partitions go with all that is claimed and taken of them, uncounted. None: all, for good.
pub async fn let_go(db: &Pooled, holder: &Holder, partitions: Option<&[PartitionId]>) -> Result<()> {
    let statement = db.prepare_cached(include_str!("sql/outcome/let_go.sql")).await.map_err(from_postgres)?;
    let ids: Option<Vec<i64>> = partitions.map(|some| some.iter().map(|partition| partition.0).collect());
    db.execute(&statement, &[&holder.organization.0, &holder.group.0, &holder.holder, &ids])
        .await
        .map_err(from_postgres)?;
    Ok(())
}

/// What stands in the way of keys. None: somebody else dispatches the partition.
pub async fn key_rows(db: &Pooled, holder: &Holder, partition: PartitionId) -> Result<Option<Vec<KeyRow>>> {
    let statement = db.prepare_cached(include_str!("sql/outcome/key_rows.sql")).await.map_err(from_postgres)?;
    let rows = db
        .query(&statement, &[&holder.organization.0, &holder.group.0, &holder.holder, &partition.0])
        .await
        .map_err(from_postgres)?;
    if rows.is_empty() {
        return Ok(None);
    }
    let mut found = Vec::new();
    for row in &rows {
        if let Some(key) = get::<Option<&str>>(row, 0)? {
            found.push(KeyRow { key: key.into(), offset: get(row, 1)?, parked: get(row, 2)? });
        }
    }
    Ok(Some(found))
}

/// Moves events out of their claims. Durable when it returns; answers the places of those whose claim was not held any more.
pub async fn set_aside(db: &Pooled, holder: &Holder, asides: &[Aside]) -> Result<Vec<usize>> {
    let statement = db.prepare_cached(include_str!("sql/outcome/set_aside.sql")).await.map_err(from_postgres)?;
    let row = db
        .query_one(&statement, &[&holder.organization.0, &holder.group.0, &holder.holder, &Asides(asides)])
        .await
        .map_err(crate::store::error::from_commit)?;
    let places: Vec<i32> = row.try_get(0).map_err(Error::internal)?;
    Ok(places.into_iter().filter_map(|place| usize::try_from(place - 1).ok()).collect())
}

/// Lets the next parked events of keys go, where none of the key is on its way to another attempt.
pub async fn unpark(db: &Pooled, holder: &Holder, keys: &[(PartitionId, Arc<str>)], limit: u32) -> Result<()> {
    let statement = db.prepare_cached(include_str!("sql/outcome/unpark.sql")).await.map_err(from_postgres)?;
    let (ids, names): (Vec<i64>, Vec<&str>) = keys.iter().map(|(partition, key)| (partition.0, &**key)).unzip();
    let (organization, group) = (&holder.organization.0, &holder.group.0);
    db.execute(&statement, &[organization, group, &holder.holder, &ids, &names, &limit.cast_signed()])
        .await
        .map_err(from_postgres)?;
    Ok(())
}

#[derive(Debug)]
struct Asides<'a>(&'a [Aside]);

impl ToSql for Asides<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        composite_array(ty, self.0, out, |aside, record| {
            record.int8(aside.claim.partition.0);
            record.int8(aside.offset);
            record.int8(aside.claim.offset);
            record.int8(aside.claim.lease_epoch);
            record.opt_int8(aside.due_at);
        })
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), postgres_types::Kind::Array(_))
    }

    to_sql_checked!();
}
