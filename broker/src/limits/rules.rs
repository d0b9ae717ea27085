//! Which limits hold: defaults of the configuration, and what operators set for some.

use crate::domain::ids::OrganizationId;
use crate::domain::quota::{Quota, Quotas};
use std::collections::HashMap;
use std::sync::Arc;

/// All limits at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    organization: Quotas,
    credential: Quotas,
    organizations: HashMap<OrganizationId, Quotas>,
    credentials: HashMap<Arc<str>, Quotas>,
    /// Bytes that an organization stores, of those that a quota bounds.
    stored: HashMap<OrganizationId, u64>,
    empty: bool,
}

impl Default for Rules {
    /// Nothing is limited.
    fn default() -> Self {
        Self::new(Quotas::default(), Quotas::default())
    }
}

impl Rules {
    /// The same for everybody.
    pub fn new(organization: Quotas, credential: Quotas) -> Self {
        let empty = organization == Quotas::default() && credential == Quotas::default();
        let (organizations, credentials, stored) = (HashMap::new(), HashMap::new(), HashMap::new());
        Self { organization, credential, organizations, credentials, stored, empty }
    }

    /// Another limit for one organization; `None` lifts the default.
    pub fn set_organization(&mut self, organization: OrganizationId, quota: Quota, limit: Option<u64>) {
        let default = &self.organization;
        self.organizations.entry(organization).or_insert_with(|| default.clone()).set(quota, limit);
        self.empty = false;
    }

    /// Another limit for one credential; `None` lifts the default.
    pub fn set_credential(&mut self, credential: Arc<str>, quota: Quota, limit: Option<u64>) {
        let default = &self.credential;
        self.credentials.entry(credential).or_insert_with(|| default.clone()).set(quota, limit);
        self.empty = false;
    }

    /// What an organization stores.
    pub fn set_stored(&mut self, organization: OrganizationId, bytes: u64) {
        self.stored.insert(organization, bytes);
    }

    pub fn of_organization(&self, organization: OrganizationId) -> &Quotas {
        self.organizations.get(&organization).unwrap_or(&self.organization)
    }

    pub fn of_credential(&self, credential: &str) -> &Quotas {
        self.credentials.get(credential).unwrap_or(&self.credential)
    }

    /// The limit and the use of an organization that stores all that it may.
    pub fn full(&self, organization: OrganizationId) -> Option<(u64, u64)> {
        let used = *self.stored.get(&organization)?;
        let limit = self.of_organization(organization).get(Quota::StoredBytes)?;
        (used >= limit).then_some((limit, used))
    }

    /// Whether nothing is limited at all.
    pub fn are_empty(&self) -> bool {
        self.empty
    }
}
