//! API keys as they are stored: by id, with the hash of the secret.

use crate::domain::access::Grants;
use crate::domain::api_key::{Environment, KeyInfo};
use crate::domain::{Error, Result, limits};
use crate::store::{Tenant, error};
use std::collections::HashSet;
use tokio_postgres::{GenericClient, Row};

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
    pub environment: Environment,
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
    let environment = key.environment.as_str();
    let parameters: [&(dyn postgres_types::ToSql + Sync); 6] =
        [&organization_name, &key.id, &key.secret_sha256, &environment, &key.description, &key.scopes];
    client.execute(include_str!("sql/key/create.sql"), &parameters).await.map(drop).map_err(error::from_postgres)
}

/// Remembers that keys were used, of any organization. At most twice a minute for a key.
pub async fn touch(client: &impl GenericClient, ids: &[&str]) -> Result<()> {
    client.execute(include_str!("sql/key/touch.sql"), &[&ids]).await.map(drop).map_err(error::from_postgres)
}

/// What became of a key that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    Done,
    TooMany,
    ExpiresTooEarly,
}

/// Stores a key of the tenant.
pub async fn insert(tenant: &Tenant, key: NewKey<'_>, creator: &str, expires_at: Option<i64>) -> Result<Inserted> {
    let (organization, environment) = (tenant.organization().0, key.environment.as_str());
    let parameters: [&(dyn postgres_types::ToSql + Sync); 9] = [
        &organization,
        &key.id,
        &key.secret_sha256,
        &environment,
        &key.description,
        &key.scopes,
        &creator,
        &expires_at,
        &limits::API_KEYS_MAX,
    ];
    let row = tenant.query_one(include_str!("sql/key/insert.sql"), &parameters).await.map_err(error::from_postgres)?;
    Ok(match (row.get("in_time"), row.get("room")) {
        (false, _) => Inserted::ExpiresTooEarly,
        (true, false) => Inserted::TooMany,
        (true, true) => Inserted::Done,
    })
}

/// The key with that id.
pub async fn get(tenant: &Tenant, id: &str) -> Result<Option<KeyInfo>> {
    let row = tenant.query_opt(include_str!("sql/key/get.sql"), &[&tenant.organization().0, &id]).await;
    row.map_err(error::from_postgres)?.as_ref().map(info).transpose()
}

/// The same, and nobody else changes it until the transaction ends.
pub async fn lock(tenant: &Tenant, id: &str) -> Result<Option<KeyInfo>> {
    let sql = include_str!("sql/key/lock.sql");
    let locked = tenant.query_opt(sql, &[&tenant.organization().0, &id]).await.map_err(error::from_postgres)?;
    if locked.is_some() { get(tenant, id).await } else { Ok(None) }
}

/// At most `limit` keys in the order in which they were made, from behind `after`.
pub async fn list(tenant: &Tenant, ended_too: bool, after: &str, limit: u32) -> Result<Vec<KeyInfo>> {
    // A sealed cursor: twenty digits of a time, and an id.
    let (time, id) = after.split_at_checked(20).unwrap_or(("0", ""));
    let time: i64 = time.parse().map_err(Error::internal)?;
    let sql = include_str!("sql/key/list.sql");
    let parameters: [&(dyn postgres_types::ToSql + Sync); 5] =
        [&tenant.organization().0, &ended_too, &time, &id, &i64::from(limit)];
    let rows = tenant.query(sql, &parameters).await.map_err(error::from_postgres)?;
    rows.iter().map(info).collect()
}

/// Lets a key expire after the overlap, in favour of `successor`. Returns when: never later than before.
pub async fn replace(tenant: &Tenant, id: &str, successor: &str, overlap_us: i64) -> Result<i64> {
    let sql = include_str!("sql/key/replace.sql");
    let row = tenant.query_one(sql, &[&tenant.organization().0, &id, &successor, &overlap_us]).await;
    Ok(row.map_err(error::from_postgres)?.get(0))
}

/// Ends a key, unless it has ended.
pub async fn revoke(tenant: &Tenant, id: &str) -> Result<()> {
    let sql = include_str!("sql/key/revoke.sql");
    tenant.execute(sql, &[&tenant.organization().0, &id]).await.map(drop).map_err(error::from_postgres)
}

fn info(row: &Row) -> Result<KeyInfo> {
    let scopes: Vec<&str> = row.get("scopes");
    Ok(KeyInfo {
        id: row.get("key_id"),
        environment: Environment::from_stored(row.get("environment")),
        description: row.get("description"),
        grants: Grants::parse("scopes", scopes)?,
        created_by: row.get("created_by"),
        created_at: row.get("created_at"),
        expires_at: row.get("expires_at"),
        last_used_at: row.get("last_used_at"),
        revoked_at: row.get("revoked_at"),
        successor: row.get("successor"),
        ended: row.get("ended"),
    })
}
