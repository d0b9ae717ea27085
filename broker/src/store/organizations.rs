//! Organizations: one's own, and new ones.

use crate::domain::Result;
use crate::domain::audit::Origin;
use crate::domain::organization::Organization;
use crate::store::{Client, Tenant, error::from_postgres};
use uuid::Uuid;

/// The tenant.
pub async fn get(tenant: &Tenant) -> Result<Organization> {
    let sql = include_str!("sql/organization/get.sql");
    let row = tenant.query_one(sql, &[&tenant.organization().0]).await.map_err(from_postgres)?;
    Ok(Organization { name: row.get("name"), display_name: row.get("display_name"), created_at: row.get("created_at") })
}

/// Changes what is given.
pub async fn update(tenant: &Tenant, display_name: Option<&str>) -> Result<()> {
    let sql = include_str!("sql/organization/update.sql");
    tenant.execute(sql, &[&tenant.organization().0, &display_name]).await.map(drop).map_err(from_postgres)
}

/// An organization that is to be made, and its first admin.
#[derive(Clone, Copy)]
pub struct New<'a> {
    pub organization: &'a str,
    pub display_name: &'a str,
    pub email: &'a str,
    pub name: &'a str,
    pub password_hash: &'a str,
}

/// Makes an organization with its first admin. None: the name is taken.
pub async fn register(client: &impl Client, new: New<'_>, origin: &Origin) -> Result<Option<Uuid>> {
    let parameters: [&(dyn postgres_types::ToSql + Sync); 7] = [
        &new.organization,
        &new.display_name,
        &new.email,
        &new.name,
        &new.password_hash,
        &&*origin.address,
        &&*origin.request_id,
    ];
    let row = client.query_one(include_str!("sql/organization/register.sql"), &parameters).await;
    Ok(row.map_err(from_postgres)?.get(0))
}
