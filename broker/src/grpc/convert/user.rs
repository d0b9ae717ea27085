//! Users, and the tokens of their sessions.

use crate::domain::access::Role;
use crate::domain::page::Page;
use crate::domain::user::{User, UserChange, check_person_name, user_not_found};
use crate::domain::{Error, Result};
use crate::grpc::convert::mask;
use crate::grpc::convert::time::timestamp;
use crate::identity::{Identified, Invited, Issued, Removed};
use eventflow_proto::v1::{self, get_caller_response::Caller};
use prost::Message;
use uuid::Uuid;

/// The id of a user. What is no id is no user's.
pub fn user_id(text: &str) -> Result<Uuid> {
    Uuid::try_parse(text).map_err(|_| user_not_found())
}

/// The role that a request gives.
pub fn role(user: &v1::User) -> Result<Role> {
    match user.role() {
        v1::Role::Viewer => Ok(Role::Viewer),
        v1::Role::Editor => Ok(Role::Editor),
        v1::Role::Admin => Ok(Role::Admin),
        v1::Role::Unspecified => Err(Error::invalid("user.role", "must be viewer, editor or admin")),
    }
}

/// What to change, and of whom.
pub fn user_change(request: &v1::UpdateUserRequest) -> Result<(Uuid, UserChange)> {
    let user = request.user.as_ref().ok_or_else(|| Error::invalid("user", "must be set"))?;
    let mut change = UserChange::default();
    for path in mask::paths(request.update_mask.as_ref(), &["name", "role", "disabled"])? {
        match path {
            "name" => {
                check_person_name("user.name", &user.name)?;
                change.name = Some(user.name.clone());
            }
            "role" => change.role = Some(role(user)?),
            _ => change.disabled = Some(user.disabled),
        }
    }
    Ok((user_id(&user.id)?, change))
}

/// What a signed-in client holds.
pub fn tokens(issued: Issued) -> v1::SessionTokens {
    v1::SessionTokens {
        access_token: issued.access_token,
        access_expire_time: Some(timestamp(issued.access_expires_at)),
        refresh_token: issued.refresh_token,
        refresh_expire_time: Some(timestamp(issued.refresh_expires_at)),
        session_expire_time: Some(timestamp(issued.session_expires_at)),
    }
}

/// Whose credential a call has.
pub fn caller_response(organization: String, identified: Identified) -> v1::GetCallerResponse {
    let caller = match identified {
        Identified::Key(id) => Caller::ApiKeyId(id),
        Identified::User(user) => Caller::User((&user).into()),
    };
    v1::GetCallerResponse { organization, caller: Some(caller) }
}

impl From<&User> for v1::User {
    fn from(user: &User) -> Self {
        let role = match user.role {
            Role::Viewer => v1::Role::Viewer,
            Role::Editor => v1::Role::Editor,
            Role::Admin => v1::Role::Admin,
        };
        Self {
            id: user.id.to_string(),
            email: user.email.clone(),
            name: user.name.clone(),
            role: role.into(),
            disabled: user.disabled,
            invited: user.invited,
            create_time: Some(timestamp(user.created_at)),
            last_login_time: user.last_login_at.map(timestamp),
        }
    }
}

impl From<&User> for v1::UpdateUserResponse {
    fn from(user: &User) -> Self {
        Self { user: Some(user.into()) }
    }
}

impl From<&Removed> for v1::RemoveUserResponse {
    fn from(_: &Removed) -> Self {
        Self {}
    }
}

impl From<Page<User>> for v1::ListUsersResponse {
    fn from(page: Page<User>) -> Self {
        Self { users: page.items.iter().map(Into::into).collect(), next_page_token: page.next_page_token }
    }
}

fn invitation(invited: &Invited) -> v1::Invitation {
    v1::Invitation {
        token: invited.token.clone(),
        expire_time: Some(timestamp(invited.expires_at)),
        mailed: invited.mailed,
    }
}

impl From<&Invited> for v1::InviteUserResponse {
    fn from(invited: &Invited) -> Self {
        Self { user: Some((&invited.user).into()), invitation: Some(invitation(invited)) }
    }
}

impl From<&Invited> for v1::ResetUserResponse {
    fn from(invited: &Invited) -> Self {
        Self { user: Some((&invited.user).into()), invitation: Some(invitation(invited)) }
    }
}

/// The answer as it is kept for a repeat: the token is in no table.
pub fn without_token<R: Message + for<'a> From<&'a Invited>>(invited: &Invited) -> Vec<u8> {
    R::from(&Invited { token: String::new(), ..invited.clone() }).encode_to_vec()
}
