//! Brings quotas that operators set, and the bytes that are compared with them, into the memory of `limits`.
//!
//! Every broker does it for itself. When the database is away, what was known last holds.

use crate::domain::Result;
use crate::domain::ids::OrganizationId;
use crate::domain::quota::{Quota, Quotas};
use crate::limits::{Limits, Rules};
use crate::store::{Store, quotas};
use crate::telemetry::metrics;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Within this time a change by an operator holds everywhere.
const INTERVAL: Duration = Duration::from_secs(5);

/// The job, and the defaults that it lays what was set over.
pub struct QuotaLoader {
    pub store: Store,
    pub limits: Limits,
    pub organization: Quotas,
    pub credential: Quotas,
}

impl QuotaLoader {
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        loop {
            if let Err(error) = self.load().await {
                metrics::get().job_failures.increment(1);
                tracing::debug!(?error, "quotas could not be read; those known hold");
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(INTERVAL.mul_f64(rand::random_range(0.7..1.0))) => {}
            }
        }
    }

    /// Reads everything once.
    pub async fn load(&self) -> Result<()> {
        let client = self.store.conn().await?;
        let mut rules = Rules::new(self.organization.clone(), self.credential.clone());
        let mut bounded = BTreeSet::new();
        for stored in quotas::all(&**client).await? {
            match stored.credential {
                None => {
                    rules.set_organization(stored.organization, stored.quota, stored.limit);
                    bounded.insert(stored.organization);
                }
                Some(credential) => rules.set_credential(credential.into(), stored.quota, stored.limit),
            }
        }
        let bounded: Vec<OrganizationId> = match self.organization.get(Quota::StoredBytes) {
            Some(_) => quotas::organizations(&**client).await?,
            None => bounded.into_iter().collect(),
        };
        let bounded: Vec<OrganizationId> = bounded
            .into_iter()
            .filter(|organization| rules.of_organization(*organization).get(Quota::StoredBytes).is_some())
            .collect();
        if !bounded.is_empty() {
            for (organization, bytes) in quotas::stored_bytes(&**client, &bounded).await? {
                rules.set_stored(organization, bytes);
            }
        }
        self.limits.replace(rules);
        Ok(())
    }
}
