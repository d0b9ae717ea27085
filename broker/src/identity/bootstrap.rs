//! The first key of an organization, which an operator makes directly on the database.

use super::key::ApiKey;
use crate::domain::{Result, access::Grants};
use crate::store::{self, keys};

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
