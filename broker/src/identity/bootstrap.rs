//! The first key and the first user of an organization, which an operator makes directly on the database.

use super::key::ApiKey;
use super::passwords::Passwords;
use super::sessions::digest;
use super::users::invite_first;
use crate::domain::access::{Grants, Role};
use crate::domain::audit::Origin;
use crate::domain::user::invitation_invalid;
use crate::domain::{Reason, Result};
use crate::store::{self, keys, sessions};

/// Stores a key of the named organization, which is made when it is missing.
pub async fn install_key(
    client: &impl store::Client,
    organization: &str,
    key: &ApiKey,
    description: &str,
    grants: &Grants,
) -> Result<()> {
    let id = key.id();
    let new = keys::NewKey {
        id: id.as_str(),
        secret_sha256: &key.secret_sha256(),
        environment: key.environment(),
        description,
        scopes: &grants.texts(),
    };
    keys::create(client, organization, new).await
}

/// Whether a user was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Installed {
    Now,
    /// There is one with that address: their password stays what it is.
    Before,
}

/// Makes a user with a password, for development.
pub async fn install_user(
    client: &impl store::Client,
    organization: &str,
    (email, role): (&str, Role),
    password: &str,
) -> Result<Installed> {
    let token = match invite_first(client, organization, (email, role)).await {
        Err(error) if error.reason() == Reason::UserExists => return Ok(Installed::Before),
        invited => invited?,
    };
    let hash = Passwords::default().hash(password.to_owned()).await?;
    let origin = Origin { request_id: "".into(), method: "AcceptInvitation".into(), address: "".into() };
    let accepted = sessions::accept(client, &digest(&token), &hash, &origin).await?;
    accepted.map(|_| Installed::Now).ok_or_else(invitation_invalid)
}
