//! Where a reader's next events come from: memory when it keeps up, the log when it does not. One function for both directions of
//! the hand-over, so that there is neither a gap nor a duplicate.
//!
//! The reader holds a [`Watch`] (registered before anything is looked at), so that what is appended after the look wakes it.
//! Catch-up reads go to the log; as soon as a position is in the tail cache, the tail serves.

use crate::domain::Result;
use crate::domain::event::Batch;
use crate::domain::ids::{OrganizationId, PartitionId};
use crate::store::Store;
use crate::store::log::{self, Page};
use crate::tail::{Found, Tail, Waker, Watch};
use crate::telemetry::metrics;
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes of one page of catch-up.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
const PAGE_BATCHES: usize = 4_096;
/// Batches taken from the tail at once.
const TAIL_BATCHES: usize = 64;

/// A reader's place in a partition.
pub struct Source {
    organization: OrganizationId,
    partition: PartitionId,
    watch: Watch,
    /// The next offset to hand out.
    next: i64,
    /// Read and not yet handed out.
    ready: VecDeque<Arc<Batch>>,
    /// The head, as far as this reader has seen it.
    head: i64,
}

/// What a look gives.
#[derive(Debug)]
pub enum Look {
    /// A batch that holds `next`.
    Batch(Arc<Batch>),
    /// Nothing until the waker fires.
    Park,
    /// The log must be read from `next`: call [`read`] and give the page to [`Source::turn`].
    Read,
}

/// Something that a page revealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Going,
    /// The log was cut above `next`: it goes on at the floor.
    Truncated {
        floor: i64,
    },
    /// What the reader has passed last is gone: a failover or restore cut the log, and what survived ends there.
    Cut {
        end: i64,
    },
    /// No such partition any more.
    Gone,
}

impl Source {
    pub fn new(tail: &Tail, waker: &Waker, organization: OrganizationId, partition: PartitionId, next: i64) -> Self {
        let watch = tail.watch(partition, waker);
        Self { organization, partition, watch, next, ready: VecDeque::new(), head: next }
    }

    pub fn next(&self) -> i64 {
        self.next
    }

    pub fn partition(&self) -> PartitionId {
        self.partition
    }

    pub fn organization(&self) -> OrganizationId {
        self.organization
    }

    /// The head as far as this broker knows it.
    pub fn head(&self) -> i64 {
        self.watch.end().unwrap_or(self.head).max(self.head).max(self.next)
    }

    /// Goes on elsewhere.
    pub fn seek(&mut self, next: i64) {
        self.next = next;
        self.ready.clear();
    }

    /// Everything below `next` was handed out.
    pub fn advance(&mut self, next: i64) {
        self.next = next;
    }

    pub fn look(&mut self) -> Look {
        while let Some(batch) = self.ready.front() {
            if batch.end_offset() > self.next {
                return Look::Batch(batch.clone());
            }
            self.ready.pop_front();
        }
        match self.watch.find(self.next, TAIL_BATCHES) {
            Found::Batches(batches) => {
                metrics::get().tail_hits.increment(batches.len() as u64);
                self.ready.extend(batches);
                // The first batch holds `next`: that is what the cache promises.
                self.ready.front().cloned().map_or(Look::Park, Look::Batch)
            }
            Found::AtEnd => Look::Park,
            Found::Behind => Look::Read,
        }
    }

    /// Takes in a page that was read from `from`. A page for a place that the reader has left is dropped.
    pub fn turn(&mut self, from: i64, page: Option<Page>) -> Turn {
        let Some(page) = page else { return Turn::Gone };
        if from != self.next {
            return Turn::Going;
        }
        self.head = page.head;
        if page.floor > self.next {
            return Turn::Truncated { floor: page.floor };
        }
        if let Some(end) = page.cut {
            return Turn::Cut { end };
        }
        if page.batches.is_empty() {
            // Nothing at or above `next` in a snapshot whose head is this: a jump between log epochs, or the end.
            self.next = page.end(self.next);
            self.watch.learn(self.next, page.head);
        }
        metrics::get().tail_misses.increment(page.batches.len() as u64);
        self.ready = page.batches.into();
        Turn::Going
    }
}

/// Reads a page of catch-up; owns what it needs, so that a session can go on meanwhile.
pub async fn read(
    store: Store,
    organization: OrganizationId,
    partition: PartitionId,
    from: i64,
) -> Result<Option<Page>> {
    let db = store.conn().await?;
    log::read(&db, organization, partition, from, PAGE_BYTES, PAGE_BATCHES).await
}

/// Whether a failover or restore has taken what stood right before `offset`: where what survived ends, and where the log goes on.
pub async fn cut_before(
    store: &Store,
    organization: OrganizationId,
    partition: PartitionId,
    offset: i64,
) -> Result<Option<(i64, i64)>> {
    let db = store.conn().await?;
    let page = log::read(&db, organization, partition, offset, 1, 1).await?;
    Ok(page.and_then(|page| {
        let goes_on = page.batches.first().map_or(page.head, |batch| batch.base_offset);
        page.cut.map(|end| (end, goes_on))
    }))
}
