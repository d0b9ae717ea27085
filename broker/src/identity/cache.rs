//! What the database said about keys lately: bounded, and forgotten within seconds, so that a revoked key dies soon.

use super::caller::KeyId;
use crate::domain::{access::Grants, ids::OrganizationId};
use std::{
    collections::HashMap,
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

/// `None` is a key that does not exist, is expired or revoked.
type Verdict = Option<Known>;

/// Verdicts by key id.
pub(super) struct Cache {
    lifetime: Duration,
    capacity: usize,
    entries: Mutex<HashMap<KeyId, (Instant, Verdict)>>,
}

impl Cache {
    pub(super) fn new(lifetime: Duration, capacity: usize) -> Self {
        Self { lifetime, capacity, entries: Mutex::new(HashMap::new()) }
    }

    pub(super) fn get(&self, id: KeyId) -> Option<Verdict> {
        let entries = self.lock();
        let (asked, verdict) = entries.get(&id)?;
        (asked.elapsed() < self.lifetime).then(|| verdict.clone())
    }

    /// `asked` is when the database was asked: what happened later, it could not tell.
    pub(super) fn put(&self, id: KeyId, asked: Instant, verdict: Verdict) {
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

    pub(super) fn forget(&self, id: KeyId) {
        self.lock().remove(&id);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<KeyId, (Instant, Verdict)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> KeyId {
        KeyId(format!("{number:012}").into_bytes().try_into().expect("12 bytes"))
    }

    #[tokio::test(start_paused = true)]
    async fn a_verdict_is_forgotten_after_its_lifetime() {
        let cache = Cache::new(Duration::from_secs(5), 10);
        cache.put(id(1), Instant::now(), None);
        tokio::time::advance(Duration::from_millis(4_999)).await;
        assert!(cache.get(id(1)).is_some());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(cache.get(id(1)).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn it_never_grows_beyond_its_capacity() {
        let cache = Cache::new(Duration::from_secs(5), 10);
        for number in 0..1_000 {
            cache.put(id(number), Instant::now(), None);
            assert!(cache.lock().len() <= 10);
            assert!(cache.get(id(number)).is_some());
        }
    }
}
