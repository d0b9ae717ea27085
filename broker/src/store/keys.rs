//! API keys as they are stored: by id, with the hash of the secret.

use crate::{domain::Result, store::error};
use tokio_postgres::GenericClient;

/// A key as the database knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    pub organization_id: i64,
    pub secret_sha256: Vec<u8>,
    /// By the database's clock.
    pub expired: bool,
    pub revoked: bool,
}

/// The key with this id, in whatever state it is.
pub async fn find(client: &impl GenericClient, key_id: &str) -> Result<Option<StoredKey>> {
    let row = client.query_opt(include_str!("sql/key/find.sql"), &[&key_id]).await.map_err(error::from_postgres)?;
    Ok(row.map(|row| StoredKey {
        organization_id: row.get("organization_id"),
        secret_sha256: row.get("secret_sha256"),
        expired: row.get("expired"),
        revoked: row.get("revoked"),
    }))
}

/// Stores a new key of the named organization.
pub async fn create(
    client: &impl GenericClient,
    organization_name: &str,
    key_id: &str,
    secret_sha256: &[u8],
    description: &str,
) -> Result<()> {
    let parameters: [&(dyn postgres_types::ToSql + Sync); 4] =
        [&organization_name, &key_id, &secret_sha256, &description];
    client.execute(include_str!("sql/key/create.sql"), &parameters).await.map(drop).map_err(error::from_postgres)
}
