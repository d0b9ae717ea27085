//! `[delivery]`: what subscribers get, and how soon.

use super::reader::Reader;
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Delivery {
    pub tail_cache_bytes: usize,
    pub poll_interval: Duration,
    /// Send and listen for NOTIFY.
    pub hints: bool,
    pub heartbeat: Duration,
    pub silence_limit: Duration,
}

impl Delivery {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let delivery = Self {
            tail_cache_bytes: reader.size("delivery.tail_cache_bytes", "bytes", 1 << 20..=1 << 40),
            poll_interval: reader.milliseconds("delivery.poll_interval_ms", 10..=60_000),
            hints: reader.flag("delivery.hints"),
            heartbeat: reader.milliseconds("delivery.heartbeat_ms", 100..=60_000),
            silence_limit: reader.milliseconds("delivery.silence_limit_ms", 200..=600_000),
        };
        let (heartbeat, silence) = (delivery.heartbeat.as_millis(), delivery.silence_limit.as_millis());
        if silence < 2 * heartbeat {
            reader.refuse(
                "delivery.silence_limit_ms",
                silence,
                format!("must be at least twice `delivery.heartbeat_ms`, which is {heartbeat}"),
            );
        }
        delivery
    }
}
