//! Quotas and rates, an organization and a credential: what one of them uses must not be missing for another.
//!
//! Promises: a refusal names the quota, whose it is, how much it allows and when to try again, and nothing was applied; who has
//! no quota pays one look-up. Rates are kept in memory; with a Redis, brokers add up what they let through ([`Sharing`]), without
//! it each allows its own. Never done here: knowing where quotas are stored (a job brings them), or counting what the catalogue
//! counts in its transactions.

mod buckets;
mod rules;
mod sharing;

pub use rules::Rules;
pub use sharing::Sharing;

use buckets::{Buckets, Cost, Report};

use crate::domain::ids::OrganizationId;
use crate::domain::quota::{Quota, Scope, quota_exceeded, rate_limited};
use crate::domain::{Error, Result};
use crate::redis::Redis;
use crate::runtime::clock;
use crate::telemetry::metrics;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// How long a publish stream is slowed down before it is refused: its client feels that as back-pressure.
const SHAPED: Duration = Duration::from_secs(2);

/// Who uses something: an organization, and within it a credential (`key:…`), as events name their publisher.
#[derive(Clone, Debug)]
pub struct Who {
    pub organization: OrganizationId,
    pub credential: Arc<str>,
}

/// Whose bucket or counter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Owner {
    Organization(OrganizationId),
    Credential(Arc<str>),
}

/// All limits of this broker. Cheap to clone.
#[derive(Clone)]
pub struct Limits(Arc<Inner>);

struct Inner {
    rules: watch::Sender<Arc<Rules>>,
    buckets: Mutex<Buckets>,
    /// Rings when there is something to tell other brokers.
    news: Notify,
    open: Mutex<HashMap<Owner, u64>>,
}

impl Limits {
    pub fn new(rules: Rules) -> Self {
        Self(Arc::new(Inner {
            rules: watch::channel(Arc::new(rules)).0,
            buckets: Mutex::default(),
            news: Notify::new(),
            open: Mutex::default(),
        }))
    }

    /// Rates are shared from now on by the brokers that name the same namespace there, while the task runs.
    pub fn share_through(&self, redis: Redis, namespace: &str) -> Sharing {
        lock(&self.0.buckets).share();
        Sharing::new(self.clone(), redis, namespace)
    }

    /// What is limited now.
    pub fn rules(&self) -> Arc<Rules> {
        self.0.rules.borrow().clone()
    }

    /// What is limited from now on.
    pub fn replace(&self, rules: Rules) {
        self.0.rules.send_if_modified(|current| {
            let changed = **current != rules;
            *current = Arc::new(rules);
            changed
        });
    }

    /// A call begins.
    pub fn call(&self, who: &Who) -> Result<()> {
        self.spend(who, &[(Quota::RequestsPerSecond, 1)])
    }

    /// Events are to be published.
    pub fn publish(&self, who: &Who, events: u64, bytes: u64) -> Result<()> {
        if let Some((limit, used)) = self.rules().full(who.organization) {
            return Err(refused(quota_exceeded(Quota::StoredBytes, Scope::Organization, limit, used)));
        }
        self.spend(who, &[(Quota::EventsPerSecond, events), (Quota::BytesPerSecond, bytes)])
    }

    /// The same for a publish stream, which is slowed down for a while before it is refused.
    pub async fn publish_shaped(&self, who: &Who, events: u64, bytes: u64) -> Result<()> {
        let mut waited = Duration::ZERO;
        loop {
            let error = match self.publish(who, events, bytes) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match error.retry_delay() {
                Some(pause) if waited + pause <= SHAPED => {
                    tokio::time::sleep(pause).await;
                    waited += pause;
                }
                _ => return Err(error),
            }
        }
    }

    /// A streaming call opens; it counts until the answer is dropped. `None` when nobody counts.
    pub fn open(&self, who: &Who) -> Result<Option<OpenStream>> {
        let owners = self.limited(who, Quota::OpenStreams);
        if owners.is_empty() {
            return Ok(None);
        }
        let mut open = lock(&self.0.open);
        for (owner, scope, limit) in &owners {
            let used = open.get(owner).copied().unwrap_or_default();
            if used >= *limit {
                return Err(refused(quota_exceeded(Quota::OpenStreams, *scope, *limit, used)));
            }
        }
        let owners: Vec<Owner> = owners.into_iter().map(|(owner, ..)| owner).collect();
        owners.iter().for_each(|owner| *open.entry(owner.clone()).or_default() += 1);
        Ok(Some(OpenStream { limits: self.clone(), owners }))
    }

    /// All of the costs, or none of them.
    fn spend(&self, who: &Who, costs: &[(Quota, u64)]) -> Result<()> {
        let rules = self.rules();
        if rules.are_empty() {
            return Ok(());
        }
        let costs: Vec<Cost> = costs
            .iter()
            .flat_map(|(quota, units)| {
                let limited = self.limited(who, *quota).into_iter();
                limited.map(|(owner, scope, limit)| Cost { bucket: (owner, *quota), scope, limit, units: *units })
            })
            .collect();
        if costs.is_empty() {
            return Ok(());
        }
        let mut buckets = lock(&self.0.buckets);
        let taken = buckets.take(&costs, now());
        let has_news = buckets.is_asked();
        drop(buckets);
        if has_news {
            self.0.news.notify_one();
        }
        taken.map_err(|(cost, wait)| refused(rate_limited(cost.bucket.1, cost.scope, cost.limit, wait)))
    }

    /// Until there is something to tell other brokers.
    async fn asked(&self) {
        while !lock(&self.0.buckets).is_asked() {
            self.0.news.notified().await;
        }
    }

    fn reports(&self, at_most: usize) -> Vec<Report> {
        lock(&self.0.buckets).reports(at_most)
    }

    fn learn(&self, reports: &[Report], left_us: &[u64]) {
        lock(&self.0.buckets).learn(reports, left_us, now());
    }

    fn forget_untold(&self) {
        lock(&self.0.buckets).forget_untold();
    }

    /// Who of the two has a limit, and which.
    fn limited(&self, who: &Who, quota: Quota) -> Vec<(Owner, Scope, u64)> {
        let rules = self.rules();
        let organization = rules.of_organization(who.organization).get(quota);
        let credential = rules.of_credential(&who.credential).get(quota);
        let organization =
            organization.map(|limit| (Owner::Organization(who.organization), Scope::Organization, limit));
        let credential = credential.map(|limit| (Owner::Credential(who.credential.clone()), Scope::Credential, limit));
        credential.into_iter().chain(organization).collect()
    }
}

/// Nanoseconds of this broker's clock.
fn now() -> u64 {
    u64::try_from(clock::since_boot().as_nanos()).unwrap_or(u64::MAX)
}

fn refused(error: Error) -> Error {
    metrics::get().refused_by_quota.increment(1);
    error
}

/// A streaming call's place.
pub struct OpenStream {
    limits: Limits,
    owners: Vec<Owner>,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut open = lock(&self.limits.0.open);
        for owner in self.owners.drain(..) {
            if let Entry::Occupied(mut entry) = open.entry(owner) {
                *entry.get_mut() -= 1;
                if *entry.get() == 0 {
                    entry.remove();
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::quota::Quotas;

    fn who(organization: i64, credential: &str) -> Who {
        Who { organization: OrganizationId(organization), credential: credential.into() }
    }

    fn limits(organization: &[(Quota, u64)], credential: &[(Quota, u64)]) -> Limits {
        let quotas = |all: &[(Quota, u64)]| {
            let mut quotas = Quotas::default();
            all.iter().for_each(|(quota, limit)| quotas.set(*quota, Some(*limit)));
            quotas
        };
        Limits::new(Rules::new(quotas(organization), quotas(credential)))
    }

    #[test]
    fn an_organization_that_uses_up_its_rate_takes_nothing_from_another() {
        let limits = limits(&[(Quota::EventsPerSecond, 100)], &[]);
        let (loud, quiet) = (who(1, "key:a"), who(2, "key:b"));
        limits.publish(&loud, 100, 1).expect("a second's worth");
        let error = limits.publish(&loud, 50, 1).expect_err("too much");
        assert_eq!(error.reason().as_str(), "RATE_LIMITED");
        assert!(error.retry_delay().is_some());
        limits.publish(&who(1, "key:c"), 50, 1).expect_err("the organization's other key as well");
        limits.publish(&quiet, 100, 1).expect("another organization");
    }

    #[test]
    fn a_refusal_by_one_quota_spends_nothing_of_the_others() {
        let limits = limits(&[(Quota::EventsPerSecond, 10), (Quota::BytesPerSecond, 10)], &[]);
        let who = who(1, "key:a");
        limits.publish(&who, 1, 10).expect("all bytes of a second");
        for _ in 0..100 {
            limits.publish(&who, 1, 5).expect_err("no bytes left");
        }
        limits.publish(&who, 9, 0).expect("the other events are still there");
    }

    #[test]
    fn a_credential_has_a_rate_of_its_own() {
        let limits = limits(&[], &[(Quota::RequestsPerSecond, 1)]);
        limits.call(&who(1, "key:a")).expect("the first");
        limits.call(&who(1, "key:a")).expect_err("the second");
        limits.call(&who(1, "key:b")).expect("another key");
    }

    #[test]
    fn open_streams_are_counted_while_they_are_held() {
        let limits = limits(&[(Quota::OpenStreams, 2)], &[]);
        let (a, b) = (who(1, "key:a"), who(1, "key:b"));
        let first = limits.open(&a).expect("one");
        let _second = limits.open(&b).expect("two");
        let error = limits.open(&a).err().expect("three");
        assert_eq!(error.reason().as_str(), "QUOTA_EXCEEDED");
        drop(first);
        assert!(limits.open(&a).is_ok());
        assert!(limits.open(&who(2, "key:c")).is_ok(), "another organization");
    }

    #[tokio::test(start_paused = true)]
    async fn a_publish_stream_is_slowed_down_before_it_is_refused() {
        let limits = limits(&[(Quota::EventsPerSecond, 0)], &[]);
        limits.publish_shaped(&who(1, "key:a"), 1, 1).await.expect_err("a wait beyond the bound is a refusal");
    }
}
