//! Hashing of passwords: Argon2id, away from the async threads, a few at a time.
//!
//! One hash takes 19 MiB and tens of milliseconds, on purpose. Whoever floods sign-in is refused instead of taking the memory
//! and the processors of those who publish.

use crate::domain::{Applied, Error, Reason, Result};
use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// The parameters of the OWASP cheat sheet: 19 MiB, two passes, one lane. A stored hash of others is made anew at its next
/// sign-in.
const MEMORY_KIB: u32 = 19 * 1_024;
const PASSES: u32 = 2;
/// Hashes at once, and those that may wait for a place.
const AT_ONCE: usize = 2;
const WAITING: usize = 32;
const RETRY: Duration = Duration::from_secs(1);
/// What is compared with when there is no account: the work is the same, and nothing matches.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5J3Mgc2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// What comparing a password led to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It matches. A hash is to be stored instead of the old one, whose parameters are not those of today.
    Right(Option<String>),
    Wrong,
}

/// Cheap to clone; all clones share the places.
#[derive(Clone)]
pub(super) struct Passwords {
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)), waiting: Arc::new(Semaphore::new(WAITING)) }
    }
}

impl Passwords {
    pub(super) async fn hash(&self, password: String) -> Result<String> {
        self.run(move || hash(&password)).await?
    }

    /// Compares with the stored hash; without one, with nobody's.
    pub(super) async fn verify(&self, password: String, stored: Option<String>) -> Result<Verdict> {
        self.run(move || verify(&password, stored.as_deref())).await?
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let _waiting = self.waiting.try_acquire().map_err(|_| crowded())?;
        let place = self.places.clone().acquire_owned().await.map_err(Error::internal)?;
        let done = tokio::task::spawn_blocking(move || {
            // Kept until the work is done, also when the caller has gone.
            let _place = place;
            work()
        });
        done.await.map_err(Error::internal)
    }
}

fn crowded() -> Error {
    Error::new(Reason::Overloaded, "too many people sign in at this moment; try again")
        .retry_after(RETRY)
        .applied(Applied::No)
}

fn argon2() -> Result<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|error| Error::internal(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash(password: &str) -> Result<String> {
    let hash = argon2()?.hash_password(password.as_bytes());
    Ok(hash.map_err(|error| Error::internal(error.to_string()))?.to_string())
}

fn verify(password: &str, stored: Option<&str>) -> Result<Verdict> {
    let text = stored.unwrap_or(NOBODY);
    let hash = PasswordHash::new(text).map_err(|error| Error::internal(error.to_string()))?;
    // The parameters are those of the stored hash.
    let matches = argon2()?.verify_password(password.as_bytes(), &hash).is_ok();
    if !matches || stored.is_none() {
        return Ok(Verdict::Wrong);
    }
    let current = text.starts_with(&format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p=1$"));
    Ok(Verdict::Right(if current { None } else { Some(self::hash(password)?) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_matches_its_own_hash_to_the_letter() {
        let stored = hash("pässwort").expect("a hash");
        assert_eq!(verify("pässwort", Some(&stored)).expect("compared"), Verdict::Right(None));
        for other in ["passwort", "pässwort ", "Pässwort", ""] {
            assert_eq!(verify(other, Some(&stored)).expect("compared"), Verdict::Wrong);
        }
        assert_ne!(hash("pässwort").expect("a hash"), stored, "every hash has a salt of its own");
    }

    #[test]
    fn nobody_has_no_password() {
        for password in ["", "nobody"] {
            assert_eq!(verify(password, None).expect("compared"), Verdict::Wrong);
        }
    }

    #[test]
    fn a_weaker_hash_is_made_anew() {
        let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(64, 1, 1, None).expect("parameters"));
        let stored = weak.hash_password(b"gxzpqrtv").expect("a hash").to_string();
        let Verdict::Right(Some(anew)) = verify("gxzpqrtv", Some(&stored)).expect("compared") else {
            panic!("it matches, and is too weak");
        };
        assert_eq!(verify("gxzpqrtv", Some(&anew)).expect("compared"), Verdict::Right(None));
    }

    #[tokio::test]
    async fn a_flood_is_refused_and_the_places_come_back() {
        let passwords = Passwords::default();
        let flood = (0..200).map(|_| passwords.verify("x".to_owned(), None));
        let outcomes = futures_util::future::join_all(flood).await;
        let refused = outcomes.iter().filter(|outcome| outcome.is_err()).count();
        assert_eq!(refused, 200 - WAITING);
        assert_eq!(passwords.verify("x".to_owned(), None).await.expect("there is room again"), Verdict::Wrong);
    }
}
