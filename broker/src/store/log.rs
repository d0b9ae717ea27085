//! Reading the log: pages of batches, bounds of partitions.
//!
//! A page is checked as it is read: every row's checksum over its canonical encoding, and that rows follow one another without a
//! hole. What is damaged or missing is `DATA_LOSS`, never skipped.

use crate::domain::event::{Batch, Encoder, Fields};
use crate::domain::ids::{OrganizationId, PartitionId};
use crate::domain::position::follows;
use crate::domain::publisher::Publishers;
use crate::domain::{Error, Reason, Result};
use crate::store::columns::Elements;
use crate::store::{Client, Pooled, error::from_postgres};
use crate::telemetry::metrics;
use std::sync::Arc;
use std::time::Instant;
use tokio_postgres::Row;

/// A page of a partition, from one snapshot.
#[derive(Debug)]
pub struct Page {
    /// First retained offset.
    pub floor: i64,
    /// Next offset to be assigned.
    pub head: i64,
    pub log_epoch: i64,
    /// Set when the position that was asked for lies beyond what a failover or restore has left: where that ends.
    pub cut: Option<i64>,
    /// Consecutive; the first may start before the position that was asked for.
    pub batches: Vec<Arc<Batch>>,
}

impl Page {
    /// The offset behind the page: the head when there is nothing more.
    pub fn end(&self, from: i64) -> i64 {
        let end = self.batches.last().map_or(from, |batch| batch.end_offset());
        if end < self.head && follows(end, self.head) { self.head } else { end }
    }
}

/// Bounds of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub floor: i64,
    pub head: i64,
}

/// Reads what stands at `from` and behind it, about `bytes_max` of it and at least one batch. None: no such partition in this
/// organization. A position below the floor answers from the floor on; the caller compares.
pub async fn read(
    client: &Pooled,
    organization: OrganizationId,
    partition: PartitionId,
    from: i64,
    bytes_max: usize,
    batches_max: usize,
) -> Result<Option<Page>> {
    let started = Instant::now();
    let statement = client.prepare_cached(include_str!("sql/log/read.sql")).await.map_err(from_postgres)?;
    let rows = client
        .query(&statement, &[&organization.0, &partition.0, &from, &(bytes_max as i64), &(batches_max as i32)])
        .await
        .map_err(from_postgres)?;
    metrics::get().log_read_seconds.record(started.elapsed());
    let Some((bounds, rows)) = rows.split_first() else {
        return Ok(None);
    };
    let (floor, head, log_epoch): (i64, i64, i64) = (get(bounds, 0)?, get(bounds, 1)?, get(bounds, 2)?);
    let cut: Option<i64> = get(bounds, 14)?;
    let mut batches = Vec::with_capacity(rows.len());
    let mut expected = from.max(floor);
    for row in rows {
        let batch = batch(partition, row)?;
        if batch.base_offset > expected && !follows(expected, batch.base_offset) {
            return Err(hole(partition, expected, batch.base_offset));
        }
        expected = batch.end_offset();
        batches.push(Arc::new(batch));
    }
    if batches.is_empty() && expected < head && !follows(expected, head) {
        return Err(hole(partition, expected, head));
    }
    Ok(Some(Page { floor, head, log_epoch, cut, batches }))
}

fn hole(partition: PartitionId, from: i64, to: i64) -> Error {
    tracing::error!(partition = partition.0, from, to, "events are missing from the log");
    Error::new(Reason::DataLoss, format!("events {from} to {} of the partition are missing from the log", to - 1))
        .fact("missing_from", from)
        .fact("missing_to", to)
}

fn batch(partition: PartitionId, row: &Row) -> Result<Batch> {
    let base_offset: i64 = get(row, 3)?;
    let count: i32 = get(row, 4)?;
    let crc: i64 = get(row, 6)?;
    let damaged = || {
        tracing::error!(partition = partition.0, base_offset, "a batch of the log is damaged");
        Error::new(Reason::DataLoss, format!("the batch at offset {base_offset} of the partition is damaged"))
            .fact("base_offset", base_offset)
    };
    let encoded = encode(row, count as usize).ok_or_else(damaged)?;
    let publishers = publishers(row, count as usize).ok_or_else(damaged)?;
    if i64::from(publishers.crc(encoded.crc())) != crc {
        return Err(damaged());
    }
    Ok(Batch { base_offset, appended_at_us: get(row, 5)?, encoded, publishers })
}

/// Encodes the columns of a row canonically. None: they do not fit together.
fn encode(row: &Row, count: usize) -> Option<crate::domain::event::Encoded> {
    let mut ids = column(row, 7, count)?;
    let mut kinds = column(row, 8, count)?;
    let mut keys = column(row, 9, count)?;
    let mut times = column(row, 10, count)?;
    let mut content_types = column(row, 11, count)?;
    let mut headers = column(row, 12, count)?;
    let mut payloads = column(row, 13, count)?;
    let mut encoder = Encoder::with_capacity(count, row.raw_size_bytes());
    for _ in 0..count {
        encoder.push(Fields {
            id: text(ids.next()?)?,
            kind: text(kinds.next()?)?.unwrap_or_default(),
            key: text(keys.next()?)?,
            headers: text(headers.next()?)?,
            content_type: text(content_types.next()?)?.unwrap_or_default(),
            time_us: match times.next()? {
                Some(raw) => Some(i64::from_be_bytes(raw.try_into().ok()?)),
                None => None,
            },
            payload: payloads.next()??,
        });
    }
    Some(encoder.finish())
}

/// Who published a row's events. None: the columns do not fit together.
fn publishers(row: &Row, count: usize) -> Option<Publishers> {
    let mut publishers = Publishers::default();
    let Some(names) = row.try_get::<_, Option<Elements<'_>>>(15).ok()? else { return Some(publishers) };
    let counts: Option<Vec<i32>> = row.try_get(16).ok()?;
    let counts = counts.unwrap_or_else(|| vec![count as i32]);
    if names.len() != counts.len() {
        return None;
    }
    for (name, count) in names.zip(counts) {
        publishers.push(&text(name)??.into(), u32::try_from(count).ok()?);
    }
    (publishers.event_count() == count).then_some(publishers)
}

/// A column's elements; a column that is null has the default in every place.
fn column(row: &Row, index: usize, count: usize) -> Option<ColumnElements<'_>> {
    match row.try_get::<_, Option<Elements<'_>>>(index).ok()? {
        Some(elements) => (elements.len() == count).then_some(ColumnElements::Present(elements)),
        None => Some(ColumnElements::Default(count)),
    }
}

enum ColumnElements<'a> {
    Present(Elements<'a>),
    Default(usize),
}

impl<'a> Iterator for ColumnElements<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Present(elements) => elements.next(),
            Self::Default(left) => {
                *left = left.checked_sub(1)?;
                Some(None)
            }
        }
    }
}

fn text(raw: Option<&[u8]>) -> Option<Option<&str>> {
    match raw {
        None => Some(None),
        Some(raw) => std::str::from_utf8(raw).ok().map(Some),
    }
}

/// Bounds of many partitions in one statement; those that do not exist are left out.
pub async fn bounds(client: &Pooled, partitions: &[PartitionId]) -> Result<Vec<(PartitionId, OrganizationId, Bounds)>> {
    let ids: Vec<i64> = partitions.iter().map(|partition| partition.0).collect();
    let statement = client.prepare_cached(include_str!("sql/log/bounds.sql")).await.map_err(from_postgres)?;
    let rows = client.query(&statement, &[&ids]).await.map_err(from_postgres)?;
    rows.iter()
        .map(|row| {
            Ok((
                PartitionId(get(row, 0)?),
                OrganizationId(get(row, 3)?),
                Bounds { floor: get(row, 1)?, head: get(row, 2)? },
            ))
        })
        .collect()
}

/// The first offset appended at a time (microseconds since 1970, database time) or later. None: no such partition here.
pub async fn offset_at_time(
    client: &impl Client,
    organization: OrganizationId,
    partition: PartitionId,
    time_us: i64,
) -> Result<Option<i64>> {
    let row = client
        .query_one(include_str!("sql/log/offset_at_time.sql"), &[&organization.0, &partition.0, &time_us])
        .await
        .map_err(from_postgres)?;
    get(&row, 0)
}

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, index: usize) -> Result<T> {
    row.try_get(index).map_err(Error::internal)
}
