//! `[jobs]`: what happens without being asked.

use super::reader::Reader;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Jobs {
    pub retention_interval: Duration,
}

impl Jobs {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self { retention_interval: reader.seconds("jobs.retention_interval_s", 1..=86_400) }
    }
}
