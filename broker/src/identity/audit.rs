//! The audit log: read by admins, and written where permission is refused.
//!
//! What is done is recorded by [`Store::change`] in the transaction that does it. What is not done changes nothing, and may come by
//! the million: it is noted in memory, counted, and written every second. **Invariants:** a refusal costs no call to the database;
//! what waits here is bounded, an organization cannot take the room of another one, and the rows of an hour are bounded by
//! `audit_refusals_v1`; nothing that a request says goes in but names that were parsed.

use super::Caller;
use super::granted::{Granted, ReadAudit};
use crate::domain::audit::{AuditEvent, AuditFilter, Origin, Outcome};
use crate::domain::page::{List, Page, page_size};
use crate::domain::{Error, Reason, Result};
use crate::store::Store;
use crate::store::audit::{self as stored, Refusal};
use crate::telemetry::metrics;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Between writes.
const INTERVAL: Duration = Duration::from_secs(1);
/// Different refusals of an organization that wait, and organizations that have some. More are counted in a metric only.
const WAITING_MAX: usize = 128;
const ORGANIZATIONS_MAX: usize = 1_024;

/// The audit log of organizations, for their admins. Cheap to clone.
#[derive(Clone)]
pub struct AuditLog {
    store: Store,
}

impl AuditLog {
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// A page of entries, the newest first.
    pub async fn list(
        &self,
        granted: &Granted<ReadAudit>,
        filter: &AuditFilter,
        size: u32,
        token: &str,
    ) -> Result<Page<AuditEvent>> {
        filter.check()?;
        let (organization, size) = (granted.organization(), page_size("page_size", size)?);
        let narrowed = format!("{filter:?}");
        let list = List { organization, method: "ListAuditEvents", filter: &narrowed };
        let key = self.store.page_key().await?;
        let before = match key.open(list, token)?.as_str() {
            "" => i64::MAX,
            text => text.parse().map_err(Error::internal)?,
        };
        let find = |tenant| async move { stored::list(&tenant, filter, before, size + 1).await };
        let found = self.store.tenant(organization, find).await?;
        Ok(key.page(list, size, found, |event| event.id.to_string()))
    }
}

/// Refusals on their way to the log. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals(Arc<Mutex<Waiting>>);

/// By whose they are, and what they are: the first call that had it, and how many had.
type Waiting = HashMap<(Option<i64>, String), HashMap<Refusal, (Arc<str>, i32)>>;

impl Refusals {
    /// Somebody who is known may not.
    pub(super) fn refused(&self, caller: &Caller, object: &str, reason: Reason) {
        self.note(of_caller(caller, object, Outcome::Refused, reason), caller.origin());
    }

    /// Somebody with a session did not know their own password.
    pub(super) fn doubted(&self, caller: &Caller, reason: Reason) {
        self.note(of_caller(caller, "", Outcome::Failed, reason), caller.origin());
    }

    /// Somebody could not sign in.
    pub(super) fn sign_in(&self, organization: &str, email: &str, origin: &Origin, reason: Reason) {
        if organization.is_empty() || email.is_empty() || organization.contains('\0') || email.contains('\0') {
            return;
        }
        let mut refusal = blank(origin, Outcome::Failed, reason);
        // Names that are longer are nobody's.
        refusal.organization_name = organization.chars().take(256).collect();
        refusal.email = email.chars().take(256).collect();
        self.note(refusal, origin);
    }

    /// A key that exists was shown with another secret, or is no longer good.
    pub(super) fn bad_key(&self, key: super::KeyId, origin: &Origin) {
        let refusal = blank(origin, Outcome::Failed, Reason::Unauthenticated);
        self.note(Refusal { actor: format!("key:{key}"), ..refusal }, origin);
    }

    fn note(&self, refusal: Refusal, origin: &Origin) {
        self.add(refusal, origin.request_id.clone(), 1);
    }

    fn add(&self, refusal: Refusal, request: Arc<str>, times: i32) {
        let name = if refusal.organization.is_none() && refusal.organization_name.is_empty() {
            &refusal.actor
        } else {
            &refusal.organization_name
        };
        let whose = (refusal.organization, name.clone());
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = waiting.len() < ORGANIZATIONS_MAX;
        let of_one = match waiting.get_mut(&whose) {
            Some(of_one) => of_one,
            None if room => waiting.entry(whose).or_default(),
            None => return metrics::get().unlisted_refusals.increment(1),
        };
        let room = of_one.len() < WAITING_MAX;
        match of_one.get_mut(&refusal) {
            Some((_, known)) => *known = known.saturating_add(times),
            None if room => drop(of_one.insert(refusal, (request, times))),
            None => metrics::get().unlisted_refusals.increment(1),
        }
    }

    /// Writes what waits, every second and once more when told to stop.
    pub(super) async fn run(self, store: Store, stop: CancellationToken) -> Result<()> {
        let mut writes = tokio::time::interval(INTERVAL);
        writes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let last = tokio::select! {
                () = stop.cancelled() => true,
                _ = writes.tick() => false,
            };
            if let Err(error) = self.write(&store).await {
                tracing::warn!(?error, "refusals were not written to the audit log; trying again");
            }
            if last {
                return Ok(());
            }
        }
    }

    async fn write(&self, store: &Store) -> Result<()> {
        let waiting = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if waiting.is_empty() {
            return Ok(());
        }
        let refusals = waiting.into_values().flatten();
        let refusals: Vec<stored::Counted> =
            refusals.map(|(refusal, (request, times))| (refusal, request.to_string(), times)).collect();
        let written = async { stored::refusals(&**store.conn().await?, &refusals).await }.await;
        match written {
            Ok(dropped) => {
                metrics::get().unlisted_refusals.increment(dropped.cast_unsigned());
                Ok(())
            }
            Err(error) => {
                // They wait on, within the same bounds.
                for (refusal, request, times) in refusals {
                    self.add(refusal, request.into(), times);
                }
                Err(error)
            }
        }
    }
}

fn of_caller(caller: &Caller, object: &str, outcome: Outcome, reason: Reason) -> Refusal {
    let organization = Some(caller.organization().0);
    let (actor, object) = (caller.publisher().to_string(), object.to_owned());
    Refusal { organization, actor, object, ..blank(caller.origin(), outcome, reason) }
}

fn blank(origin: &Origin, outcome: Outcome, reason: Reason) -> Refusal {
    Refusal {
        organization: None,
        organization_name: String::new(),
        email: String::new(),
        actor: String::new(),
        action: origin.action().to_owned(),
        object: String::new(),
        outcome,
        reason: reason.as_str(),
        address: origin.address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(refusals: &Refusals) -> usize {
        refusals.0.lock().expect("a lock").values().map(HashMap::len).sum()
    }

    #[test]
    fn what_waits_is_bounded_and_one_organization_does_not_take_the_room_of_another() {
        let refusals = Refusals::default();
        let method = "eventflow.v1.AuthService/Login".into();
        let origin = Origin { request_id: "1".into(), method, address: "127.0.0.1".into() };
        for number in 0..1_000 {
            refusals.sign_in("acme", &format!("a{number}@example.com"), &origin, Reason::LoginFailed);
            refusals.sign_in("acme", "a0@example.com", &origin, Reason::LoginFailed);
        }
        assert_eq!(waiting(&refusals), WAITING_MAX);
        refusals.sign_in("globex", "b@example.com", &origin, Reason::LoginFailed);
        assert_eq!(waiting(&refusals), WAITING_MAX + 1);
        for number in 0..2_000 {
            refusals.sign_in(&format!("o{number}"), "b@example.com", &origin, Reason::LoginFailed);
        }
        assert_eq!(waiting(&refusals), WAITING_MAX + ORGANIZATIONS_MAX - 1);
        let waiting = refusals.0.lock().expect("a lock");
        let first = waiting.get(&(None, "acme".to_owned())).expect("acme").iter();
        let counted: Vec<i32> =
            first.filter(|(one, _)| one.email == "a0@example.com").map(|(_, (_, times))| *times).collect();
        assert_eq!(counted, [1_001]);
    }
}
