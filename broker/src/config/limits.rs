//! `[limits]`: what an organization or a credential may use, unless an operator says otherwise for one of them.

use super::reader::Reader;
use crate::domain::quota::{Quota, Quotas};

#[derive(Clone, Debug)]
pub struct Limits {
    pub organization: Quotas,
    pub credential: Quotas,
}

impl Limits {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let (mut organization, mut credential) = (Quotas::default(), Quotas::default());
        for quota in Quota::ALL.iter().copied() {
            let mut limit = |scope| {
                let key = format!("limits.{scope}_{}", quota.name());
                let limit = reader.integer(&key, quota.unit(), 0..=i64::MAX).cast_unsigned();
                (limit > 0).then_some(limit)
            };
            organization.set(quota, limit("organization"));
            if quota.is_of_credentials() {
                credential.set(quota, limit("credential"));
            }
        }
        Self { organization, credential }
    }
}
