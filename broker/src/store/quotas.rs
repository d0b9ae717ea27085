//! Quotas as operators have set them, and what they are compared with.

use crate::domain::Result;
use crate::domain::ids::OrganizationId;
use crate::domain::quota::{Quota, Quotas};
use crate::store::{Tenant, error::from_postgres};
use tokio_postgres::GenericClient;

/// A limit that was set for an organization, or for one of its credentials.
#[derive(Clone, Debug)]
pub struct StoredQuota {
    pub organization: OrganizationId,
    /// `None`: the organization itself.
    pub credential: Option<String>,
    pub quota: Quota,
    /// `None`: no limit.
    pub limit: Option<u64>,
}

/// What an operator sees of it.
#[derive(Clone, Debug)]
pub struct NamedQuota {
    pub organization: String,
    /// Empty: the organization itself.
    pub credential: String,
    pub quota: String,
    /// `None`: no limit.
    pub limit: Option<i64>,
}

/// What an organization has of what is counted.
#[derive(Clone, Copy, Debug)]
pub struct Counts {
    pub streams: u64,
    pub partitions: u64,
    pub groups: u64,
}

/// Everything that was set. Names that this broker does not know are left out: a newer one may know them.
pub async fn all(client: &impl GenericClient) -> Result<Vec<StoredQuota>> {
    let rows = client.query(include_str!("sql/quota/all.sql"), &[]).await.map_err(from_postgres)?;
    let quotas = rows.iter().filter_map(|row| {
        let credential: String = row.get("credential");
        Some(StoredQuota {
            organization: OrganizationId(row.get("organization_id")),
            credential: Some(credential).filter(|credential| !credential.is_empty()),
            quota: Quota::parse(row.get("name"))?,
            limit: row.get::<_, Option<i64>>("value").map(i64::cast_unsigned),
        })
    });
    Ok(quotas.collect())
}

/// Every organization.
pub async fn organizations(client: &impl GenericClient) -> Result<Vec<OrganizationId>> {
    let rows = client.query(include_str!("sql/quota/organizations.sql"), &[]).await.map_err(from_postgres)?;
    Ok(rows.iter().map(|row| OrganizationId(row.get(0))).collect())
}

/// Bytes of the retained events of organizations.
pub async fn stored_bytes(
    client: &impl GenericClient,
    organizations: &[OrganizationId],
) -> Result<Vec<(OrganizationId, u64)>> {
    let ids: Vec<i64> = organizations.iter().map(|organization| organization.0).collect();
    let rows = client.query(include_str!("sql/quota/stored_bytes.sql"), &[&ids]).await.map_err(from_postgres)?;
    Ok(rows.iter().map(|row| (OrganizationId(row.get(0)), row.get::<_, i64>(1).max(0).cast_unsigned())).collect())
}

/// The organization's limits over `defaults`.
pub async fn of_tenant(tenant: &Tenant, defaults: &Quotas) -> Result<Quotas> {
    let sql = include_str!("sql/quota/of_tenant.sql");
    let rows = tenant.query(sql, &[&tenant.organization().0]).await.map_err(from_postgres)?;
    let mut quotas = defaults.clone();
    for row in &rows {
        if let Some(quota) = Quota::parse(row.get("name")) {
            quotas.set(quota, row.get::<_, Option<i64>>("value").map(i64::cast_unsigned));
        }
    }
    Ok(quotas)
}

/// What the organization has; until the transaction ends nobody else of it counts.
pub async fn counts(tenant: &Tenant) -> Result<Counts> {
    let organization = tenant.organization().0;
    tenant.query_one(include_str!("sql/quota/lock.sql"), &[&organization]).await.map_err(from_postgres)?;
    // In a statement of its own: it must see what was committed while the lock was waited for.
    let row = tenant.query_one(include_str!("sql/quota/count.sql"), &[&organization]).await.map_err(from_postgres)?;
    let count = |name| row.get::<_, i64>(name).cast_unsigned();
    Ok(Counts { streams: count("streams"), partitions: count("partitions"), groups: count("groups") })
}

/// Sets a limit. False: there is no such organization.
pub async fn set(
    client: &impl GenericClient,
    organization: &str,
    credential: &str,
    quota: Quota,
    limit: Option<i64>,
) -> Result<bool> {
    let sql = include_str!("sql/quota/set.sql");
    let row = client.query_one(sql, &[&organization, &credential, &quota.name(), &limit]).await;
    Ok(row.map_err(from_postgres)?.get(0))
}

/// The defaults hold again. Answers how many limits were removed; `None`: there is no such organization.
pub async fn clear(
    client: &impl GenericClient,
    organization: &str,
    credential: &str,
    quota: Option<Quota>,
) -> Result<Option<i64>> {
    let name = quota.map(Quota::name);
    let row = client.query_one(include_str!("sql/quota/clear.sql"), &[&organization, &credential, &name]).await;
    Ok(row.map_err(from_postgres)?.get(0))
}

/// What is set, of one organization or of all.
pub async fn list(client: &impl GenericClient, organization: Option<&str>) -> Result<Vec<NamedQuota>> {
    let rows = client.query(include_str!("sql/quota/list.sql"), &[&organization]).await.map_err(from_postgres)?;
    let named = rows.iter().map(|row| NamedQuota {
        organization: row.get("organization"),
        credential: row.get("credential"),
        quota: row.get("name"),
        limit: row.get("value"),
    });
    Ok(named.collect())
}
