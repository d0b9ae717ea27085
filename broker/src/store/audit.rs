//! The audit log as it is stored.

use crate::domain::audit::{Actor, AuditEvent, AuditFilter, Outcome, Target};
use crate::domain::{Error, Result};
use crate::store::{Client, Tenant, error::from_postgres};
use std::time::Duration;
use tokio_postgres::Row;

/// Adds what was done, in the transaction that does it.
pub async fn record(tenant: &Tenant, by: &Actor, action: &str, target: &Target) -> Result<()> {
    let parameters: [&(dyn postgres_types::ToSql + Sync); 7] = [
        &tenant.organization().0,
        &&*by.name,
        &action,
        &target.object,
        &target.detail,
        &&*by.origin.address,
        &&*by.origin.request_id,
    ];
    tenant.execute(include_str!("sql/audit/record.sql"), &parameters).await.map(drop).map_err(from_postgres)
}

/// Something that was not done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// None: it is that of the name, or that of the key that is the actor.
    pub organization: Option<i64>,
    pub organization_name: String,
    /// Who wanted to sign in; kept only as the id of a user who exists.
    pub email: String,
    pub actor: String,
    pub action: String,
    pub object: String,
    pub outcome: Outcome,
    pub reason: &'static str,
    pub address: String,
}

/// A refusal, the first call that had it, and how many had.
pub type Counted = (Refusal, String, i32);

/// Adds refusals of many organizations. Answers how many found no room.
pub async fn refusals(client: &impl Client, refusals: &[Counted]) -> Result<i64> {
    fn column<'a, T>(refusals: &'a [Counted], of: impl Fn(&'a Counted) -> T) -> Vec<T> {
        refusals.iter().map(of).collect()
    }
    let organization = column(refusals, |(refusal, ..)| refusal.organization);
    let name = column(refusals, |(refusal, ..)| refusal.organization_name.as_str());
    let email = column(refusals, |(refusal, ..)| refusal.email.as_str());
    let actor = column(refusals, |(refusal, ..)| refusal.actor.as_str());
    let action = column(refusals, |(refusal, ..)| refusal.action.as_str());
    let object = column(refusals, |(refusal, ..)| refusal.object.as_str());
    let outcome = column(refusals, |(refusal, ..)| refusal.outcome.as_str());
    let reason = column(refusals, |(refusal, ..)| refusal.reason);
    let address = column(refusals, |(refusal, ..)| refusal.address.as_str());
    let request = column(refusals, |(_, request, _)| request.as_str());
    let times = column(refusals, |(.., times)| *times);
    let parameters: [&(dyn postgres_types::ToSql + Sync); 11] =
        [&organization, &name, &email, &actor, &action, &object, &outcome, &reason, &address, &request, &times];
    let row = client.query_one(include_str!("sql/audit/refusals.sql"), &parameters).await;
    Ok(row.map_err(from_postgres)?.get(0))
}

/// At most `limit` entries that `filter` shows, the newest first, from below `before`.
pub async fn list(tenant: &Tenant, filter: &AuditFilter, before: i64, limit: u32) -> Result<Vec<AuditEvent>> {
    let parameters: [&(dyn postgres_types::ToSql + Sync); 9] = [
        &tenant.organization().0,
        &before,
        &filter.actor,
        &filter.action,
        &filter.object,
        &filter.outcome.map(Outcome::as_str),
        &filter.from,
        &filter.until,
        &i64::from(limit),
    ];
    let rows = tenant.query(include_str!("sql/audit/list.sql"), &parameters).await.map_err(from_postgres)?;
    rows.iter().map(event).collect()
}

/// Forgets entries beyond the retention, at most `limit`. Answers how many.
pub async fn prune(client: &impl Client, retention: Duration, limit: i32) -> Result<i64> {
    let seconds = i64::try_from(retention.as_secs()).unwrap_or(i64::MAX);
    let row = client.query_one(include_str!("sql/audit/prune.sql"), &[&seconds, &limit]).await;
    Ok(row.map_err(from_postgres)?.get(0))
}

fn event(row: &Row) -> Result<AuditEvent> {
    let result: &str = row.get("result");
    Ok(AuditEvent {
        id: row.get("audit_id"),
        occurred_at: row.get("occurred_at"),
        actor: row.get("actor"),
        actor_email: row.get("actor_email"),
        action: row.get("action"),
        object: row.get("object"),
        detail: row.get("detail"),
        outcome: Outcome::parse(result).ok_or_else(|| Error::internal(format!("`{result}` is no result")))?,
        reason: row.get("reason"),
        address: row.get("address"),
        request_id: row.get("request_id"),
        times: row.get("times"),
    })
}
