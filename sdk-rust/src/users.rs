//! Administration of users.

use std::time::SystemTime;

use eventflow_proto::v1;

use crate::{
    call::request_id,
    client::Client,
    connection::Transport,
    convert::{required, time_from_wire},
    error::{Error, Result},
    pages::{Pages, pages},
};

/// What a person may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// Look at streams and groups, and read events.
    Viewer,
    /// Also publish, consume, and manage streams and groups.
    Editor,
    /// Also manage API keys and users.
    Admin,
    /// A role of a newer broker.
    Unknown,
}

/// A person.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UserInfo {
    /// A UUID.
    pub id: String,
    /// Address, lower-case.
    pub email: String,
    /// For people.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Cannot sign in.
    pub disabled: bool,
    /// Has no password yet.
    pub invited: bool,
    /// Database time.
    pub create_time: SystemTime,
    /// `None`: never.
    pub last_login_time: Option<SystemTime>,
}

/// A user, and what lets them set a password.
#[derive(Clone)]
#[non_exhaustive]
pub struct Invited {
    /// The user.
    pub user: UserInfo,
    /// The token, shown only now. Empty when the broker had carried the request out before, and only its answer was lost: reset
    /// the user then.
    pub token: String,
    /// When the token ends (database time).
    pub expire_time: SystemTime,
    /// A mail to the user holds the token as well.
    pub mailed: bool,
}

impl std::fmt::Debug for Invited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invited").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What is to change of a user; what is not set stays.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    /// For people.
    pub name: Option<String>,
    /// What they may do.
    pub role: Option<Role>,
    /// Whether they cannot sign in.
    pub disabled: Option<bool>,
}

/// Administration of users, for admins. From [`Client::users`].
#[derive(Clone, Debug)]
pub struct Users {
    client: Client,
}

impl Users {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Makes a user who has no password yet.
    ///
    /// # Errors
    /// `USER_EXISTS`, `INVALID_ARGUMENT`, `PERMISSION_DENIED`.
    pub async fn invite(&self, email: &str, name: &str, role: Role) -> Result<Invited> {
        let user = v1::User { email: email.to_owned(), name: name.to_owned(), role: role.wire(), ..Default::default() };
        let request = v1::InviteUserRequest { user: Some(user), request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.users().invite_user(request).await }
        };
        let answer = self.client.unary(call).await?;
        invited(answer.user, answer.invitation)
    }

    /// Ends a user's password and sessions, for an invitation to set another password.
    ///
    /// # Errors
    /// `USER_NOT_FOUND`, `PERMISSION_DENIED`.
    pub async fn reset(&self, id: &str) -> Result<Invited> {
        let request = v1::ResetUserRequest { id: id.to_owned(), request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.users().reset_user(request).await }
        };
        let answer = self.client.unary(call).await?;
        invited(answer.user, answer.invitation)
    }

    /// All users, by address.
    pub fn list(&self) -> Pages<UserInfo> {
        pages(self.client.clone(), |client, page_token| async move {
            let request = v1::ListUsersRequest { page_token, ..Default::default() };
            let call = |broker: Transport| {
                let request = request.clone();
                async move { broker.users().list_users(request).await }
            };
            let page = client.unary(call).await?;
            let users = page.users.into_iter().map(UserInfo::try_from).collect::<Result<_>>()?;
            Ok((users, page.next_page_token))
        })
    }

    /// Changes a user.
    ///
    /// # Errors
    /// `USER_NOT_FOUND`, `LAST_ADMIN`, `INVALID_ARGUMENT`, `PERMISSION_DENIED`.
    pub async fn update(&self, id: &str, change: UserChange) -> Result<UserInfo> {
        let set =
            [("name", change.name.is_some()), ("role", change.role.is_some()), ("disabled", change.disabled.is_some())];
        let paths = set.iter().filter(|(_, set)| *set).map(|(path, _)| (*path).to_owned()).collect();
        let user = v1::User {
            id: id.to_owned(),
            name: change.name.unwrap_or_default(),
            role: change.role.map_or(0, Role::wire),
            disabled: change.disabled.unwrap_or_default(),
            ..Default::default()
        };
        let update_mask = Some(prost_types::FieldMask { paths });
        let request = v1::UpdateUserRequest { user: Some(user), update_mask, request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.users().update_user(request).await }
        };
        required(self.client.unary(call).await?.user, "user")?.try_into()
    }

    /// Removes a user and ends their sessions.
    ///
    /// # Errors
    /// `USER_NOT_FOUND`, `LAST_ADMIN`, `PERMISSION_DENIED`.
    pub async fn remove(&self, id: &str) -> Result<()> {
        let request = v1::RemoveUserRequest { id: id.to_owned(), request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.users().remove_user(request).await }
        };
        self.client.unary(call).await.map(drop)
    }
}

fn invited(user: Option<v1::User>, invitation: Option<v1::Invitation>) -> Result<Invited> {
    let invitation = required(invitation, "invitation")?;
    let expire_time = time_from_wire(&required(invitation.expire_time, "invitation.expire_time")?);
    Ok(Invited {
        user: required(user, "user")?.try_into()?,
        token: invitation.token,
        expire_time,
        mailed: invitation.mailed,
    })
}

impl Role {
    fn wire(self) -> i32 {
        let role = match self {
            Self::Viewer => v1::Role::Viewer,
            Self::Editor => v1::Role::Editor,
            Self::Admin => v1::Role::Admin,
            Self::Unknown => v1::Role::Unspecified,
        };
        role.into()
    }
}

impl TryFrom<v1::User> for UserInfo {
    type Error = Error;

    fn try_from(user: v1::User) -> Result<Self> {
        let role = match user.role() {
            v1::Role::Viewer => Role::Viewer,
            v1::Role::Editor => Role::Editor,
            v1::Role::Admin => Role::Admin,
            v1::Role::Unspecified => Role::Unknown,
        };
        Ok(Self {
            id: user.id,
            email: user.email,
            name: user.name,
            role,
            disabled: user.disabled,
            invited: user.invited,
            create_time: time_from_wire(&required(user.create_time, "user.create_time")?),
            last_login_time: user.last_login_time.as_ref().map(time_from_wire),
        })
    }
}
