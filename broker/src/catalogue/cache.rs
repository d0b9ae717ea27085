//! Streams by name, for seconds. Callers who miss at the same time share one load, and its failure.

use crate::domain::Result;
use crate::domain::ids::{OrganizationId, StreamName};
use crate::domain::stream::Stream;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::OnceCell, time::Instant};

type Key = (OrganizationId, StreamName);
type Load = Arc<OnceCell<Result<Arc<Stream>>>>;

pub(super) struct StreamCache {
    lifetime: Duration,
    capacity: usize,
    entries: Mutex<HashMap<Key, (Instant, Load)>>,
}

impl StreamCache {
    pub(super) fn new(lifetime: Duration, capacity: usize) -> Self {
        Self { lifetime, capacity, entries: Mutex::new(HashMap::new()) }
    }

    /// The stream, from memory or by `load`, which is not polled otherwise. A failure is not kept: what is missing now may be there at the next call.
    pub(super) async fn get(
        &self,
        organization: OrganizationId,
        name: &StreamName,
        load: impl Future<Output = Result<Arc<Stream>>>,
    ) -> Result<Arc<Stream>> {
        let key = (organization, name.clone());
        let entry = self.entry(&key);
        let loaded = entry.get_or_init(|| load).await.clone();
        if loaded.is_err() {
            let mut entries = self.lock();
            if entries.get(&key).is_some_and(|(_, current)| Arc::ptr_eq(current, &entry)) {
                entries.remove(&key);
            }
        }
        loaded
    }

    pub(super) fn forget(&self, organization: OrganizationId, name: &StreamName) {
        self.lock().remove(&(organization, name.clone()));
    }

    /// The entry of a key, a new one when there is none or it is too old. Its age counts from before its load.
    fn entry(&self, key: &Key) -> Load {
        let mut entries = self.lock();
        if let Some((_, load)) = entries.get(key).filter(|(at, _)| at.elapsed() < self.lifetime) {
            return load.clone();
        }
        if entries.len() >= self.capacity {
            entries.retain(|_, (at, _)| at.elapsed() < self.lifetime);
        }
        if entries.len() >= self.capacity {
            // More streams in use than fit: everybody loads once more, and memory stays bounded.
            entries.clear();
        }
        let load = Load::default();
        entries.insert(key.clone(), (Instant::now(), load.clone()));
        load
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, (Instant, Load)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
