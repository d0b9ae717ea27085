//! How often a sign-in may fail, counted in Postgres for all brokers together.
//!
//! Ten times in 15 minutes for an account from one address, a hundred times for an account from anywhere and for an address
//! whatever the account: a thief is slow, and a victim can still sign in from where they are. Accounts that do not exist count
//! like others.

use crate::domain::{Applied, Error, Reason, Result};
use crate::store::{Store, sessions};
use sha2::{Digest, Sha256};
use std::time::Duration;

const OF_ACCOUNT_AND_ADDRESS: i32 = 10;
const OF_ACCOUNT: i32 = 100;
const OF_ADDRESS: i32 = 100;
/// Organizations that an address may make in the same time.
const REGISTRATIONS: i32 = 10;

/// Mails for an account, and requests from an address, whether or not there is such an account.
const RESETS_OF_ACCOUNT: i32 = 5;
const RESETS_OF_ADDRESS: i32 = 50;
/// Invitations that the admins of an organization have mailed.
const INVITATIONS: i32 = 100;

/// What one attempt counts against.
pub(super) struct Throttle {
    subjects: Vec<Vec<u8>>,
    limits: Vec<i32>,
}

impl Throttle {
    pub(super) fn of_sign_in(organization: &str, account: &str, address: &str) -> Self {
        let subjects = vec![
            subject(&["account and address", organization, account, address]),
            subject(&["account", organization, account]),
            subject(&["address", address]),
        ];
        Self { subjects, limits: vec![OF_ACCOUNT_AND_ADDRESS, OF_ACCOUNT, OF_ADDRESS] }
    }

    /// Every one counts, not only those that fail.
    pub(super) fn of_registration(address: &str) -> Self {
        Self { subjects: vec![subject(&["registration", address])], limits: vec![REGISTRATIONS] }
    }

    /// Every one counts.
    pub(super) fn of_reset(organization: &str, account: &str, address: &str) -> Self {
        let subjects = vec![subject(&["reset", organization, account]), subject(&["reset address", address])];
        Self { subjects, limits: vec![RESETS_OF_ACCOUNT, RESETS_OF_ADDRESS] }
    }

    /// Every one counts.
    pub(super) fn of_mailed_invitations(organization: i64) -> Self {
        Self { subjects: vec![subject(&["invitations", &organization.to_string()])], limits: vec![INVITATIONS] }
    }

    pub(super) fn of_address(address: &str) -> Self {
        Self { subjects: vec![subject(&["address", address])], limits: vec![OF_ADDRESS] }
    }

    /// Refuses while there were too many failures.
    pub(super) async fn check(&self, store: &Store) -> Result<()> {
        let wait = sessions::wait(&**store.conn().await?, &self.subjects, &self.limits).await?;
        if wait.is_zero() { Ok(()) } else { Err(too_many(wait)) }
    }

    /// Counts a failure.
    pub(super) async fn failed(&self, store: &Store) -> Result<()> {
        sessions::failed(&**store.conn().await?, &self.subjects).await
    }
}

/// Each part goes in with its length, so that no two subjects are the same by accident.
fn subject(parts: &[&str]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().to_vec()
}

fn too_many(wait: Duration) -> Error {
    let message = format!("too many attempts; try again in {} s", wait.as_secs());
    Error::new(Reason::TooManyAttempts, message).retry_after(wait).applied(Applied::No)
}
