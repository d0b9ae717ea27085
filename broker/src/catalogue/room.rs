//! Whether an organization may have more of something, in the transaction that makes it.

use crate::catalogue::Catalogue;
use crate::domain::Result;
use crate::domain::quota::{Quota, Scope, quota_exceeded};
use crate::store::{Tenant, quotas};

/// What is about to be made.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct More {
    pub streams: u64,
    pub partitions: u64,
    pub groups: u64,
}

impl Catalogue {
    /// Refuses when the organization would have more than it may. Asked after everything else, so that a name that is taken
    /// is told as such.
    pub(super) async fn room_for(&self, tenant: &Tenant, more: More) -> Result<()> {
        let quotas = quotas::of_tenant(tenant, &self.0.quotas).await?;
        let asked =
            [(Quota::Streams, more.streams), (Quota::Partitions, more.partitions), (Quota::Groups, more.groups)];
        if asked.iter().all(|(quota, more)| *more == 0 || quotas.get(*quota).is_none()) {
            return Ok(());
        }
        // What is made is there already, in this transaction.
        let present = quotas::counts(tenant).await?;
        let present = [present.streams, present.partitions, present.groups];
        for ((quota, more), with_more) in asked.into_iter().zip(present) {
            if let Some(limit) = quotas.get(quota).filter(|limit| more > 0 && with_more > *limit) {
                let used = with_more.saturating_sub(more);
                return Err(quota_exceeded(quota, Scope::Organization, limit, used));
            }
        }
        Ok(())
    }
}
