//! `[jobs]`: what happens without being asked.

use super::reader::Reader;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Jobs {
    pub retention_interval: Duration,
    pub audit_retention: Duration,
}

impl Jobs {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let days = reader.integer("jobs.audit_retention_days", "days", 7..=3_650);
        Self {
            retention_interval: reader.seconds("jobs.retention_interval_s", 1..=86_400),
            audit_retention: Duration::from_secs(days.unsigned_abs() * 86_400),
        }
    }
}
