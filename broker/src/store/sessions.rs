//! Signing in and out, before and beside any organization: all by function.

use crate::domain::Result;
use crate::domain::audit::Origin;
use crate::domain::ids::OrganizationId;
use crate::store::{Client, error::from_postgres};
use std::collections::HashSet;
use std::time::Duration;
use uuid::Uuid;

/// An account that may sign in.
pub struct Account {
    pub user: Uuid,
    pub password_hash: String,
}

/// The account of that address. None: there is none that may sign in.
pub async fn find_account(client: &impl Client, organization: &str, email: &str) -> Result<Option<Account>> {
    let sql = include_str!("sql/session/find_account.sql");
    let row = client.query_opt(sql, &[&organization, &email]).await.map_err(from_postgres)?;
    Ok(row.map(|row| Account { user: row.get("user_id"), password_hash: row.get("password_hash") }))
}

/// A session that is to begin.
pub struct Beginning<'a> {
    pub account: &'a Account,
    /// In place of the old one.
    pub new_hash: Option<&'a str>,
    pub refresh_sha256: &'a [u8],
    pub client: &'a str,
    pub origin: &'a Origin,
    pub session: Duration,
    pub refresh: Duration,
}

/// Begins a session. None: the account has changed since it was looked up.
pub async fn begin(client: &impl Client, beginning: &Beginning<'_>) -> Result<Option<Uuid>> {
    let sql = include_str!("sql/session/begin.sql");
    let (session, refresh) = (seconds(beginning.session), seconds(beginning.refresh));
    let parameters: [&(dyn postgres_types::ToSql + Sync); 9] = [
        &beginning.account.user,
        &beginning.account.password_hash,
        &beginning.new_hash,
        &beginning.refresh_sha256,
        &beginning.client,
        &&*beginning.origin.address,
        &session,
        &refresh,
        &&*beginning.origin.request_id,
    ];
    Ok(client.query_one(sql, &parameters).await.map_err(from_postgres)?.get(0))
}

/// What became of a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// It is used up, and the next one counts.
    Next(Uuid),
    /// It came a second time: the session has ended.
    Reused(Uuid),
    Unknown,
}

/// Uses a refresh token up, in favour of the next one.
pub async fn refresh(
    client: &impl Client,
    token: &[u8],
    next: &[u8],
    lifetime: Duration,
    origin: &Origin,
) -> Result<Refreshed> {
    let sql = include_str!("sql/session/refresh.sql");
    let row = client
        .query_opt(sql, &[&token, &next, &seconds(lifetime), &&*origin.address, &&*origin.request_id])
        .await
        .map_err(from_postgres)?;
    Ok(match row {
        None => Refreshed::Unknown,
        Some(row) if row.get("reused") => Refreshed::Reused(row.get("session_id")),
        Some(row) => Refreshed::Next(row.get("session_id")),
    })
}

/// A session that may be used. Times are microseconds since 1970, by the database.
#[derive(Clone, Debug)]
pub struct Session {
    pub organization: OrganizationId,
    pub user: Uuid,
    pub role: String,
    pub now_us: i64,
    pub expires_us: i64,
    pub refresh_expires_us: Option<i64>,
}

/// The session, while it may be used.
pub async fn find(client: &impl Client, session: Uuid) -> Result<Option<Session>> {
    let sql = include_str!("sql/session/find.sql");
    let row = client.query_opt(sql, &[&session]).await.map_err(from_postgres)?;
    Ok(row.map(|row| Session {
        organization: OrganizationId(row.get("organization_id")),
        user: row.get("user_id"),
        role: row.get("role"),
        now_us: row.get("now_us"),
        expires_us: row.get("session_expires_us"),
        refresh_expires_us: row.get("refresh_expires_us"),
    }))
}

/// Those of the sessions that may be used, with the role that their users have now.
pub async fn good(client: &impl Client, sessions: &[Uuid]) -> Result<HashSet<(Uuid, String)>> {
    let sql = include_str!("sql/session/good.sql");
    let rows = client.query(sql, &[&sessions]).await.map_err(from_postgres)?;
    Ok(rows.into_iter().map(|row| (row.get(0), row.get(1))).collect())
}

/// Ends the session that a refresh token belongs to.
pub async fn logout(client: &impl Client, token: &[u8], origin: &Origin) -> Result<Option<Uuid>> {
    let sql = include_str!("sql/session/logout.sql");
    Ok(client.query_one(sql, &[&token, &&*origin.address, &&*origin.request_id]).await.map_err(from_postgres)?.get(0))
}

/// Sets the password of whoever was given this token.
pub async fn accept(client: &impl Client, token: &[u8], password_hash: &str, origin: &Origin) -> Result<Option<Uuid>> {
    let sql = include_str!("sql/session/accept.sql");
    let row = client.query_one(sql, &[&token, &password_hash, &&*origin.address, &&*origin.request_id]).await;
    Ok(row.map_err(from_postgres)?.get(0))
}

/// How long the most throttled of the subjects has to wait, each with its limit of failures.
pub async fn wait(client: &impl Client, subjects: &[Vec<u8>], limits: &[i32]) -> Result<Duration> {
    let sql = include_str!("sql/session/wait.sql");
    let row = client.query_one(sql, &[&subjects, &limits]).await.map_err(from_postgres)?;
    Ok(Duration::from_secs(u64::try_from(row.get::<_, i32>(0)).unwrap_or(0)))
}

/// Counts a failure against each of the subjects.
pub async fn failed(client: &impl Client, subjects: &[Vec<u8>]) -> Result<()> {
    let sql = include_str!("sql/session/failed.sql");
    client.execute(sql, &[&subjects]).await.map(drop).map_err(from_postgres)
}

fn seconds(duration: Duration) -> i32 {
    i32::try_from(duration.as_secs()).unwrap_or(i32::MAX)
}
