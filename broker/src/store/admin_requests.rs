//! What administrative requests answered, so that the same request again answers the same.

use crate::domain::{Error, Reason, Result};
use crate::store::{Tenant, error::from_postgres};
use uuid::Uuid;

/// A request as it is told apart from others.
#[derive(Clone, Debug)]
pub struct AdminRequest {
    pub id: Uuid,
    pub method: &'static str,
    /// Hash of everything that was asked for.
    pub fingerprint: [u8; 32],
}

/// What is known of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is the first: do it, then [`answer`] it in the same transaction.
    First,
    /// It was done, and answered this.
    Answered(Vec<u8>),
    /// Its id stands for another request.
    Reused,
}

/// Claims the id. Whoever sends the same id at the same time waits until this transaction ends.
pub async fn claim(tenant: &Tenant, request: &AdminRequest) -> Result<Claim> {
    let fingerprint = request.fingerprint.as_slice();
    let row = tenant
        .query_opt(
            include_str!("sql/admin_request/claim.sql"),
            &[&tenant.organization().0, &request.id, &request.method, &fingerprint],
        )
        .await
        .map_err(from_postgres)?;
    if row.is_some() {
        return Ok(Claim::First);
    }
    let sql = include_str!("sql/admin_request/find.sql");
    let row = tenant.query_opt(sql, &[&tenant.organization().0, &request.id]).await.map_err(from_postgres)?;
    // Pruned between the two statements.
    let row =
        row.ok_or_else(|| Error::new(Reason::ConcurrentChange, "the request id was just forgotten; try again"))?;
    let (method, stored): (&str, &[u8]) = (row.get("method"), row.get("fingerprint"));
    let same = method == request.method && stored == fingerprint;
    Ok(if same { Claim::Answered(row.get("response")) } else { Claim::Reused })
}

/// Keeps what a claimed request answered.
pub async fn answer(tenant: &Tenant, id: Uuid, response: &[u8]) -> Result<()> {
    let sql = include_str!("sql/admin_request/answer.sql");
    tenant.execute(sql, &[&tenant.organization().0, &id, &response]).await.map(drop).map_err(from_postgres)
}
