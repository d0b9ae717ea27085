//! API keys over the API: made, listed, rotated, revoked.
//!
//! **Invariants:** nobody gives a key more than they may do themselves; a secret is in one answer and nowhere else, not even in
//! the stored answer of its request.

use super::authenticator::Authenticator;
use super::caller::{Caller, KeyId};
use super::granted::{Granted, ManageKeys};
use super::key::ApiKey;
use crate::domain::access::Grants;
use crate::domain::api_key::{KeyInfo, NewKey, expires_too_early, key_ended, key_not_found, too_many_keys};
use crate::domain::audit::Target;
use crate::domain::page::{List, Page, page_size};
use crate::domain::{Applied, Error, Reason, Result};
use crate::store::once::{Answer, Once};
use crate::store::{Store, Tenant, keys};

/// A key just made. The secret is absent in the answer to a repeat.
#[derive(Clone, Debug)]
pub struct Made {
    pub info: KeyInfo,
    pub key: ApiKey,
    /// When the key that it replaces ends.
    pub old_expires_at: Option<i64>,
}

/// Which keys a list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Usable,
    EndedToo,
}

/// A handle on all API keys. Cheap to clone.
#[derive(Clone)]
pub struct ApiKeys {
    store: Store,
    authenticator: Authenticator,
}

impl ApiKeys {
    pub fn new(store: Store, authenticator: Authenticator) -> Self {
        Self { store, authenticator }
    }

    /// Makes a key for `caller`, who must hold what it grants.
    pub async fn create(
        &self,
        caller: &Caller,
        granted: &Granted<ManageKeys>,
        once: &Once<Made>,
        new: &NewKey,
    ) -> Result<Answer<Made>> {
        new.check()?;
        holds(caller, &new.grants)?;
        let create = |tenant| async move { insert(&tenant, caller, new, None).await };
        self.store.change(granted.actor(), once, made, create).await
    }

    /// The key with that id.
    pub async fn get(&self, granted: &Granted<ManageKeys>, id: &str) -> Result<KeyInfo> {
        self.store.tenant(granted.organization(), |tenant| async move { existing(&tenant, id).await }).await
    }

    /// A page of keys, oldest first.
    pub async fn list(
        &self,
        granted: &Granted<ManageKeys>,
        shown: Shown,
        size: u32,
        token: &str,
    ) -> Result<Page<KeyInfo>> {
        let (organization, size) = (granted.organization(), page_size("page_size", size)?);
        let filter = if shown == Shown::EndedToo { "ended" } else { "" };
        let (list, key) = (List { organization, method: "ListApiKeys", filter }, self.store.page_key().await?);
        let after = &key.open(list, token)?;
        let find = |tenant| async move { keys::list(&tenant, shown == Shown::EndedToo, after, size + 1).await };
        let found = self.store.tenant(organization, find).await?;
        Ok(key.page(list, size, found, |info| format!("{:020}{}", info.created_at, info.id)))
    }

    /// Makes a key that may do what `id` may, and lets that one expire after `overlap_us`.
    pub async fn rotate(
        &self,
        caller: &Caller,
        granted: &Granted<ManageKeys>,
        once: &Once<Made>,
        id: &str,
        overlap_us: i64,
    ) -> Result<Answer<Made>> {
        let rotate = |tenant: Tenant| async move {
            let old = keys::lock(&tenant, id).await?.ok_or_else(|| key_not_found(id))?;
            if old.ended {
                return Err(key_ended(&old.id));
            }
            // The new secret opens what the old one does.
            holds(caller, &old.grants)?;
            let KeyInfo { environment, description, grants, expires_at, .. } = old;
            let new = NewKey { environment, description, grants, expires_at };
            let mut made = insert(&tenant, caller, &new, Some(id)).await?;
            made.old_expires_at = Some(keys::replace(&tenant, id, &made.info.id, overlap_us).await?);
            Ok(made)
        };
        let replaces = |new: &Made| Target::key(id).saying(format!("replaced by key:{}", new.info.id));
        self.store.change(granted.actor(), once, replaces, rotate).await
    }

    /// Ends a key, here at once and elsewhere within seconds.
    pub async fn revoke(
        &self,
        granted: &Granted<ManageKeys>,
        once: &Once<KeyInfo>,
        id: &str,
    ) -> Result<Answer<KeyInfo>> {
        let revoke = |tenant: Tenant| async move {
            keys::revoke(&tenant, id).await?;
            existing(&tenant, id).await
        };
        let answer = self.store.change(granted.actor(), once, |key| Target::key(&key.id), revoke).await?;
        if let Some(id) = KeyId::parse(id) {
            self.authenticator.forget(id);
        }
        Ok(answer)
    }
}

/// Refuses to give away what the caller does not have.
fn holds(caller: &Caller, grants: &Grants) -> Result<()> {
    let lacking = grants.iter().find(|grant| !caller.authority().holds(grant));
    lacking.map_or(Ok(()), |grant| {
        let scope = grant.scope.as_str();
        let message = format!("a key with the scope `{scope}` can only be made by who has it as widely");
        let refusal = Error::new(Reason::PermissionDenied, message).fact("scope", scope).applied(Applied::No);
        Err(caller.note(refusal, ""))
    })
}

/// What the audit log says of a key just made.
fn made(made: &Made) -> Target {
    Target::key(&made.info.id).saying(made.info.grants.texts().join(" "))
}

async fn insert(tenant: &Tenant, caller: &Caller, new: &NewKey, replaces: Option<&str>) -> Result<Made> {
    let key = ApiKey::generate(new.environment);
    let (id, creator) = (key.id(), caller.publisher());
    let stored = keys::NewKey {
        id: id.as_str(),
        secret_sha256: &key.secret_sha256(),
        environment: new.environment,
        description: &new.description,
        scopes: &new.grants.texts(),
    };
    match keys::insert(tenant, stored, &creator, new.expires_at).await? {
        keys::Inserted::Done => {}
        keys::Inserted::TooMany => return Err(too_many_keys()),
        // The key that is replaced was about to expire: it has.
        keys::Inserted::ExpiresTooEarly => return Err(replaces.map_or_else(expires_too_early, key_ended)),
    }
    let info = existing(tenant, id.as_str()).await?;
    Ok(Made { info, key, old_expires_at: None })
}

async fn existing(tenant: &Tenant, id: &str) -> Result<KeyInfo> {
    keys::get(tenant, id).await?.ok_or_else(|| key_not_found(id))
}
