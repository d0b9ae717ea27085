//! From the headers of a call to its [`Caller`].
//!
//! A credential is an API key, or the access token of a session. Every failure is `UNAUTHENTICATED` with one text, so that nobody
//! learns which keys exist; only a header that holds neither is told what is expected. A mistyped key is refused by its checksum,
//! a token that nobody has signed by its signature, both without the database.

use super::{
    audit::Refusals,
    cache::{Cache, Known},
    caller::{Caller, Credential, KeyId, Who},
    key::ApiKey,
    standing::{Standing, Standings},
    tokens::Tokens,
};
use crate::{
    domain::{
        Error, Reason, Result,
        access::{Authority, Grants, Role},
        audit::Origin,
        ids::OrganizationId,
        public_keys::PublicKeys,
    },
    store::{
        Store,
        keys::{self, StoredKey},
        sessions,
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
use uuid::Uuid;

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
    known: Cache<KeyId, Option<Known>>,
    unknown: Cache<KeyId, Option<Known>>,
    sessions: Cache<Uuid, Option<KnownSession>>,
    /// None: there is no database, and nobody signs in.
    tokens: Option<Tokens>,
    public_keys: PublicKeys,
    standings: Standings,
    refusals: Refusals,
    /// Keys that were used since this was written last.
    used: Mutex<HashSet<KeyId>>,
}

/// A session that may be used, as stored.
#[derive(Clone)]
struct KnownSession {
    organization: OrganizationId,
    user: Uuid,
    role: Role,
    /// The database's clock, and when it showed that.
    now_us: i64,
    at: Instant,
}

impl KnownSession {
    /// What the database's clock shows now.
    fn now_us(&self) -> i64 {
        self.now_us.saturating_add(i64::try_from(self.at.elapsed().as_micros()).unwrap_or(i64::MAX))
    }
}

impl Authenticator {
    pub fn new(source: KeySource) -> Self {
        let public_keys = PublicKeys::default();
        let tokens = match &source {
            KeySource::Postgres(store) => Some(Tokens::new(store.clone(), public_keys.clone())),
            KeySource::Listed(_) => None,
        };
        Self(Arc::new(Inner {
            source,
            known: Cache::new(LIFETIME, KNOWN_MAX),
            unknown: Cache::new(UNKNOWN_LIFETIME, UNKNOWN_MAX),
            sessions: Cache::new(LIFETIME, KNOWN_MAX),
            tokens,
            public_keys,
            standings: Standings::default(),
            refusals: Refusals::default(),
            used: Mutex::default(),
        }))
    }

    /// The keys that verify access tokens, for others.
    pub fn public_keys(&self) -> PublicKeys {
        self.0.public_keys.clone()
    }

    pub(super) fn tokens(&self) -> Result<&Tokens> {
        self.0.tokens.as_ref().ok_or_else(|| Error::internal("nobody can sign in without a database"))
    }

    pub(super) fn refusals(&self) -> &Refusals {
        &self.0.refusals
    }

    /// Writes to the audit log what was refused, until told to stop.
    pub async fn write_refusals(self, stop: CancellationToken) -> Result<()> {
        match &self.0.source {
            KeySource::Postgres(store) => self.0.refusals.clone().run(store.clone(), stop).await,
            KeySource::Listed(_) => Ok(()),
        }
    }

    /// The caller that `headers` name. `origin` goes with the caller through the call.
    pub async fn authenticate(&self, headers: &HeaderMap, origin: &Origin) -> Result<Caller> {
        match bearer(headers)? {
            Bearer::Key(key) => self.of_key(&key, origin).await,
            // Boxed: programs, which are most of the calls, should not carry its size.
            Bearer::Token(token) => Box::pin(self.of_token(token, origin)).await,
        }
    }

    async fn of_token(&self, token: &str, origin: &Origin) -> Result<Caller> {
        let tokens = self.0.tokens.as_ref().ok_or_else(refused)?;
        let claims = tokens.verify(token).await?.ok_or_else(refused)?;
        let session = self.session(claims.sid).await?.ok_or_else(refused)?;
        if session.user != claims.sub || !claims.is_good_at(session.now_us()) {
            return Err(refused());
        }
        let who = Who::User { id: session.user, session: claims.sid };
        Ok(Caller::new(session.organization, who, Authority::User(session.role), origin, &self.0.refusals))
    }

    async fn session(&self, id: Uuid) -> Result<Option<KnownSession>> {
        if let Some(verdict) = self.0.sessions.get(&id) {
            return Ok(verdict);
        }
        let KeySource::Postgres(store) = &self.0.source else { return Ok(None) };
        let at = Instant::now();
        let found = sessions::find(&**store.conn().await?, id).await?;
        let known = found.and_then(|session| {
            let sessions::Session { organization, user, now_us, .. } = session;
            // A role of a later version is none that this broker could check.
            Role::parse(&session.role).map(|role| KnownSession { organization, user, role, now_us, at })
        });
        self.0.sessions.put(id, at, known.clone());
        Ok(known)
    }

    async fn of_key(&self, key: &ApiKey, origin: &Origin) -> Result<Caller> {
        // Before the look-up, so that an unknown key takes as long as a wrong secret.
        let given = key.secret_sha256();
        let (known, found) = self.look_up(key.id(), origin).await?;
        let known = known.ok_or_else(refused)?;
        if !bool::from(known.secret_sha256.ct_eq(&given)) {
            self.0.refusals.bad_key(key.id(), origin);
            return Err(refused());
        }
        if found == Found::Afresh {
            self.note_use(key.id());
        }
        let who = Who::Key(key.id());
        Ok(Caller::new(known.organization, who, Authority::Key(known.grants), origin, &self.0.refusals))
    }

    /// What a stream of this caller holds while it is open.
    pub fn standing(&self, caller: &Caller) -> Standing {
        self.0.standings.of(caller.credential())
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
        self.0.known.forget(&key);
        self.0.standings.withdraw(Credential::Key(key));
    }

    /// The same for a session.
    pub(super) fn forget_session(&self, session: Uuid) {
        self.0.sessions.forget(&session);
        self.0.standings.withdraw_session(session);
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
        if let Some(tokens) = &self.0.tokens {
            tokens.refresh().await?;
        }
        if open.is_empty() {
            return Ok(());
        }
        let key = |credential: &Credential| match credential {
            Credential::Key(key) => Some(*key),
            Credential::Session(..) => None,
        };
        let session = |credential: &Credential| match credential {
            Credential::Session(session, _) => Some(*session),
            Credential::Key(_) => None,
        };
        let ids: Vec<KeyId> = open.iter().filter_map(key).collect();
        let ids: Vec<&str> = ids.iter().map(KeyId::as_str).collect();
        let sessions: Vec<Uuid> = open.iter().filter_map(session).collect();
        let db = store.conn().await?;
        let good_keys = if ids.is_empty() { HashSet::new() } else { keys::good(&**db, &ids).await? };
        let good_sessions = if sessions.is_empty() { HashSet::new() } else { sessions::good(&**db, &sessions).await? };
        for credential in open {
            match credential {
                Credential::Key(key) if !good_keys.contains(key.as_str()) => self.forget(key),
                Credential::Session(session, role) if !good_sessions.contains(&(session, role.as_str().to_owned())) => {
                    self.forget_session(session);
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn look_up(&self, id: KeyId, origin: &Origin) -> Result<(Option<Known>, Found)> {
        if let Some(verdict) = self.0.known.get(&id).or_else(|| self.0.unknown.get(&id)) {
            return Ok((verdict, Found::Cached));
        }
        let asked = Instant::now();
        let stored = self.find(id).await?;
        let exists = stored.is_some();
        let verdict = stored.and_then(usable);
        if exists && verdict.is_none() {
            self.0.refusals.bad_key(id, origin);
        }
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

/// What a header holds.
enum Bearer<'a> {
    Key(ApiKey),
    Token(&'a str),
}

/// The credential of the one `authorization` header.
fn bearer(headers: &HeaderMap) -> Result<Bearer<'_>> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or_else(|| malformed("the `authorization` header is missing"))?;
    if values.next().is_some() {
        return Err(malformed("there are two `authorization` headers"));
    }
    let text = value.to_str().map_err(|_| malformed("the `authorization` header is not ASCII"))?;
    let (scheme, credential) =
        text.split_once(' ').ok_or_else(|| malformed("the `authorization` header has no credential"))?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(malformed("the `authorization` header is not of the `Bearer` kind"));
    }
    let credential = credential.trim();
    // Three parts with dots between them: no key looks like that.
    if credential.matches('.').count() == 2 {
        return Ok(Bearer::Token(credential));
    }
    ApiKey::parse(credential).map(Bearer::Key).ok_or_else(refused)
}

fn malformed(what: &'static str) -> Error {
    Error::new(
        Reason::Unauthenticated,
        format!("{what}; expected `authorization: Bearer ef_live_…` with an API key, or an access token"),
    )
}

/// The one text for every credential that does not work, whatever the cause.
fn refused() -> Error {
    Error::new(
        Reason::Unauthenticated,
        "the credential is not valid: unknown, mistyped, expired or revoked; check `EVENTFLOW_API_KEY`, or sign in again",
    )
}

#[cfg(test)]
mod tests;
