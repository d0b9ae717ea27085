//! A caller whom `identity` knows.

use super::audit::Refusals;
use super::key_text::is_base62;
use crate::domain::access::{Authority, Role};
use crate::domain::audit::{Actor, Origin};
use crate::domain::ids::OrganizationId;
use crate::domain::{Error, Reason, Result};
use std::{fmt, sync::Arc};
use uuid::Uuid;

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

/// Whose credential a call has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Key(KeyId),
    User {
        id: Uuid,
        session: Uuid,
    },
    /// Nobody's: the broker carries out the rules of the organization.
    Rules,
}

/// A credential as it is withdrawn: a session with another role is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Credential {
    Key(KeyId),
    Session(Uuid, Role),
}

/// Somebody with a valid credential, for the length of one call.
#[derive(Clone, Debug)]
pub struct Caller {
    organization: OrganizationId,
    who: Who,
    authority: Authority,
    origin: Origin,
    refusals: Refusals,
}

impl Caller {
    pub(super) fn new(
        organization: OrganizationId,
        who: Who,
        authority: Authority,
        origin: &Origin,
        refusals: &Refusals,
    ) -> Self {
        Self { organization, who, authority, origin: origin.clone(), refusals: refusals.clone() }
    }

    /// The broker itself, for the rules of an organization. It may do nothing that `granted_to_rules` does not give it.
    pub(super) fn rules(organization: OrganizationId) -> Self {
        let nothing: Arc<str> = "".into();
        let origin = Origin { request_id: nothing.clone(), method: nothing.clone(), address: nothing };
        Self {
            organization,
            who: Who::Rules,
            authority: Authority::User(Role::Viewer),
            origin,
            refusals: Refusals::default(),
        }
    }

    /// The tenant.
    pub fn organization(&self) -> OrganizationId {
        self.organization
    }

    /// Whose credential it is.
    pub fn who(&self) -> Who {
        self.who
    }

    /// The user and their session. Refused for an API key: it is no person.
    pub fn user(&self) -> Result<(Uuid, Uuid)> {
        match self.who {
            Who::User { id, session } => Ok((id, session)),
            Who::Key(_) | Who::Rules => Err(Error::new(Reason::PermissionDenied, "an API key is no person; sign in")),
        }
    }

    /// Who publishes, as events keep it: `key:` and the public part of the API key, or `user:` and an id.
    pub fn publisher(&self) -> Arc<str> {
        match self.who {
            Who::Key(key) => format!("key:{key}").into(),
            Who::User { id, .. } => format!("user:{id}").into(),
            Who::Rules => "rules".into(),
        }
    }

    pub(super) fn credential(&self) -> Credential {
        match (self.who, &self.authority) {
            (Who::User { session, .. }, Authority::User(role)) => Credential::Session(session, *role),
            (Who::User { session, .. }, Authority::Key(_)) => Credential::Session(session, Role::Viewer),
            (Who::Key(key), _) => Credential::Key(key),
            // No call comes with it, so none is withdrawn.
            (Who::Rules, _) => Credential::Session(Uuid::nil(), Role::Viewer),
        }
    }

    /// What the credential stands for.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The call, and where it comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Who acts, as the audit log says it.
    pub fn actor(&self) -> Actor {
        Actor { organization: self.organization, name: self.publisher(), origin: self.origin.clone() }
    }

    /// Goes to the audit log with what the caller may not.
    pub(super) fn note(&self, refusal: Error, object: &str) -> Error {
        self.refusals.refused(self, object, refusal.reason());
        refusal
    }

    /// Goes to the audit log with a password that was wrong.
    pub(super) fn note_doubt(&self, refusal: Error) -> Error {
        self.refusals.doubted(self, refusal.reason());
        refusal
    }
}
