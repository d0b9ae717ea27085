//! From the headers of a call to its [`Caller`].
//!
//! Every failure is `UNAUTHENTICATED` with one text, so that nobody learns which keys exist; only a header that is no
//! bearer key at all is told what is expected. A mistyped key is refused by its checksum, without the database.

use super::{
    cache::{Cache, Known},
    caller::{Caller, KeyId},
    key::ApiKey,
    standing::{Standing, Standings},
};
use crate::{
    domain::{
        Error, Reason, Result,
        access::{Authority, Grants},
        ids::OrganizationId,
    },
    store::{
        Store,
        keys::{self, StoredKey},
    },
};
use http::{HeaderMap, header::AUTHORIZATION};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use subtle::ConstantTimeEq;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// A key that was revoked is refused everywhere within this time.
const LIFETIME: Duration = Duration::from_secs(5);
const KNOWN_MAX: usize = 10_000;
/// Keys that do not exist: short-lived, so that a fresh key works at once, and few.
const UNKNOWN_LIFETIME: Duration = Duration::from_secs(1);
const UNKNOWN_MAX: usize = 1_000;
/// Between looks at whether the credentials of open streams are still good.
const LOOK: Duration = Duration::from_secs(1);
/// The use of keys is written once in so many looks.
const LOOKS_A_NOTE: u32 = 10;

/// Where keys are looked up.
#[expect(clippy::large_enum_variant, reason = "there is one in a broker")]
pub enum KeySource {
    Postgres(Store),
    /// Exactly these keys, for servers without a database.
    Listed(HashMap<KeyId, StoredKey>),
}

/// Knows who calls. Cheap to clone.
#[derive(Clone)]
pub struct Authenticator(Arc<Inner>);

struct Inner {
    source: KeySource,
    known: Cache,
    unknown: Cache,
    standings: Standings,
    /// Keys that were used since this was written last.
    used: Mutex<HashSet<KeyId>>,
}

impl Authenticator {
    pub fn new(source: KeySource) -> Self {
        let (known, unknown) = (Cache::new(LIFETIME, KNOWN_MAX), Cache::new(UNKNOWN_LIFETIME, UNKNOWN_MAX));
        Self(Arc::new(Inner { source, known, unknown, standings: Standings::default(), used: Mutex::default() }))
    }

    /// The caller that `headers` name. `request_id` goes with the caller through the call.
    pub async fn authenticate(&self, headers: &HeaderMap, request_id: &Arc<str>) -> Result<Caller> {
        let key = bearer(headers)?;
        // Before the look-up, so that an unknown key takes as long as a wrong secret.
        let given = key.secret_sha256();
        let (known, found) = self.look_up(key.id()).await?;
        let known = known.ok_or_else(refused)?;
        if !bool::from(known.secret_sha256.ct_eq(&given)) {
            return Err(refused());
        }
        if found == Found::Afresh {
            self.note_use(key.id());
        }
        Ok(Caller::new(known.organization, key.id(), Authority::Key(known.grants), request_id.clone()))
    }

    /// What a stream of this caller holds while it is open.
    pub fn standing(&self, caller: &Caller) -> Standing {
        self.0.standings.of(caller.key_id())
    }

    /// Ends the streams of credentials that are no longer good, until told to stop.
    pub async fn watch(self, stop: CancellationToken) -> Result<()> {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for look in 1_u32.. {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = looks.tick() => {}
            }
            if let Err(error) = self.look().await {
                tracing::debug!(?error, "the credentials of open streams were not checked; trying again");
            }
            if look.is_multiple_of(LOOKS_A_NOTE) {
                self.write_uses().await;
            }
        }
        self.write_uses().await;
        Ok(())
    }

    /// Refuses the key here from now on, and ends its streams: it was revoked.
    pub(super) fn forget(&self, key: KeyId) {
        self.0.known.forget(key);
        self.0.standings.withdraw(key);
    }

    /// Costs nothing while a key is in the cache: a use is noted when the key was looked up.
    fn note_use(&self, key: KeyId) {
        let mut used = self.0.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() < KNOWN_MAX {
            used.insert(key);
        }
    }

    async fn write_uses(&self) {
        let used = std::mem::take(&mut *self.0.used.lock().unwrap_or_else(PoisonError::into_inner));
        let KeySource::Postgres(store) = &self.0.source else { return };
        if used.is_empty() {
            return;
        }
        let ids: Vec<&str> = used.iter().map(KeyId::as_str).collect();
        let written = async { keys::touch(&**store.conn().await?, &ids).await };
        if let Err(error) = written.await {
            tracing::debug!(?error, "the last use of keys was not written; later uses will be");
        }
    }

    async fn look(&self) -> Result<()> {
        let open = self.0.standings.open();
        let KeySource::Postgres(store) = &self.0.source else { return Ok(()) };
        if open.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = open.iter().map(KeyId::as_str).collect();
        let good = keys::good(&**store.conn().await?, &ids).await?;
        for key in open.iter().filter(|key| !good.contains(key.as_str())) {
            self.forget(*key);
        }
        Ok(())
    }

    async fn look_up(&self, id: KeyId) -> Result<(Option<Known>, Found)> {
        if let Some(verdict) = self.0.known.get(id).or_else(|| self.0.unknown.get(id)) {
            return Ok((verdict, Found::Cached));
        }
        let asked = Instant::now();
        let verdict = self.find(id).await?.and_then(usable);
        if verdict.is_some() { &self.0.known } else { &self.0.unknown }.put(id, asked, verdict.clone());
        Ok((verdict, Found::Afresh))
    }

    async fn find(&self, id: KeyId) -> Result<Option<StoredKey>> {
        match &self.0.source {
            KeySource::Listed(keys) => Ok(keys.get(&id).cloned()),
            KeySource::Postgres(store) => keys::find(&**store.conn().await?, id.as_str()).await,
        }
    }
}

/// Where a verdict came from.
#[derive(PartialEq, Eq)]
enum Found {
    Cached,
    Afresh,
}

fn usable(stored: StoredKey) -> Option<Known> {
    if stored.expired || stored.revoked {
        return None;
    }
    let secret_sha256 = stored.secret_sha256.try_into().ok()?;
    // A scope of a later version is none that this broker could check: such a key is refused here.
    let grants = Grants::parse("scopes", stored.scopes.iter().map(String::as_str)).ok()?;
    Some(Known { organization: OrganizationId(stored.organization_id), secret_sha256, grants })
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
