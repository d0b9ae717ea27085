//! API keys as they are stored: by id, with the hash of the secret.

use crate::{domain::Result, store::error};
use std::collections::HashSet;
use tokio_postgres::GenericClient;

/// A key as the database knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    pub organization_id: i64,
    pub secret_sha256: Vec<u8>,
    /// By the database's clock.
    pub expired: bool,
    pub revoked: bool,
    /// What it may do, such as `publish` or `publish:orders.*`.
    pub scopes: Vec<String>,
}

/// A key that is to be stored.
#[derive(Clone, Copy, Debug)]
pub struct NewKey<'a> {
    pub id: &'a str,
    pub secret_sha256: &'a [u8],
    pub description: &'a str,
    /// What it may do, such as `publish` or `publish:orders.*`.
    pub scopes: &'a [String],
}

/// The key with this id, in whatever state it is.
pub async fn find(client: &impl GenericClient, key_id: &str) -> Result<Option<StoredKey>> {
    let row = client.query_opt(include_str!("sql/key/find.sql"), &[&key_id]).await.map_err(error::from_postgres)?;
    Ok(row.map(|row| StoredKey {
        organization_id: row.get("organization_id"),
        secret_sha256: row.get("secret_sha256"),
        expired: row.get("expired"),
        revoked: row.get("revoked"),
        scopes: row.get("scopes"),
    }))
}

/// Those of the ids whose keys may be used.
pub async fn good(client: &impl GenericClient, ids: &[&str]) -> Result<HashSet<String>> {
    let rows = client.query(include_str!("sql/key/good.sql"), &[&ids]).await.map_err(error::from_postgres)?;
    Ok(rows.into_iter().map(|row| row.get(0)).collect())
}

/// Stores a key of the named organization, which is made when it is missing: an operator's way to the first key.
pub async fn create(client: &impl GenericClient, organization_name: &str, key: NewKey<'_>) -> Result<()> {
    let parameters: [&(dyn postgres_types::ToSql + Sync); 5] =
        [&organization_name, &key.id, &key.secret_sha256, &key.description, &key.scopes];
    client.execute(include_str!("sql/key/create.sql"), &parameters).await.map(drop).map_err(error::from_postgres)
}
