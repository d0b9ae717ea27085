//! Failed events on their way to another attempt, with their copies; and failures in ordered groups.

use crate::domain::Result;
use crate::domain::event::{Batch, Encoder, Fields};
use crate::domain::ids::{GroupId, OrganizationId, PartitionId};
use crate::domain::position::Fence;
use crate::domain::publisher::Publishers;
use crate::domain::retry::Tries;
use crate::store::columns::composite;
use crate::store::outcomes::{Failed, Holder, get, write_failure};
use crate::store::progress::Committed;
use crate::store::{Pooled, error::from_postgres};
use bytes::BytesMut;
use postgres_types::{IsNull, Kind, ToSql, Type, to_sql_checked};
use std::error::Error as StdError;
use std::sync::Arc;
use tokio_postgres::Row;
use uuid::Uuid;

/// Why an event is tried again, and its copy: a batch of one.
#[derive(Clone, Debug)]
pub struct Again {
    pub failed: u32,
    pub reason: String,
    pub error_class: String,
    pub event: Arc<Batch>,
}

/// A retry that was taken, to be dealt to a member.
#[derive(Clone, Debug)]
pub struct Retry {
    pub partition: PartitionId,
    pub fence: Fence,
    pub tries: Tries,
    /// It was a dead letter, and somebody gave it back.
    pub redriven: bool,
    pub again: Again,
}

/// The event that is retried where a partition's progress stands.
#[derive(Clone, Debug)]
pub struct InPlace {
    pub due_in_ms: i64,
    pub again: Again,
}

/// A partition under the lease that a session believes it has.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub organization: OrganizationId,
    pub group: GroupId,
    pub partition: PartitionId,
    pub session: Uuid,
    pub fence: Fence,
}

/// How an ordered group counts a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Progress stands here now.
    At(i64),
    /// Progress was further already.
    Passed,
    SeekFenced,
    MemberFenced,
}

/// Takes retries that are due, at most so many and about so many bytes of them. None for the partitions: all. Only those that fell due
/// within so many milliseconds; None: whenever.
pub async fn take(
    db: &Pooled,
    holder: &Holder,
    partitions: Option<&[PartitionId]>,
    within_ms: Option<u64>,
    (limit, bytes_max): (u32, usize),
) -> Result<Vec<Retry>> {
    let statement = db.prepare_cached(include_str!("sql/outcome/take_retries.sql")).await.map_err(from_postgres)?;
    let ids: Option<Vec<i64>> = partitions.map(|some| some.iter().map(|partition| partition.0).collect());
    let Holder { organization, group, holder, broker } = holder;
    let rows = db
        .query(
            &statement,
            &[
                &organization.0,
                &group.0,
                holder,
                broker,
                &ids,
                &limit.cast_signed(),
                &(bytes_max as i64),
                &within_ms.map(u64::cast_signed),
            ],
        )
        .await
        .map_err(from_postgres)?;
    let retry = |row: &Row| {
        let again = read_again(row)?;
        Ok(Retry {
            partition: PartitionId(get(row, 13)?),
            fence: Fence { lease_epoch: get(row, 14)?, log_epoch: get(row, 15)? },
            tries: Tries { failed: again.failed, lost_only: get(row, 16)?, alone: get(row, 17)? },
            redriven: get(row, 18)?,
            again,
        })
    };
    rows.iter().map(retry).collect()
}

/// The event to be retried where a held partition stands; None: there is none.
pub async fn in_place(db: &Pooled, place: &Place) -> Result<Option<InPlace>> {
    let statement = db.prepare_cached(include_str!("sql/outcome/in_place.sql")).await.map_err(from_postgres)?;
    let row = db
        .query_opt(&statement, &[&place.organization.0, &place.group.0, &place.partition.0, &place.session])
        .await
        .map_err(from_postgres)?;
    row.map(|row| Ok(InPlace { due_in_ms: get(&row, 13)?, again: read_again(&row)? })).transpose()
}

pub(super) fn read_again(row: &Row) -> Result<Again> {
    let text = |index| get::<Option<&str>>(row, index);
    let mut encoder = Encoder::with_capacity(1, row.raw_size_bytes());
    encoder.push(Fields {
        id: text(6)?,
        kind: text(7)?.unwrap_or_default(),
        key: text(8)?,
        time_us: get(row, 9)?,
        content_type: text(10)?.unwrap_or_default(),
        headers: text(11)?,
        payload: get(row, 12)?,
    });
    let mut publishers = Publishers::default();
    if let Some(publisher) = text(5)? {
        publishers.push(&publisher.into(), 1);
    }
    let event =
        Batch { base_offset: get(row, 0)?, appended_at_us: get(row, 4)?, encoded: encoder.finish(), publishers };
    Ok(Again {
        failed: get::<i32>(row, 1)?.cast_unsigned(),
        reason: get(row, 2)?,
        error_class: get(row, 3)?,
        event: Arc::new(event),
    })
}

/// Counts a failure of the event where an ordered group's progress stands; `in_place` leaves progress there while it is to be tried
/// again. Making the same call again counts nothing twice. Durable when it returns.
pub async fn fail(db: &Pooled, place: &Place, attempt: u32, retry: InOrder, failed: &Failed) -> Result<Counted> {
    let statement = db.prepare_cached(include_str!("sql/outcome/fail.sql")).await.map_err(from_postgres)?;
    let row = db
        .query_one(
            &statement,
            &[
                &place.organization.0,
                &place.group.0,
                &place.session,
                &place.fence.log_epoch,
                &attempt.cast_signed(),
                &(retry == InOrder::InPlace),
                &Failure(failed),
            ],
        )
        .await
        .map_err(crate::store::error::from_commit)?;
    Ok(match get::<&str>(&row, 0)? {
        "applied" => Counted::At(get(&row, 1)?),
        "passed" => Counted::Passed,
        "seek_fenced" => Counted::SeekFenced,
        _ => Counted::MemberFenced,
    })
}

/// Where an ordered group tries a failed event again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InOrder {
    InPlace,
    Later,
}

/// Commits past an event that is being retried in place, which settles it. Durable when it returns.
pub async fn pass(db: &Pooled, place: &Place, next_offset: i64) -> Result<Committed> {
    let statement = db.prepare_cached(include_str!("sql/outcome/pass.sql")).await.map_err(from_postgres)?;
    let Place { organization, group, partition, session, fence } = place;
    let row = db
        .query_one(
            &statement,
            &[&organization.0, &group.0, &partition.0, session, &fence.log_epoch, &fence.lease_epoch, &next_offset],
        )
        .await
        .map_err(crate::store::error::from_commit)?;
    Ok(match get::<&str>(&row, 0)? {
        "committed" => Committed::Durable(get(&row, 1)?),
        "seek_fenced" => Committed::SeekFenced,
        _ => Committed::MemberFenced,
    })
}

#[derive(Debug)]
struct Failure<'a>(&'a Failed);

impl ToSql for Failure<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        composite(ty, out, |record| write_failure(self.0, record))
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), Kind::Composite(_))
    }

    to_sql_checked!();
}

impl Again {
    /// The event's offset.
    pub fn offset(&self) -> i64 {
        self.event.base_offset
    }

    /// Bytes that it takes of a window.
    pub fn bytes(&self) -> u64 {
        self.event.encoded.bytes.len() as u64
    }
}
