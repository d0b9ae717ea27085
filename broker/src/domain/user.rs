//! People of an organization, and their sessions. Times are microseconds since 1970, by the database.

use super::access::Role;
use super::{Applied, Error, Reason, Result};
use uuid::Uuid;

const EMAIL_BYTES_MAX: usize = 254;
const NAME_BYTES_MAX: usize = 128;

/// A person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub id: Uuid,
    pub email: String,
    pub name: String,
    pub role: Role,
    pub disabled: bool,
    /// Has no password yet.
    pub invited: bool,
    pub created_at: i64,
    pub last_login_at: Option<i64>,
}

/// What is to change of a user.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    pub name: Option<String>,
    pub role: Option<Role>,
    pub disabled: Option<bool>,
}

impl UserChange {
    /// Whether it may take an admin away.
    pub fn may_take_an_admin(&self) -> bool {
        self.disabled == Some(true) || self.role.is_some_and(|role| role != Role::Admin)
    }
}

/// An address as accounts have it: lower-case, with something on both sides of the one `@`. Mail alone can tell whether it exists.
pub fn email(field: &str, text: &str) -> Result<String> {
    let email = text.trim().to_lowercase();
    let sound = |part: &str| !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c.is_control());
    match email.split_once('@') {
        Some((local, domain)) if sound(local) && sound(domain) && !domain.contains('@') => {}
        _ => return Err(Error::invalid(field, "must be an address such as ada@example.com")),
    }
    if email.len() > EMAIL_BYTES_MAX {
        return Err(Error::invalid(field, format!("must be at most {EMAIL_BYTES_MAX} bytes")));
    }
    Ok(email)
}

/// Checks the name of a person.
pub fn check_person_name(field: &str, name: &str) -> Result<()> {
    if name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
        return Err(Error::invalid(
            field,
            format!("must be at most {NAME_BYTES_MAX} bytes without control characters"),
        ));
    }
    Ok(())
}

/// Also of a user of another organization.
pub fn user_not_found() -> Error {
    Error::new(Reason::UserNotFound, "no such user; `ListUsers` shows those that there are")
}

pub fn user_exists(email: &str) -> Error {
    let message = format!("`{email}` is a user of this organization already");
    Error::new(Reason::UserExists, message).applied(Applied::No)
}

/// Somebody must be able to let others in.
pub fn last_admin() -> Error {
    let message = "this is the last admin who can sign in; make another user an admin first";
    Error::new(Reason::LastAdmin, message).applied(Applied::No)
}

/// The one answer to every sign-in that fails, whatever the cause.
pub fn login_failed() -> Error {
    let message = "organization, address or password is wrong, or the account cannot be used";
    Error::new(Reason::LoginFailed, message).applied(Applied::No)
}

pub fn session_ended() -> Error {
    Error::new(Reason::SessionEnded, "the session has ended; sign in again").applied(Applied::No)
}

pub fn invitation_invalid() -> Error {
    let message = "the invitation is unknown, used up or too old; ask an admin for another one";
    Error::new(Reason::InvitationInvalid, message).applied(Applied::No)
}

pub fn reset_invalid() -> Error {
    let message = "the token is unknown, used up or too old; ask for another mail";
    Error::new(Reason::InvitationInvalid, message).applied(Applied::No)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_kept_in_lower_case() {
        assert_eq!(email("email", " Ada@Example.COM ").expect("an address"), "ada@example.com");
        let long = format!("{}@b", "a".repeat(253));
        for bad in ["", "ada", "@", "ada@", "@b", "a@b@c", "a b@c", "a\n@b", &long] {
            assert_eq!(email("user.email", bad).expect_err("refused").violations()[0].field, "user.email", "{bad:?}");
        }
    }
}
