//! Resets of passwords, before anybody's organization is known: all by function.

use crate::domain::Result;
use crate::domain::audit::Origin;
use crate::store::{Client, error::from_postgres};
use std::time::Duration;
use uuid::Uuid;

/// Gives an account that may sign in a token for another password. False: there is none.
pub async fn request(
    client: &impl Client,
    (organization, email): (&str, &str),
    token_sha256: &[u8],
    lifetime: Duration,
    origin: &Origin,
) -> Result<bool> {
    let seconds = i32::try_from(lifetime.as_secs()).unwrap_or(i32::MAX);
    let parameters: [&(dyn postgres_types::ToSql + Sync); 6] =
        [&organization, &email, &token_sha256, &seconds, &&*origin.address, &&*origin.request_id];
    let row = client.query_one(include_str!("sql/session/request_reset.sql"), &parameters).await;
    Ok(row.map_err(from_postgres)?.get(0))
}

/// Sets the password of whoever was sent this token, and ends their sessions. None: no such token.
pub async fn carry_out(
    client: &impl Client,
    token: &[u8],
    password_hash: &str,
    origin: &Origin,
) -> Result<Option<Uuid>> {
    let sql = include_str!("sql/session/reset_password.sql");
    let row = client.query_one(sql, &[&token, &password_hash, &&*origin.address, &&*origin.request_id]).await;
    Ok(row.map_err(from_postgres)?.get(0))
}
