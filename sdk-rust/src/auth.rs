//! Signing in and out, for tools that people use. Programs use an API key.

use std::time::SystemTime;

use eventflow_proto::v1::{self, get_caller_response::Caller as WireCaller};

use crate::{
    client::Client,
    connection::Transport,
    convert::{required, time_from_wire},
    error::{Error, Result},
    users::UserInfo,
};

/// What a signed-in client holds. The access token goes where an API key would: see
/// [`ClientOptions::api_key`](crate::ClientOptions::api_key).
#[derive(Clone)]
#[non_exhaustive]
pub struct SessionTokens {
    /// Good for ten minutes.
    pub access_token: String,
    /// When the access token ends (database time).
    pub access_expire_time: SystemTime,
    /// For [`Auth::refresh`], once.
    pub refresh_token: String,
    /// When the refresh token ends (database time).
    pub refresh_expire_time: SystemTime,
    /// When the session ends whatever happens (database time).
    pub session_expire_time: SystemTime,
}

impl std::fmt::Debug for SessionTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionTokens").field("access_expire_time", &self.access_expire_time).finish_non_exhaustive()
    }
}

/// An organization that is to be, and its first admin.
#[derive(Clone, Default)]
pub struct NewOrganization {
    /// For signing in: 3 to 63 of a-z, 0-9 and `-`.
    pub organization: String,
    /// What people call it.
    pub display_name: String,
    /// Address of the admin.
    pub email: String,
    /// Name of the admin.
    pub name: String,
    /// 8 to 128 characters.
    pub password: String,
    /// What signs in, for people.
    pub application: String,
}

impl std::fmt::Debug for NewOrganization {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewOrganization").field("organization", &self.organization).finish_non_exhaustive()
    }
}

/// Whose credential a client has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallerInfo {
    /// Name of the organization.
    pub organization: String,
    /// Who.
    pub who: Who,
}

/// A program or a person.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Who {
    /// The API key with this id.
    ApiKey(String),
    /// A user.
    User(UserInfo),
}

/// Signing in and out. From [`Client::auth`].
#[derive(Clone, Debug)]
pub struct Auth {
    client: Client,
}

impl Auth {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Begins a session. Not tried again after a lost answer: a second session would begin.
    ///
    /// # Errors
    /// `LOGIN_FAILED` whatever is wrong, `TOO_MANY_ATTEMPTS`.
    pub async fn login(
        &self,
        organization: &str,
        email: &str,
        password: &str,
        application: &str,
    ) -> Result<(SessionTokens, UserInfo)> {
        let request = v1::LoginRequest {
            organization: organization.to_owned(),
            email: email.to_owned(),
            password: password.to_owned(),
            client: application.to_owned(),
            session_cookie: false,
        };
        let answer = self.client.once(|broker: Transport| async move { broker.auth().login(request).await }).await?;
        let tokens = required(answer.tokens, "tokens")?.try_into()?;
        Ok((tokens, required(answer.user, "user")?.try_into()?))
    }

    /// Makes an organization with its first admin, and begins their session. Not tried again after a lost answer: try to sign in.
    ///
    /// # Errors
    /// `REGISTRATION_CLOSED`, `ORGANIZATION_EXISTS`, `INVALID_ARGUMENT`, `TOO_MANY_ATTEMPTS`.
    pub async fn register(&self, new: NewOrganization) -> Result<(SessionTokens, UserInfo)> {
        let request = v1::RegisterRequest {
            organization: new.organization,
            display_name: new.display_name,
            email: new.email,
            name: new.name,
            password: new.password,
            client: new.application,
            session_cookie: false,
        };
        let answer = self.client.once(|broker: Transport| async move { broker.auth().register(request).await }).await?;
        let tokens = required(answer.tokens, "tokens")?.try_into()?;
        Ok((tokens, required(answer.user, "user")?.try_into()?))
    }

    /// New tokens for a refresh token, which is used up. Not tried again after a lost answer: a token that comes twice ends its
    /// session.
    ///
    /// # Errors
    /// `SESSION_ENDED`: sign in again.
    pub async fn refresh(&self, refresh_token: &str) -> Result<SessionTokens> {
        let request = v1::RefreshSessionRequest { refresh_token: refresh_token.to_owned() };
        let call = |broker: Transport| async move { broker.auth().refresh_session(request).await };
        required(self.client.once(call).await?.tokens, "tokens")?.try_into()
    }

    /// Ends the session of a refresh token.
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn logout(&self, refresh_token: &str) -> Result<()> {
        let request = v1::LogoutRequest { refresh_token: refresh_token.to_owned() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.auth().logout(request).await }
        };
        self.client.unary(call).await.map(drop)
    }

    /// Ends all sessions of the calling user. Answers how many.
    ///
    /// # Errors
    /// `PERMISSION_DENIED` for an API key.
    pub async fn logout_everywhere(&self) -> Result<u32> {
        let call =
            |broker: Transport| async move { broker.auth().logout_everywhere(v1::LogoutEverywhereRequest {}).await };
        Ok(self.client.unary(call).await?.ended_sessions)
    }

    /// Sets the password of whoever was given this invitation.
    ///
    /// # Errors
    /// `INVITATION_INVALID`, `INVALID_ARGUMENT`.
    pub async fn accept_invitation(&self, token: &str, password: &str) -> Result<()> {
        let request = v1::AcceptInvitationRequest { token: token.to_owned(), password: password.to_owned() };
        let call = |broker: Transport| async move { broker.auth().accept_invitation(request).await };
        self.client.once(call).await.map(drop)
    }

    /// Has a token for another password mailed to the account, if there is one. The answer does not tell. Not tried again after
    /// a lost answer: ask again when no mail comes.
    ///
    /// # Errors
    /// `MAIL_NOT_CONFIGURED`, `TOO_MANY_ATTEMPTS`.
    pub async fn request_password_reset(&self, organization: &str, email: &str) -> Result<()> {
        let request =
            v1::RequestPasswordResetRequest { organization: organization.to_owned(), email: email.to_owned() };
        let call = |broker: Transport| async move { broker.auth().request_password_reset(request).await };
        self.client.once(call).await.map(drop)
    }

    /// Sets another password with a token that was mailed, and ends all sessions of the user.
    ///
    /// # Errors
    /// `INVITATION_INVALID`, `INVALID_ARGUMENT`.
    pub async fn reset_password(&self, token: &str, password: &str) -> Result<()> {
        let request = v1::ResetPasswordRequest { token: token.to_owned(), new_password: password.to_owned() };
        let call = |broker: Transport| async move { broker.auth().reset_password(request).await };
        self.client.once(call).await.map(drop)
    }

    /// Sets another password for the calling user, and ends all their other sessions.
    ///
    /// # Errors
    /// `LOGIN_FAILED` when the old password is wrong, `INVALID_ARGUMENT`.
    pub async fn change_password(&self, old: &str, new: &str) -> Result<()> {
        let request = v1::ChangePasswordRequest { old_password: old.to_owned(), new_password: new.to_owned() };
        let call = |broker: Transport| async move { broker.auth().change_password(request).await };
        self.client.once(call).await.map(drop)
    }

    /// Whose credential this client has.
    ///
    /// # Errors
    /// `UNAUTHENTICATED`.
    pub async fn caller(&self) -> Result<CallerInfo> {
        let call = |broker: Transport| async move { broker.auth().get_caller(v1::GetCallerRequest {}).await };
        let answer = self.client.unary(call).await?;
        let who = match required(answer.caller, "caller")? {
            WireCaller::ApiKeyId(id) => Who::ApiKey(id),
            WireCaller::User(user) => Who::User(user.try_into()?),
        };
        Ok(CallerInfo { organization: answer.organization, who })
    }
}

impl TryFrom<v1::SessionTokens> for SessionTokens {
    type Error = Error;

    fn try_from(tokens: v1::SessionTokens) -> Result<Self> {
        let time = |time, field| required(time, field).map(|time| time_from_wire(&time));
        Ok(Self {
            access_token: tokens.access_token,
            access_expire_time: time(tokens.access_expire_time, "tokens.access_expire_time")?,
            refresh_token: tokens.refresh_token,
            refresh_expire_time: time(tokens.refresh_expire_time, "tokens.refresh_expire_time")?,
            session_expire_time: time(tokens.session_expire_time, "tokens.session_expire_time")?,
        })
    }
}
