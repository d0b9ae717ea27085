//! `[groups]`: leases, grace and commits.

use super::reader::Reader;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Groups {
    pub lease_ttl: Duration,
    pub member_grace: Duration,
    pub sweep_interval: Duration,
    pub commit_interval: Duration,
}

impl Groups {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let groups = Self {
            // A broker stops delivering a second before its lease ends, and renews it every second.
            lease_ttl: reader.milliseconds("groups.lease_ttl_ms", 3_000..=300_000),
            member_grace: reader.milliseconds("groups.member_grace_ms", 0..=300_000),
            sweep_interval: reader.milliseconds("groups.sweep_interval_ms", 50..=60_000),
            commit_interval: reader.milliseconds("groups.commit_interval_ms", 0..=1_000),
        };
        let (sweep, ttl) = (groups.sweep_interval.as_millis(), groups.lease_ttl.as_millis());
        if sweep > ttl {
            reader.refuse(
                "groups.sweep_interval_ms",
                sweep,
                format!("must be at most `groups.lease_ttl_ms`, which is {ttl}"),
            );
        }
        groups
    }
}
