//! What this broker has counted of rules and not written yet. A broker that is killed loses up to a second of it: counts are for
//! people, progress is not made of them.

use crate::domain::Result;
use crate::domain::ids::{OrganizationId, RuleId};
use crate::domain::reports::RuleDeltas;
use crate::domain::rule::Rule;
use crate::domain::rule::apply::Processed;
use crate::store::rules as stored;
use crate::store::{Store, Tenant};
use crate::telemetry::metrics;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// By organization and rule. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts(Arc<Mutex<Waiting>>);

type Waiting = HashMap<OrganizationId, BTreeMap<RuleId, RuleDeltas>>;

impl Counts {
    /// Events that are done with.
    pub fn done(&self, organization: OrganizationId, rules: &[Rule], processed: &[Processed]) {
        let (mut matched, mut copied) = (0, 0);
        let mut waiting = self.lock();
        let of_rules = waiting.entry(organization).or_default();
        for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| !rule.disabled) {
            let delta = of_rules.entry(rule.id).or_default();
            for event in processed {
                delta.processed += i64::from(index < event.asked);
                delta.matched += i64::from(event.matched.contains(&index));
                delta.copied += event.copies.iter().filter(|copy| copy.rule == index).count() as i64;
            }
        }
        for event in processed {
            matched += event.matched.len() as u64;
            copied += event.copies.len() as u64;
        }
        drop(waiting);
        let metrics = metrics::get();
        metrics.rule_events.increment(processed.len() as u64);
        metrics.rule_matches.increment(matched);
        metrics.rule_copies.increment(copied);
    }

    /// An attempt that failed.
    pub fn failed(&self, organization: OrganizationId, rule: RuleId, reason: &str) {
        let mut waiting = self.lock();
        let delta = waiting.entry(organization).or_default().entry(rule).or_default();
        delta.failed += 1;
        reason.clone_into(&mut delta.last_failure);
        metrics::get().rule_failures.increment(1);
    }

    /// Writes what was counted. What cannot be written waits for the next time.
    pub async fn write(&self, store: &Store) -> Result<()> {
        let taken = std::mem::take(&mut *self.lock());
        let mut failure = Ok(());
        for (organization, deltas) in taken {
            let of_rules = &deltas;
            let count = |tenant: Tenant| async move { stored::count(&tenant, of_rules).await };
            if let Err(error) = store.tenant(organization, count).await {
                self.put_back(organization, deltas);
                failure = Err(error);
            }
        }
        failure
    }

    fn put_back(&self, organization: OrganizationId, deltas: BTreeMap<RuleId, RuleDeltas>) {
        let mut waiting = self.lock();
        let of_rules = waiting.entry(organization).or_default();
        for (rule, older) in deltas {
            let delta = of_rules.entry(rule).or_default();
            delta.processed += older.processed;
            delta.matched += older.matched;
            delta.copied += older.copied;
            delta.failed += older.failed;
            if delta.last_failure.is_empty() {
                delta.last_failure = older.last_failure;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
