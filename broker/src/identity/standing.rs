//! Credentials that have streams open, and the news that one is no longer good.
//!
//! A call authenticates once, and a stream may live for days. So whoever serves a stream holds a [`Standing`], which fires when
//! the credential was revoked or has expired: [`Authenticator::watch`](super::Authenticator::watch) asks the database about all
//! of them every second.

use super::caller::Credential;
use crate::domain::access::Role;
use crate::domain::{Applied, Error, Reason};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Held by a stream: fires when its credential is no longer good. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Standing(Arc<CancellationToken>);

impl Standing {
    /// Fires when the stream is to end.
    pub fn withdrawn(&self) -> &CancellationToken {
        &self.0
    }
}

/// What a stream is told whose credential is no longer good.
pub fn withdrawn() -> Error {
    Error::new(Reason::Unauthenticated, "the credential of this stream was revoked, or has expired")
        .applied(Applied::Unknown)
}

/// The standings of all open streams of this broker, one a credential.
#[derive(Debug, Default)]
pub(super) struct Standings(Mutex<HashMap<Credential, Weak<CancellationToken>>>);

impl Standings {
    pub(super) fn of(&self, credential: Credential) -> Standing {
        let mut standings = self.lock();
        if let Some(standing) = standings.get(&credential).and_then(Weak::upgrade) {
            return Standing(standing);
        }
        let standing = Standing::default();
        standings.insert(credential, Arc::downgrade(&standing.0));
        standing
    }

    /// The credentials that have streams open.
    pub(super) fn open(&self) -> Vec<Credential> {
        let mut standings = self.lock();
        standings.retain(|_, standing| standing.strong_count() > 0);
        standings.keys().copied().collect()
    }

    /// Ends the streams of a session, whatever the role was.
    pub(super) fn withdraw_session(&self, session: Uuid) {
        Role::ALL.iter().for_each(|role| self.withdraw(Credential::Session(session, *role)));
    }

    /// Ends the streams of a credential.
    pub(super) fn withdraw(&self, credential: Credential) {
        if let Some(standing) = self.lock().remove(&credential).as_ref().and_then(Weak::upgrade) {
            standing.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Credential, Weak<CancellationToken>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::KeyId;

    fn key(id: &[u8; 12]) -> Credential {
        Credential::Key(KeyId::parse(std::str::from_utf8(id).expect("text")).expect("an id"))
    }

    #[test]
    fn streams_of_one_credential_end_together_and_no_others() {
        let (standings, one, other) = (Standings::default(), key(b"aaaaaaaaaaaa"), key(b"bbbbbbbbbbbb"));
        let (first, second, foreign) = (standings.of(one), standings.of(one), standings.of(other));
        standings.withdraw(one);
        assert!(first.withdrawn().is_cancelled() && second.withdrawn().is_cancelled());
        assert!(!foreign.withdrawn().is_cancelled());
        assert!(!standings.of(one).withdrawn().is_cancelled(), "a later stream has a standing of its own");
    }

    #[test]
    fn only_credentials_with_an_open_stream_are_remembered() {
        let (standings, credential) = (Standings::default(), key(b"aaaaaaaaaaaa"));
        let standing = standings.of(credential);
        assert_eq!(standings.open(), [credential]);
        drop(standing);
        assert!(standings.open().is_empty());
    }
}
