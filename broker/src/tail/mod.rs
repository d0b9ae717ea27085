//! The newest events of watched partitions, in memory, and who waits for them.
//!
//! Fed by local commits ([`Tail::appended`]) and by reads of the log ([`Tail::refill`]). **Invariants:** what a partition's cache
//! holds is consecutive; a batch enters only if its base is the cache's end; otherwise the partition is stale until the gap has
//! been read from the log. A partition that nobody watches keeps nothing. Readers see immutable, shared batches: a thousand
//! subscribers cost one read.
//!
//! Waiting without gaps: a reader registers a [`Waker`] first ([`Tail::watch`]), then looks at the cache, then parks; whatever
//! enters later wakes it. Never here: SQL, or knowing what a group is.

mod cache;

pub use cache::{Found, Watch};

use crate::domain::event::Batch;
use crate::domain::ids::PartitionId;
use cache::Cache;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Wakes one reader, however many of its partitions have news. A wake-up that comes before the reader parks is kept.
pub type Waker = Arc<Notify>;

/// All tails of a broker. Cheap to clone.
#[derive(Clone)]
pub struct Tail {
    shared: Arc<Shared>,
}

struct Shared {
    partitions: Mutex<HashMap<PartitionId, Arc<Mutex<Cache>>>>,
    /// Partitions of which the log has more than the cache.
    stale: Mutex<HashSet<PartitionId>>,
    stale_news: Notify,
    /// Bytes for all caches together, shared evenly.
    bytes_max: usize,
    watched: AtomicUsize,
    hints: Mutex<HashMap<PartitionId, i64>>,
}

impl Tail {
    /// `bytes_max` bounds what all watched partitions keep together, each an even share; its newest batch is always kept.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            shared: Arc::new(Shared {
                partitions: Mutex::default(),
                stale: Mutex::default(),
                stale_news: Notify::new(),
                bytes_max,
                watched: AtomicUsize::new(0),
                hints: Mutex::default(),
            }),
        }
    }

    /// Registers a reader of a partition. The partition is watched until the last [`Watch`] is dropped.
    pub fn watch(&self, partition: PartitionId, waker: &Waker) -> Watch {
        let mut partitions = lock(&self.shared.partitions);
        let cache = partitions.entry(partition).or_insert_with(|| Arc::new(Mutex::new(Cache::new()))).clone();
        self.shared.watched.store(partitions.len(), Ordering::Relaxed);
        lock(&cache).register(waker);
        // A newly watched partition knows nothing yet: let the feeder learn its head.
        drop(partitions);
        self.stale(partition);
        Watch::new(partition, cache, waker.clone(), self.clone())
    }

    /// A batch was appended by this broker.
    pub fn appended(&self, partition: PartitionId, batch: Batch) {
        let end = batch.end_offset();
        lock(&self.shared.hints).insert(partition, end);
        if let Some(cache) = self.cache(partition)
            && !lock(&cache).append(Arc::new(batch), self.share())
        {
            self.stale(partition);
        }
    }

    /// What the log holds behind the cache's end has been read: `batches` are consecutive from `from`, and `head` is the head that
    /// the read saw.
    pub fn refill(&self, partition: PartitionId, from: i64, batches: Vec<Arc<Batch>>, head: i64) {
        if let Some(cache) = self.cache(partition) {
            lock(&cache).refill(from, batches, head, self.share());
        }
    }

    /// The end of a partition's cache, where the next batch must start; None when it knows nothing yet.
    pub fn end(&self, partition: PartitionId) -> Option<i64> {
        self.cache(partition).and_then(|cache| lock(&cache).end())
    }

    /// Drops everything: the log has another life. Readers are woken.
    pub fn clear(&self) {
        for cache in lock(&self.shared.partitions).values() {
            lock(cache).clear();
        }
    }

    /// Drops what is cached of one partition. Its readers are woken.
    pub fn forget(&self, partition: PartitionId) {
        if let Some(cache) = self.cache(partition) {
            lock(&cache).clear();
        }
    }

    /// The log has more of this partition than the cache, or may have.
    pub fn stale(&self, partition: PartitionId) {
        lock(&self.shared.stale).insert(partition);
        self.shared.stale_news.notify_one();
    }

    /// Takes the partitions that need a read, those still watched.
    pub fn take_stale(&self) -> Vec<PartitionId> {
        let taken: Vec<PartitionId> = lock(&self.shared.stale).drain().collect();
        let partitions = lock(&self.shared.partitions);
        taken.into_iter().filter(|partition| partitions.contains_key(partition)).collect()
    }

    /// Returns when there may be stale partitions.
    pub async fn stale_news(&self) {
        self.shared.stale_news.notified().await;
    }

    /// Watched partitions and the ends of their caches, for the poll.
    pub fn watched(&self) -> Vec<(PartitionId, Option<i64>)> {
        lock(&self.shared.partitions).iter().map(|(partition, cache)| (*partition, lock(cache).end())).collect()
    }

    /// Takes what this broker has appended since the last call, for hints to the others: partition and head.
    pub fn take_hints(&self) -> Vec<(PartitionId, i64)> {
        lock(&self.shared.hints).drain().collect()
    }

    /// Bytes in all caches.
    pub fn bytes(&self) -> usize {
        lock(&self.shared.partitions).values().map(|cache| lock(cache).bytes()).sum()
    }

    /// Bytes that one watched partition may keep.
    fn share(&self) -> usize {
        self.shared.bytes_max / self.shared.watched.load(Ordering::Relaxed).max(1)
    }

    fn cache(&self, partition: PartitionId) -> Option<Arc<Mutex<Cache>>> {
        lock(&self.shared.partitions).get(&partition).cloned()
    }

    /// A watch was dropped: forgets the partition when it was the last.
    fn unwatch(&self, partition: PartitionId, waker: &Waker) {
        let mut partitions = lock(&self.shared.partitions);
        let empty = partitions.get(&partition).is_some_and(|cache| lock(cache).unregister(waker));
        if empty {
            partitions.remove(&partition);
            self.shared.watched.store(partitions.len(), Ordering::Relaxed);
        }
    }
}

/// A poisoned lock means a bug that was logged as a panic; the data is still consistent, because every change is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
