//! Pages of events and single events, for people and unary calls. A page does bounded work.

use crate::delivery::frame::Delivery;
use crate::delivery::reader::{checked, log_truncated};
use crate::domain::ids::PartitionId;
use crate::domain::limits::PAGE_BYTES_MAX;
use crate::domain::page::{List, PageKey, page_size};
use crate::domain::position::{Fence, LogEpoch, Position};
use crate::domain::stream::{Stream, stream_not_found};
use crate::domain::{Error, Reason, Result};
use crate::identity::{Granted, Read};
use crate::store::log::{self, Bounds};
use crate::store::{Pooled, Store};

/// The method that page tokens are sealed for.
const METHOD: &str = "ListEvents";

/// Lists one stream's events for a caller.
pub struct Listing<'a> {
    pub store: &'a Store,
    pub key: &'a PageKey,
    pub granted: &'a Granted<Read>,
    pub stream: &'a Stream,
}

impl Listing<'_> {
    /// A page of a partition, and the token of the next one; an empty token is the head.
    pub async fn page(&self, index: u32, from: Position, size: u32, token: &str) -> Result<(Vec<Delivery>, String)> {
        let partition = self.stream.partition(index)?;
        let size = page_size("page_size", size)? as usize;
        let filter = format!("{}/{index}", self.stream.uid);
        let list = List { organization: self.granted.organization(), method: METHOD, filter: &filter };
        let after = self.key.open(list, token)?;
        let db = self.store.conn().await?;
        let bounds = self.bounds(&db, partition).await?;
        let start = match after.parse() {
            // The floor may have passed a token: its page starts at the floor.
            Ok(next) => i64::max(next, bounds.floor),
            Err(_) => self.start(&db, partition, from, bounds).await?,
        };
        let (deliveries, next) = self.read(&db, index, partition, start, size).await?;
        let token = if next < bounds.head { self.key.seal(list, &next.to_string()) } else { String::new() };
        Ok((deliveries, token))
    }

    /// The event at an offset.
    pub async fn one(&self, index: u32, offset: i64) -> Result<Delivery> {
        let partition = self.stream.partition(index)?;
        let db = self.store.conn().await?;
        let bounds = self.bounds(&db, partition).await?;
        checked(offset, bounds)?;
        let (deliveries, _) = self.read(&db, index, partition, offset, 1).await?;
        deliveries.into_iter().find(|delivery| delivery.base_offset() == offset).ok_or_else(|| {
            Error::new(
                Reason::OffsetAboveHead,
                format!("no event has offset {offset} yet; the next one to be assigned is {}", bounds.head),
            )
            .fact("floor", bounds.floor)
            .fact("head", bounds.head)
        })
    }

    async fn bounds(&self, db: &Pooled, partition: PartitionId) -> Result<Bounds> {
        let found = log::bounds(db, &[partition]).await?;
        found.first().map(|(_, _, bounds)| *bounds).ok_or_else(|| stream_not_found(self.stream.name.as_str()))
    }

    async fn start(&self, db: &Pooled, partition: PartitionId, from: Position, bounds: Bounds) -> Result<i64> {
        match from {
            Position::Earliest => Ok(bounds.floor),
            Position::Latest => Ok(bounds.head),
            Position::Offset(offset) => checked(offset, bounds),
            Position::Time(time) => log::offset_at_time(&***db, self.granted.organization(), partition, time)
                .await?
                .ok_or_else(|| stream_not_found(self.stream.name.as_str())),
        }
    }

    async fn read(
        &self,
        db: &Pooled,
        index: u32,
        partition: PartitionId,
        start: i64,
        size: usize,
    ) -> Result<(Vec<Delivery>, i64)> {
        let organization = self.granted.organization();
        let page = log::read(db, organization, partition, start, PAGE_BYTES_MAX, size)
            .await?
            .ok_or_else(|| stream_not_found(self.stream.name.as_str()))?;
        // What stood there is gone: an answer with what comes behind would hide it.
        if let Some(end) = page.cut {
            return Err(log_truncated(index, end));
        }
        let mut next = if page.batches.is_empty() { page.end(start) } else { start };
        let mut left = size;
        let mut deliveries = Vec::new();
        for batch in page.batches {
            let first = (next.max(start) - batch.base_offset).max(0) as usize;
            let end = batch.event_count().min(first + left);
            if first >= end {
                continue;
            }
            let fence = Fence { log_epoch: LogEpoch::of(batch.base_offset).0, lease_epoch: 0 };
            let delivery = Delivery { partition: index, fence, batch, events: first..end, picked: None };
            left -= end - first;
            next = delivery.next_offset();
            deliveries.push(delivery);
            if left == 0 {
                break;
            }
        }
        Ok((deliveries, next))
    }
}
