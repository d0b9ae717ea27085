//! Signing in and out.
//!
//! **Invariants:** whatever is wrong with a sign-in, the answer and the work are the same; a refresh token works once, and one
//! that comes twice ends its session; a secret is stored as its SHA-256 only.

use super::authenticator::Authenticator;
use super::caller::Caller;
use super::granted::{Granted, OwnAccount};
use super::key_text::random;
use super::passwords::{Passwords, Verdict};
use super::resets::{Desk, Question};
use super::throttle::Throttle;
use super::tokens::{Claims, LIFETIME};
use crate::domain::audit::{Origin, Target};
use crate::domain::password::check_password;
use crate::domain::user::{User, invitation_invalid, login_failed, session_ended, user_not_found};
use crate::domain::{Error, Reason, Result};
use crate::mail::Mail;
use crate::store::sessions::{self as stored, Account, Beginning, Refreshed};
use crate::store::{Store, Tenant, audit, users};
use sha2::{Digest, Sha256};
use std::time::Duration;
use tokio::sync::mpsc;
use uuid::Uuid;

/// The longest life of a session, and of a refresh token that nobody uses.
const SESSION: Duration = Duration::from_secs(30 * 24 * 3_600);
const REFRESH: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Characters of a refresh token or invitation: 256 bits.
const SECRET: usize = 43;
const CLIENT_CHARACTERS_MAX: usize = 128;

/// Who wants to sign in, from where.
#[derive(Clone, Debug)]
pub struct SignIn {
    pub organization: String,
    pub email: String,
    pub password: String,
    pub client: String,
    pub origin: Origin,
}

/// What a session's client holds from now on. Times are microseconds since 1970, by the database.
#[derive(Clone)]
pub struct Issued {
    pub issued_at: i64,
    pub access_token: String,
    pub access_expires_at: i64,
    pub refresh_token: String,
    pub refresh_expires_at: i64,
    pub session_expires_at: i64,
}

/// Whose credential a call has.
pub enum Identified {
    Key(String),
    User(User),
}

/// A handle on all sessions. Cheap to clone.
#[derive(Clone)]
pub struct Sessions {
    pub(super) store: Store,
    authenticator: Authenticator,
    pub(super) passwords: Passwords,
    pub(super) mail: Mail,
    pub(super) questions: mpsc::Sender<Question>,
}

impl Sessions {
    /// The sessions, and who writes to people that have forgotten their password.
    pub fn new(store: Store, authenticator: Authenticator, mail: Mail) -> (Self, Desk) {
        let (questions, desk) = Desk::new(store.clone(), mail.clone(), authenticator.refusals().clone());
        (Self { store, authenticator, passwords: Passwords::default(), mail, questions }, desk)
    }

    /// Begins a session.
    pub async fn login(&self, sign_in: SignIn) -> Result<(Issued, User)> {
        let email = sign_in.email.trim().to_lowercase();
        let throttle = Throttle::of_sign_in(&sign_in.organization, &email, &sign_in.origin.address);
        throttle.check(&self.store).await?;
        // What no account could be named is asked for as nobody, so that it takes as long.
        let sound = !sign_in.organization.contains('\0') && !email.contains('\0');
        let (organization, email) = if sound { (sign_in.organization.as_str(), email.as_str()) } else { ("", "") };
        let account = stored::find_account(&**self.store.conn().await?, organization, email).await?;
        let hash = account.as_ref().map(|account| account.password_hash.clone());
        let verdict = self.passwords.verify(sign_in.password, hash).await?;
        let (Verdict::Right(new_hash), Some(account)) = (verdict, account) else {
            throttle.failed(&self.store).await?;
            self.authenticator.refusals().sign_in(organization, email, &sign_in.origin, Reason::LoginFailed);
            return Err(login_failed());
        };
        let begun = self.begin(&account, new_hash.as_deref(), &sign_in.client, &sign_in.origin).await?;
        begun.ok_or_else(login_failed)
    }

    /// Begins a session of an account. None: it has changed since it was looked up.
    pub(super) async fn begin(
        &self,
        account: &Account,
        new_hash: Option<&str>,
        client: &str,
        origin: &Origin,
    ) -> Result<Option<(Issued, User)>> {
        let refresh_token = secret("ef_refresh_");
        let client: String = client.chars().filter(|c| !c.is_control()).take(CLIENT_CHARACTERS_MAX).collect();
        let beginning = Beginning {
            account,
            new_hash,
            refresh_sha256: &digest(&refresh_token),
            client: &client,
            origin,
            session: SESSION,
            refresh: REFRESH,
        };
        let Some(session) = stored::begin(&**self.store.conn().await?, &beginning).await? else { return Ok(None) };
        let (issued, found) = self.issue(session, refresh_token).await?;
        let get = |tenant: Tenant| async move { users::get(&tenant, found.user).await };
        Ok(self.store.tenant(found.organization, get).await?.map(|user| (issued, user)))
    }

    /// New tokens for a refresh token, which is used up.
    pub async fn refresh(&self, refresh_token: &str, origin: &Origin) -> Result<Issued> {
        let next = secret("ef_refresh_");
        let outcome = {
            let db = self.store.conn().await?;
            stored::refresh(&**db, &digest(refresh_token), &digest(&next), REFRESH, origin).await?
        };
        match outcome {
            Refreshed::Next(session) => Ok(self.issue(session, next).await?.0),
            Refreshed::Reused(session) => {
                tracing::warn!(%session, "a refresh token came twice: its session has ended");
                self.authenticator.forget_session(session);
                Err(session_ended())
            }
            Refreshed::Unknown => Err(session_ended()),
        }
    }

    /// Ends the session of a refresh token, if there is one.
    pub async fn logout(&self, refresh_token: &str, origin: &Origin) -> Result<()> {
        let ended = stored::logout(&**self.store.conn().await?, &digest(refresh_token), origin).await?;
        ended.into_iter().for_each(|session| self.authenticator.forget_session(session));
        Ok(())
    }

    /// Ends all sessions of the caller. Answers how many.
    pub async fn logout_everywhere(&self, caller: &Caller, granted: &Granted<OwnAccount>) -> Result<usize> {
        let (user, _) = caller.user()?;
        let (by, everything) = (&granted.actor(), &Target::user(user));
        let end = |tenant: Tenant| async move {
            audit::record(&tenant, by, by.origin.action(), everything).await?;
            users::end_sessions(&tenant, user, None, "logout").await
        };
        let ended = self.store.tenant(granted.organization(), end).await?;
        ended.iter().for_each(|session| self.authenticator.forget_session(*session));
        Ok(ended.len())
    }

    /// Sets the password of whoever was given the invitation.
    pub async fn accept(&self, token: &str, password: String, origin: &Origin) -> Result<()> {
        check_password("password", &password, None)?;
        let throttle = Throttle::of_address(&origin.address);
        throttle.check(&self.store).await?;
        let hash = self.passwords.hash(password).await?;
        let accepted = stored::accept(&**self.store.conn().await?, &digest(token), &hash, origin).await?;
        if accepted.is_none() {
            throttle.failed(&self.store).await?;
            return Err(invitation_invalid());
        }
        // Their sessions have ended in the database; brokers find out within seconds.
        Ok(())
    }

    /// Sets another password for the caller, and ends their other sessions.
    pub async fn change_password(
        &self,
        caller: &Caller,
        granted: &Granted<OwnAccount>,
        (old, new): (String, String),
    ) -> Result<()> {
        let (user, session) = caller.user()?;
        let organization = granted.organization();
        let get = |tenant: Tenant| async move {
            let known = users::get(&tenant, user).await?.ok_or_else(user_not_found)?;
            Ok((known, users::password_hash(&tenant, user).await?))
        };
        let (known, old_hash) = self.store.tenant(organization, get).await?;
        check_password("new_password", &new, Some(&known.email))?;
        let address = &caller.origin().address;
        let throttle = Throttle::of_sign_in(&organization.0.to_string(), &user.to_string(), address);
        throttle.check(&self.store).await?;
        let (Verdict::Right(_), Some(old_hash)) = (self.passwords.verify(old, old_hash.clone()).await?, old_hash)
        else {
            throttle.failed(&self.store).await?;
            return Err(caller.note_doubt(login_failed()));
        };
        let (by, own) = (&granted.actor(), &Target::user(user));
        let new_hash = &self.passwords.hash(new).await?;
        let old_hash = &old_hash;
        let set = |tenant: Tenant| async move {
            if !users::set_password(&tenant, user, old_hash, new_hash).await? {
                return Err(login_failed());
            }
            audit::record(&tenant, by, by.origin.action(), own).await?;
            users::end_sessions(&tenant, user, Some(session), "password").await
        };
        let ended = self.store.tenant(organization, set).await?;
        ended.iter().for_each(|session| self.authenticator.forget_session(*session));
        Ok(())
    }

    /// Whose credential it is, and the name of the organization.
    pub async fn identify(&self, caller: &Caller) -> Result<(String, Identified)> {
        let who = caller.who();
        let identify = |tenant: Tenant| async move {
            let organization = users::organization_name(&tenant).await?;
            let identified = match who {
                super::Who::Key(key) => Identified::Key(key.to_string()),
                super::Who::Rules => Identified::Key("rules".to_owned()),
                super::Who::User { id, .. } => {
                    Identified::User(users::get(&tenant, id).await?.ok_or_else(user_not_found)?)
                }
            };
            Ok((organization, identified))
        };
        self.store.tenant(caller.organization(), identify).await
    }

    async fn issue(&self, session: Uuid, refresh_token: String) -> Result<(Issued, stored::Session)> {
        let found = stored::find(&**self.store.conn().await?, session).await?.ok_or_else(session_ended)?;
        let claims = Claims::new(found.user, session, found.now_us);
        let access_token = self.authenticator.tokens()?.sign(&claims).await?;
        let lifetime_us = i64::try_from(LIFETIME.as_micros()).map_err(Error::internal)?;
        let issued = Issued {
            issued_at: found.now_us,
            access_token,
            access_expires_at: found.now_us + lifetime_us,
            refresh_token,
            refresh_expires_at: found.refresh_expires_us.unwrap_or(found.expires_us),
            session_expires_at: found.expires_us,
        };
        Ok((issued, found))
    }
}

/// A secret from the operating system's randomness, with a prefix that scanners know.
pub(super) fn secret(prefix: &str) -> String {
    format!("{prefix}{}", random(SECRET))
}

/// What is stored of a secret: a fast hash is right for 256 random bits.
pub(super) fn digest(secret: &str) -> Vec<u8> {
    Sha256::digest(secret).to_vec()
}
