//! `[shutdown]`: how long an orderly stop may take.

use super::reader::Reader;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Shutdown {
    pub grace: Duration,
}

impl Shutdown {
    pub(super) fn read(reader: &mut Reader) -> Self {
        Self { grace: reader.milliseconds("shutdown.grace_ms", 0..=600_000) }
    }
}
