//! Access tokens: JWTs of ten minutes, signed with Ed25519.
//!
//! The keys lie in Postgres, for all brokers; each has an id, and a new one takes over after 30 days, a minute after every
//! broker could learn of it. A token names a session; what its user may do is looked up, not read from the token. **Invariant:**
//! one algorithm, one issuer, one audience; whatever a token's header says besides the id of a key is not looked at.

use super::{cache::Cache, eddsa};
use crate::domain::{Error, Result, public_keys::PublicKeys};
use crate::store::{Store, signing_keys};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// Who issues tokens, and for whom.
const ISSUER: &str = "eventflow";
const AUDIENCE: &str = "eventflow-api";
/// How long a token is good.
pub(super) const LIFETIME: Duration = Duration::from_secs(600);
/// Keys are read again when they are older than this, and for an unknown key when they are older than that.
const KEYS_LIFETIME: Duration = Duration::from_secs(30);
const KEYS_LIFETIME_MIN: Duration = Duration::from_secs(1);
/// Signatures that were checked lately need not be checked again.
const VERIFIED_LIFETIME: Duration = Duration::from_secs(60);
const VERIFIED_MAX: usize = 10_000;
const TOKEN_BYTES_MAX: usize = 2_048;

/// What a token says. Times are seconds since 1970, by the database.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Claims {
    iss: String,
    aud: String,
    /// The user.
    pub(super) sub: Uuid,
    /// The session.
    pub(super) sid: Uuid,
    pub(super) iat: i64,
    pub(super) nbf: i64,
    pub(super) exp: i64,
}

impl Claims {
    /// Of a token that is made now.
    pub(super) fn new(user: Uuid, session: Uuid, now_us: i64) -> Self {
        let now = now_us.div_euclid(1_000_000);
        let exp = now + LIFETIME.as_secs().cast_signed();
        Self { iss: ISSUER.to_owned(), aud: AUDIENCE.to_owned(), sub: user, sid: session, iat: now, nbf: now, exp }
    }

    /// Whether the token is good at this time of the database; five seconds are nothing between machines.
    pub(super) fn is_good_at(&self, now_us: i64) -> bool {
        const LEEWAY: i64 = 5;
        let now = now_us.div_euclid(1_000_000);
        let longest = LIFETIME.as_secs().cast_signed();
        self.nbf <= now + LEEWAY
            && self.iat <= now + LEEWAY
            && now < self.exp.saturating_add(LEEWAY)
            && self.exp.saturating_sub(self.iat) <= longest
    }
}

/// Signs and verifies. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tokens(Arc<Inner>);

struct Inner {
    store: Store,
    keys: Mutex<Keys>,
    verified: Cache<[u8; 32], Option<Claims>>,
    shown: PublicKeys,
}

#[derive(Clone, Default)]
struct Keys {
    read_at: Option<Instant>,
    by_id: HashMap<String, DecodingKey>,
    signer: Option<(String, EncodingKey)>,
}

impl Tokens {
    /// `shown` is kept up to date with the public keys.
    pub(super) fn new(store: Store, shown: PublicKeys) -> Self {
        eddsa::install();
        let verified = Cache::new(VERIFIED_LIFETIME, VERIFIED_MAX);
        Self(Arc::new(Inner { store, keys: Mutex::default(), verified, shown }))
    }

    /// The signed token.
    pub(super) async fn sign(&self, claims: &Claims) -> Result<String> {
        let keys = self.keys(KEYS_LIFETIME).await?;
        let (id, key) = keys.signer.ok_or_else(|| Error::internal("there is no key to sign with"))?;
        let header = Header { kid: Some(id), ..Header::new(Algorithm::EdDSA) };
        encode(&header, claims, &key).map_err(|error| Error::internal(error.to_string()))
    }

    /// What a token says, if one of our keys has signed it. Its times are for the caller to check.
    pub(super) async fn verify(&self, token: &str) -> Result<Option<Claims>> {
        if token.len() > TOKEN_BYTES_MAX {
            return Ok(None);
        }
        let id: [u8; 32] = Sha256::digest(token).into();
        if let Some(claims) = self.0.verified.get(&id) {
            return Ok(claims);
        }
        let asked = Instant::now();
        let claims = self.check(token).await?;
        if claims.is_some() {
            self.0.verified.put(id, asked, claims.clone());
        }
        Ok(claims)
    }

    async fn check(&self, token: &str) -> Result<Option<Claims>> {
        let Ok(header) = decode_header(token) else { return Ok(None) };
        let (Some(id), Algorithm::EdDSA) = (header.kid, header.alg) else { return Ok(None) };
        let mut key = self.keys(KEYS_LIFETIME).await?.by_id.remove(&id);
        if key.is_none() {
            // Another broker may just have made it.
            key = self.keys(KEYS_LIFETIME_MIN).await?.by_id.remove(&id);
        }
        let Some(key) = key else { return Ok(None) };
        Ok(decode::<Claims>(token, &key, &validation()).ok().map(|token| token.claims))
    }

    /// The keys, at most so old.
    async fn keys(&self, lifetime: Duration) -> Result<Keys> {
        let known = self.lock().clone();
        if known.read_at.is_some_and(|read_at| read_at.elapsed() < lifetime) {
            return Ok(known);
        }
        let keys = self.read().await?;
        *self.lock() = keys.clone();
        Ok(keys)
    }

    async fn read(&self) -> Result<Keys> {
        let read_at = Some(Instant::now());
        let db = self.0.store.conn().await?;
        let mut stored = signing_keys::list(&**db).await?;
        if stored.first().is_none_or(|newest| newest.due) {
            let made = eddsa::generate()?;
            // Another broker may be first; whose key it becomes does not matter.
            signing_keys::add(&**db, &made.id, &made.private_pkcs8, &made.public).await?;
            stored = signing_keys::list(&**db).await?;
        }
        self.0.shown.show(key_set(&stored));
        let by_id = stored.iter().map(|key| (key.id.clone(), DecodingKey::from_ed_der(&key.public))).collect();
        let signer = stored.into_iter().find(|key| key.signs);
        let signer = signer.map(|key| (key.id, EncodingKey::from_ed_der(&key.private_pkcs8)));
        Ok(Keys { read_at, by_id, signer })
    }

    /// Reads the keys again when they are old, so that what is shown is true although nobody signs in.
    pub(super) async fn refresh(&self) -> Result<()> {
        self.keys(KEYS_LIFETIME).await.map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, Keys> {
        self.0.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Times are compared with the database's clock, by [`Claims::is_good_at`]; the library knows this machine's only.
fn validation() -> Validation {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.set_issuer(&[ISSUER]);
    validation.set_audience(&[AUDIENCE]);
    validation.set_required_spec_claims(&["exp", "nbf", "iss", "aud", "sub"]);
    validation
}

fn key_set(keys: &[signing_keys::SigningKey]) -> String {
    let key = |key: &signing_keys::SigningKey| {
        let x = URL_SAFE_NO_PAD.encode(&key.public);
        serde_json::json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.id, "x": x})
    };
    serde_json::json!({ "keys": keys.iter().map(key).collect::<Vec<_>>() }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_for_ten_minutes_and_no_longer_whatever_it_says() {
        let (user, session) = (Uuid::new_v4(), Uuid::new_v4());
        let claims = Claims::new(user, session, 1_000_000_000);
        for (second, good) in [(994, false), (995, true), (1_000, true), (1_604, true), (1_605, false)] {
            assert_eq!(claims.is_good_at(second * 1_000_000), good, "{second}");
        }
        for forged in [
            Claims { exp: i64::MAX, ..claims.clone() },
            Claims { exp: 9_000, ..claims.clone() },
            Claims { iat: i64::MIN, exp: i64::MAX, ..claims.clone() },
            Claims { iat: 2_000, exp: 2_600, ..claims.clone() },
            Claims { nbf: i64::MAX, ..claims.clone() },
            Claims { exp: -1, ..claims },
        ] {
            assert!(!forged.is_good_at(1_000 * 1_000_000), "{forged:?}");
        }
    }
}
