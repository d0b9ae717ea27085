//! A caller whom `identity` knows.

use super::key_text::is_base62;
use crate::domain::{access::Authority, ids::OrganizationId};
use std::{fmt, sync::Arc};

/// The public part of an API key: 12 base62 characters, safe to log.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyId(pub(super) [u8; 12]);

impl KeyId {
    /// Reads the public part of a key.
    pub fn parse(text: &str) -> Option<Self> {
        if is_base62(text) { text.as_bytes().try_into().ok().map(Self) } else { None }
    }

    pub fn as_str(&self) -> &str {
        // Only base62 gets in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Somebody with a valid credential, for the length of one call.
#[derive(Clone, Debug)]
pub struct Caller {
    organization: OrganizationId,
    key_id: KeyId,
    authority: Authority,
    request_id: Arc<str>,
}

impl Caller {
    pub(super) fn new(organization: OrganizationId, key_id: KeyId, authority: Authority, request_id: Arc<str>) -> Self {
        Self { organization, key_id, authority, request_id }
    }

    /// The tenant.
    pub fn organization(&self) -> OrganizationId {
        self.organization
    }

    /// The credential, as it may be shown.
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Who publishes, as events keep it: `key:` and the public part of the API key.
    pub fn publisher(&self) -> Arc<str> {
        format!("key:{}", self.key_id).into()
    }

    /// What the credential stands for.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Id of the call, in every answer and in the log.
    pub fn request_id(&self) -> &Arc<str> {
        &self.request_id
    }
}
