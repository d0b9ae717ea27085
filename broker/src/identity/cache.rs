//! What the database said lately: bounded, and forgotten within seconds, so that what was revoked dies soon.

use crate::domain::{access::Grants, ids::OrganizationId};
use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// A key that may be used, as stored.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) organization: OrganizationId,
    pub(super) secret_sha256: [u8; 32],
    pub(super) grants: Grants,
}

/// Verdicts by what was asked for.
pub(super) struct Cache<K, V> {
    lifetime: Duration,
    capacity: usize,
    entries: Mutex<HashMap<K, (Instant, V)>>,
}

impl<K: Eq + Hash, V: Clone> Cache<K, V> {
    pub(super) fn new(lifetime: Duration, capacity: usize) -> Self {
        Self { lifetime, capacity, entries: Mutex::new(HashMap::new()) }
    }

    pub(super) fn get(&self, id: &K) -> Option<V> {
        let entries = self.lock();
        let (asked, verdict) = entries.get(id)?;
        (asked.elapsed() < self.lifetime).then(|| verdict.clone())
    }

    /// `asked` is when the database was asked: what happened later, it could not tell.
    pub(super) fn put(&self, id: K, asked: Instant, verdict: V) {
        let mut entries = self.lock();
        if entries.len() >= self.capacity {
            entries.retain(|_, (at, _)| at.elapsed() < self.lifetime);
        }
        if entries.len() >= self.capacity {
            // Whoever tries ids by the thousand costs everybody a look-up, and no memory.
            entries.clear();
        }
        entries.insert(id, (asked, verdict));
    }

    pub(super) fn forget(&self, id: &K) {
        self.lock().remove(id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, (Instant, V)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_verdict_is_forgotten_after_its_lifetime() {
        let cache = Cache::new(Duration::from_secs(5), 10);
        cache.put(1, Instant::now(), "good");
        tokio::time::advance(Duration::from_millis(4_999)).await;
        assert_eq!(cache.get(&1), Some("good"));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(cache.get(&1), None);
    }

    #[tokio::test(start_paused = true)]
    async fn it_never_grows_beyond_its_capacity() {
        let cache = Cache::new(Duration::from_secs(5), 10);
        for number in 0..1_000 {
            cache.put(number, Instant::now(), ());
            assert!(cache.lock().len() <= 10);
            assert!(cache.get(&number).is_some());
        }
    }
}
