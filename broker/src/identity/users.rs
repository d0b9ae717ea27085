//! The people of an organization, as its admins manage them.
//!
//! **Invariant:** as long as an organization has an admin who can sign in, it keeps one.

use super::authenticator::Authenticator;
use super::granted::{Granted, ManageUsers};
use super::sessions::{digest, secret};
use super::throttle::Throttle;
use crate::domain::access::Role;
use crate::domain::audit::Target;
use crate::domain::page::{List, Page, page_size};
use crate::domain::user::{User, UserChange, last_admin, user_exists, user_not_found};
use crate::domain::{Error, Result};
use crate::mail::{Letter, Mail, Occasion, Posted};
use crate::store::once::{Answer, Once};
use crate::store::{self, Store, Tenant, users};
use std::time::Duration;
use uuid::Uuid;

/// How long an invitation is good, and how long a reset.
const INVITATION: Duration = Duration::from_secs(7 * 24 * 3_600);
const RESET: Duration = Duration::from_secs(30 * 60);

/// A user, and what lets them set a password.
#[derive(Clone)]
pub struct Invited {
    pub user: User,
    pub token: String,
    /// Microseconds since 1970, by the database.
    pub expires_at: i64,
    /// It is on its way to them as well.
    pub mailed: bool,
}

/// A user who is gone.
#[derive(Clone, Copy, Debug)]
pub struct Removed;

/// A handle on all users. Cheap to clone.
#[derive(Clone)]
pub struct Users {
    store: Store,
    authenticator: Authenticator,
    mail: Mail,
}

impl Users {
    pub fn new(store: Store, authenticator: Authenticator, mail: Mail) -> Self {
        Self { store, authenticator, mail }
    }

    /// Makes a user who has no password yet, and writes to them where there is mail.
    pub async fn invite(
        &self,
        granted: &Granted<ManageUsers>,
        once: &Once<Invited>,
        (email, name, role): (&str, &str, Role),
    ) -> Result<Answer<Invited>> {
        let invite = |tenant: Tenant| async move {
            let token = secret("ef_invite_");
            let made = users::invite(&tenant, (email, name, role), &digest(&token), INVITATION).await?;
            let user = existing(&tenant, made.ok_or_else(|| user_exists(email))?).await?;
            let lifetime_us = i64::try_from(INVITATION.as_micros()).map_err(Error::internal)?;
            Ok(Invited { expires_at: user.created_at + lifetime_us, user, token, mailed: false })
        };
        let invited = |made: &Invited| Target::user(made.user.id).saying(format!("role {}", role.as_str()));
        let answer = self.store.change(granted.actor(), once, invited, invite).await?;
        Ok(self.written_to(granted, answer, (Occasion::Invitation, "seven days")).await)
    }

    /// Ends a user's password and sessions, for an invitation to set another password.
    pub async fn reset(
        &self,
        granted: &Granted<ManageUsers>,
        once: &Once<Invited>,
        id: Uuid,
    ) -> Result<Answer<Invited>> {
        let reset = |tenant: Tenant| async move {
            let token = secret("ef_invite_");
            let expires_at = users::reset(&tenant, id, &digest(&token), RESET).await?.ok_or_else(user_not_found)?;
            let ended = users::end_sessions(&tenant, id, None, "reset").await?;
            ended.iter().for_each(|session| self.authenticator.forget_session(*session));
            Ok(Invited { user: existing(&tenant, id).await?, token, expires_at, mailed: false })
        };
        let answer = self.store.change(granted.actor(), once, |_| Target::user(id), reset).await?;
        Ok(self.written_to(granted, answer, (Occasion::ResetByAdmin, "30 minutes")).await)
    }

    /// Has what was just made mailed as well. It stands whatever becomes of the mail.
    async fn written_to(
        &self,
        granted: &Granted<ManageUsers>,
        answer: Answer<Invited>,
        about: (Occasion, &'static str),
    ) -> Answer<Invited> {
        let Answer::Fresh(mut invited) = answer else { return answer };
        if self.mail.is_on() {
            let posted = self.post(granted, &invited, about).await;
            invited.mailed = posted.inspect_err(|error| tracing::warn!(?error, "an invitation was not mailed")).is_ok();
        }
        Answer::Fresh(invited)
    }

    async fn post(
        &self,
        granted: &Granted<ManageUsers>,
        invited: &Invited,
        (occasion, good_for): (Occasion, &'static str),
    ) -> Result<()> {
        // Admins decide whom we write to, so there is an end to it.
        let throttle = Throttle::of_mailed_invitations(granted.organization().0);
        throttle.check(&self.store).await?;
        throttle.failed(&self.store).await?;
        let name = |tenant: Tenant| async move { users::organization_name(&tenant).await };
        let organization = &self.store.tenant(granted.organization(), name).await?;
        let letter = Letter { occasion, organization, email: &invited.user.email, token: &invited.token, good_for };
        match self.mail.post(&letter) {
            Posted::Yes => Ok(()),
            Posted::No => Err(Error::internal("the letter was given up")),
        }
    }

    pub async fn get(&self, granted: &Granted<ManageUsers>, id: Uuid) -> Result<User> {
        self.store.tenant(granted.organization(), |tenant| async move { existing(&tenant, id).await }).await
    }

    /// A page of users by address.
    pub async fn list(&self, granted: &Granted<ManageUsers>, size: u32, token: &str) -> Result<Page<User>> {
        let (organization, size) = (granted.organization(), page_size("page_size", size)?);
        let list = List { organization, method: "ListUsers", filter: "" };
        let key = self.store.page_key().await?;
        let after = &key.open(list, token)?;
        let find = |tenant| async move { users::list(&tenant, after, size + 1).await };
        let found = self.store.tenant(organization, find).await?;
        Ok(key.page(list, size, found, |user| user.email.clone()))
    }

    /// Changes what `change` names.
    pub async fn update(
        &self,
        granted: &Granted<ManageUsers>,
        once: &Once<User>,
        id: Uuid,
        change: &UserChange,
    ) -> Result<Answer<User>> {
        let update = |tenant: Tenant| async move {
            if change.may_take_an_admin() {
                keep_an_admin(&tenant, id).await?;
            }
            if !users::update(&tenant, id, change).await? {
                return Err(user_not_found());
            }
            if change.disabled == Some(true) {
                self.end(&tenant, id, "disabled").await?;
            }
            existing(&tenant, id).await
        };
        self.store.change(granted.actor(), once, |_| Target::user(id).saying(said(change)), update).await
    }

    /// Removes a user with their sessions.
    pub async fn remove(
        &self,
        granted: &Granted<ManageUsers>,
        once: &Once<Removed>,
        id: Uuid,
    ) -> Result<Answer<Removed>> {
        let remove = |tenant: Tenant| async move {
            keep_an_admin(&tenant, id).await?;
            self.end(&tenant, id, "disabled").await?;
            if users::remove(&tenant, id).await? { Ok(Removed) } else { Err(user_not_found()) }
        };
        self.store.change(granted.actor(), once, |_| Target::user(id), remove).await
    }

    /// Ends the sessions of a user. What this broker forgets too early, should the transaction fail, it asks for again.
    async fn end(&self, tenant: &Tenant, id: Uuid, reason: &str) -> Result<()> {
        let ended = users::end_sessions(tenant, id, None, reason).await?;
        ended.iter().for_each(|session| self.authenticator.forget_session(*session));
        Ok(())
    }
}

/// What the audit log says of a change.
fn said(change: &UserChange) -> String {
    let role = change.role.map(|role| format!("role {}", role.as_str()));
    let disabled = change.disabled.map(|disabled| if disabled { "disabled" } else { "enabled" }.to_owned());
    let name = change.name.as_ref().map(|_| "name".to_owned());
    [role, disabled, name].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Makes the first user of an organization, by an operator at the database. Answers the token that sets the password.
pub async fn invite_first(
    client: &impl store::Client,
    organization: &str,
    (email, role): (&str, Role),
) -> Result<String> {
    let token = secret("ef_invite_");
    let made = users::invite_first(client, organization, (email, role), &digest(&token), INVITATION).await?;
    made.map(|_| token).ok_or_else(|| user_exists(email))
}

/// Refuses to take away the last admin who can sign in. Under the lock of all admins.
async fn keep_an_admin(tenant: &Tenant, id: Uuid) -> Result<()> {
    let others = users::other_admins(tenant, id).await?;
    let user = existing(tenant, id).await?;
    let can_sign_in = user.role == Role::Admin && !user.disabled && !user.invited;
    if can_sign_in && others == 0 { Err(last_admin()) } else { Ok(()) }
}

async fn existing(tenant: &Tenant, id: Uuid) -> Result<User> {
    users::get(tenant, id).await?.ok_or_else(user_not_found)
}
