//! From the headers of a call to its [`Caller`].
//!
//! Every failure is `UNAUTHENTICATED` with one text, so that nobody learns which keys exist; only a header that is no
//! bearer key at all is told what is expected. A mistyped key is refused by its checksum, without the database.

use super::{
    cache::{Cache, Known},
    caller::{Caller, KeyId},
    key::ApiKey,
};
use crate::{
    domain::{Error, Reason, Result, access::Scope, ids::OrganizationId},
    store::{
        Store,
        keys::{self, StoredKey},
    },
};
use http::{HeaderMap, header::AUTHORIZATION};
use std::{collections::HashMap, sync::Arc, time::Duration};
use subtle::ConstantTimeEq;

/// A key that was revoked is refused everywhere within this time.
const LIFETIME: Duration = Duration::from_secs(5);
const KNOWN_MAX: usize = 10_000;
/// Keys that do not exist: short-lived, so that a fresh key works at once, and few.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(1);
const UNKNOWN_MAX: usize = 1_000;

/// Where keys are looked up.
#[expect(clippy::large_enum_variant, reason = "there is one in a broker")]
pub enum KeySource {
    Postgres(Store),
    /// Exactly these keys, for servers without a database.
    Listed(HashMap<KeyId, StoredKey>),
}

/// Knows who calls.
pub struct Authenticator {
    source: KeySource,
    known: Cache,
    unknown: Cache,
}

impl Authenticator {
    pub fn new(source: KeySource) -> Self {
        Self { source, known: Cache::new(LIFETIME, KNOWN_MAX), unknown: Cache::new(UNKNOWN_LIFETIME, UNKNOWN_MAX) }
    }

    /// The caller that `headers` name. `request_id` goes with the caller through the call.
    pub async fn authenticate(&self, headers: &HeaderMap, request_id: &Arc<str>) -> Result<Caller> {
        let key = bearer(headers)?;
        // Before the look-up, so that an unknown key takes as long as a wrong secret.
        let given = key.secret_sha256();
        let known = self.look_up(key.id()).await?.ok_or_else(refused)?;
        if !bool::from(known.secret_sha256.ct_eq(&given)) {
            return Err(refused());
        }
        Ok(Caller::new(known.organization, key.id(), Scope::Everything, request_id.clone()))
    }

    async fn look_up(&self, id: KeyId) -> Result<Option<Known>> {
        if let Some(verdict) = self.known.get(id).or_else(|| self.unknown.get(id)) {
            return Ok(verdict);
        }
        let verdict = self.find(id).await?.and_then(usable);
        if verdict.is_some() { &self.known } else { &self.unknown }.put(id, verdict);
        Ok(verdict)
    }

    async fn find(&self, id: KeyId) -> Result<Option<StoredKey>> {
        match &self.source {
            KeySource::Listed(keys) => Ok(keys.get(&id).cloned()),
            KeySource::Postgres(store) => keys::find(&**store.conn().await?, id.as_str()).await,
        }
    }
}

fn usable(stored: StoredKey) -> Option<Known> {
    if stored.expired || stored.revoked {
        return None;
    }
    let secret_sha256 = stored.secret_sha256.try_into().ok()?;
    Some(Known { organization: OrganizationId(stored.organization_id), secret_sha256 })
}

/// The key of the one `authorization` header.
fn bearer(headers: &HeaderMap) -> Result<ApiKey> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or_else(|| malformed("the `authorization` header is missing"))?;
    if values.next().is_some() {
        return Err(malformed("there are two `authorization` headers"));
    }
    let text = value.to_str().map_err(|_| malformed("the `authorization` header is not ASCII"))?;
    let (scheme, key) = text.split_once(' ').ok_or_else(|| malformed("the `authorization` header has no key"))?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(malformed("the `authorization` header is not of the `Bearer` kind"));
    }
    ApiKey::parse(key.trim()).ok_or_else(refused)
}

fn malformed(what: &'static str) -> Error {
    Error::new(Reason::Unauthenticated, format!("{what}; expected `authorization: Bearer ef_live_…` with an API key"))
}

/// The one text for every key that does not work, whatever the cause.
fn refused() -> Error {
    Error::new(
        Reason::Unauthenticated,
        "the API key is not valid: unknown, mistyped, expired or revoked; check `EVENTFLOW_API_KEY`",
    )
}

#[cfg(test)]
mod tests;
