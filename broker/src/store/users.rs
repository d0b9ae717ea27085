//! Users of an organization.

use crate::domain::access::Role;
use crate::domain::user::{User, UserChange};
use crate::domain::{Error, Result};
use crate::store::{Client, Tenant, error::from_postgres};
use std::time::Duration;
use tokio_postgres::Row;
use uuid::Uuid;

/// Makes a user with an invitation. None: the address is taken.
pub async fn invite(
    tenant: &Tenant,
    (email, name, role): (&str, &str, Role),
    invitation_sha256: &[u8],
    lifetime: Duration,
) -> Result<Option<Uuid>> {
    let sql = include_str!("sql/user/invite.sql");
    let seconds = lifetime.as_secs_f64();
    let parameters: [&(dyn postgres_types::ToSql + Sync); 6] =
        [&tenant.organization().0, &email, &name, &role.as_str(), &invitation_sha256, &seconds];
    Ok(tenant.query_opt(sql, &parameters).await.map_err(from_postgres)?.map(|row| row.get(0)))
}

/// The same by an operator, who names the organization, which is made when it is missing.
pub async fn invite_first(
    client: &impl Client,
    organization: &str,
    (email, role): (&str, Role),
    invitation_sha256: &[u8],
    lifetime: Duration,
) -> Result<Option<Uuid>> {
    let seconds = i32::try_from(lifetime.as_secs()).unwrap_or(i32::MAX);
    let parameters: [&(dyn postgres_types::ToSql + Sync); 5] =
        [&organization, &email, &role.as_str(), &invitation_sha256, &seconds];
    let row = client.query_one(include_str!("sql/user/invite_first.sql"), &parameters).await.map_err(from_postgres)?;
    Ok(row.get(0))
}

/// Takes the password away, for an invitation to set another one. Answers when that ends; None: there is no such user.
pub async fn reset(tenant: &Tenant, id: Uuid, invitation_sha256: &[u8], lifetime: Duration) -> Result<Option<i64>> {
    let sql = include_str!("sql/user/reset.sql");
    let seconds = lifetime.as_secs_f64();
    let row = tenant.query_opt(sql, &[&tenant.organization().0, &id, &invitation_sha256, &seconds]).await;
    Ok(row.map_err(from_postgres)?.map(|row| row.get(0)))
}

/// The user with that id.
pub async fn get(tenant: &Tenant, id: Uuid) -> Result<Option<User>> {
    let row = tenant.query_opt(include_str!("sql/user/get.sql"), &[&tenant.organization().0, &id]).await;
    row.map_err(from_postgres)?.as_ref().map(user).transpose()
}

/// At most `limit` users by address, from behind `after`.
pub async fn list(tenant: &Tenant, after: &str, limit: u32) -> Result<Vec<User>> {
    let sql = include_str!("sql/user/list.sql");
    let rows = tenant.query(sql, &[&tenant.organization().0, &after, &i64::from(limit)]).await;
    rows.map_err(from_postgres)?.iter().map(user).collect()
}

/// Changes what `change` names. False: there is no such user.
pub async fn update(tenant: &Tenant, id: Uuid, change: &UserChange) -> Result<bool> {
    let sql = include_str!("sql/user/update.sql");
    let role = change.role.map(Role::as_str);
    let changed = tenant.execute(sql, &[&tenant.organization().0, &id, &change.name, &role, &change.disabled]).await;
    Ok(changed.map_err(from_postgres)? > 0)
}

/// Removes a user with their sessions. False: there is no such user.
pub async fn remove(tenant: &Tenant, id: Uuid) -> Result<bool> {
    let sql = include_str!("sql/user/remove.sql");
    Ok(tenant.execute(sql, &[&tenant.organization().0, &id]).await.map_err(from_postgres)? > 0)
}

/// How many admins can sign in besides this user. Nobody changes them until the transaction ends.
pub async fn other_admins(tenant: &Tenant, id: Uuid) -> Result<i64> {
    let sql = include_str!("sql/user/other_admins.sql");
    Ok(tenant.query_one(sql, &[&tenant.organization().0, &id]).await.map_err(from_postgres)?.get(0))
}

/// Ends the sessions of a user, but for one. Answers those that it has ended.
pub async fn end_sessions(tenant: &Tenant, id: Uuid, but: Option<Uuid>, reason: &str) -> Result<Vec<Uuid>> {
    let sql = include_str!("sql/user/end_sessions.sql");
    let rows = tenant.query(sql, &[&tenant.organization().0, &id, &but, &reason]).await.map_err(from_postgres)?;
    Ok(rows.into_iter().map(|row| row.get(0)).collect())
}

/// The hash of a user's password.
pub async fn password_hash(tenant: &Tenant, id: Uuid) -> Result<Option<String>> {
    let sql = include_str!("sql/user/password_hash.sql");
    Ok(tenant.query_one(sql, &[&tenant.organization().0, &id]).await.map_err(from_postgres)?.get(0))
}

/// Sets another password, unless it has changed since it was looked at. False: it has.
pub async fn set_password(tenant: &Tenant, id: Uuid, old_hash: &str, new_hash: &str) -> Result<bool> {
    let sql = include_str!("sql/user/set_password.sql");
    let row = tenant.query_one(sql, &[&tenant.organization().0, &id, &old_hash, &new_hash]).await;
    Ok(row.map_err(from_postgres)?.get(0))
}

/// The name of the organization.
pub async fn organization_name(tenant: &Tenant) -> Result<String> {
    let sql = include_str!("sql/user/organization_name.sql");
    Ok(tenant.query_one(sql, &[&tenant.organization().0]).await.map_err(from_postgres)?.get(0))
}

fn user(row: &Row) -> Result<User> {
    let role: &str = row.get("role");
    Ok(User {
        id: row.get("user_id"),
        email: row.get("email"),
        name: row.get("name"),
        role: Role::parse(role).ok_or_else(|| Error::internal(format!("`{role}` is no role")))?,
        disabled: row.get("disabled"),
        invited: row.get("invited"),
        created_at: row.get("created_at"),
        last_login_at: row.get("last_login_at"),
    })
}
