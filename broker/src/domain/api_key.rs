//! API keys as people manage them: everything but the secret.

use super::access::Grants;
use super::labels::check_description;
use super::{Applied, Error, Reason, Result, limits};

/// Rotation of a key that does not say, and at most: one day, 30 days.
const OVERLAP_US_DEFAULT: i64 = 24 * 3_600 * 1_000_000;
const OVERLAP_US_MAX: i64 = 30 * OVERLAP_US_DEFAULT;

/// What a key is for, visible in its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    Live,
    Test,
}

impl Environment {
    /// What a key begins with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Live => "ef_live_",
            Self::Test => "ef_test_",
        }
    }

    /// As it is stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }

    /// From what was stored.
    pub fn from_stored(text: &str) -> Self {
        if text == "test" { Self::Test } else { Self::Live }
    }
}

/// A key without its secret. Times are microseconds since 1970, by the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInfo {
    pub id: String,
    pub environment: Environment,
    pub description: String,
    pub grants: Grants,
    /// `key:` and an id, or `operator`.
    pub created_by: String,
    pub created_at: i64,
    pub expires_at: Option<i64>,
    pub last_used_at: Option<i64>,
    pub revoked_at: Option<i64>,
    /// The key that takes its place.
    pub successor: Option<String>,
    /// Revoked, or expired by now.
    pub ended: bool,
}

impl KeyInfo {
    /// The key as it may be shown.
    pub fn masked(&self) -> String {
        format!("{}{}_…", self.environment.prefix(), self.id)
    }
}

/// A key that is to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub environment: Environment,
    pub description: String,
    pub grants: Grants,
    pub expires_at: Option<i64>,
}

impl NewKey {
    pub fn check(&self) -> Result<()> {
        check_description("api_key.description", &self.description)
    }
}

/// How long a rotated key goes on, microseconds; `None` is the default.
pub fn overlap_us(field: &str, wanted: Option<i64>) -> Result<i64> {
    match wanted {
        None => Ok(OVERLAP_US_DEFAULT),
        Some(us @ 0..=OVERLAP_US_MAX) => Ok(us),
        Some(_) => Err(Error::invalid(field, "must be zero to 30 days")),
    }
}

/// Also of a key of another organization.
pub fn key_not_found(id: &str) -> Error {
    let shown: String = id.chars().take(32).filter(char::is_ascii_alphanumeric).collect();
    Error::new(Reason::ApiKeyNotFound, format!("API key `{shown}` does not exist; `ListApiKeys` shows those that do"))
}

pub fn key_ended(id: &str) -> Error {
    let message = format!("API key `{id}` was revoked or has expired; make a new one");
    Error::new(Reason::ApiKeyEnded, message).applied(Applied::No)
}

pub fn too_many_keys() -> Error {
    let max = limits::API_KEYS_MAX;
    let message = format!("the organization has {max} API keys; revoke some that nobody uses");
    Error::new(Reason::TooManyApiKeys, message).fact("api_keys_max", max).applied(Applied::No)
}

pub fn expires_too_early() -> Error {
    Error::invalid("api_key.expire_time", "must be in the future, by the database's clock").applied(Applied::No)
}
