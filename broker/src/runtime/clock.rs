//! Clocks of this process. What other brokers must agree on is database time; this is only for waiting.

use std::time::Duration;

/// Time since boot, counting suspension: a machine that slept knows that its lease ran out.
pub fn since_boot() -> Duration {
    #[cfg(target_os = "linux")]
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    #[cfg(not(target_os = "linux"))]
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// Microseconds since 1970 by this machine's clock: for people, and for what may lie how far ahead; never for what is due.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn unix_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    since.as_micros() as i64
}
