//! This machine's clock, for what a person means by "an hour ago". Never compared with times of the database.

use std::time::{Duration, SystemTime};

/// The time that stood on this machine's clock so long ago.
#[expect(clippy::disallowed_methods, reason = "`1h` counts from the clock of whoever typed it")]
pub fn ago(age: Duration) -> SystemTime {
    SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The time that will stand on this machine's clock after so long.
#[expect(clippy::disallowed_methods, reason = "`90d` counts from the clock of whoever typed it")]
pub fn from_now(age: Duration) -> SystemTime {
    let now = SystemTime::now();
    now.checked_add(age).unwrap_or(now)
}

/// Seconds since 1970 on this machine's clock.
#[expect(clippy::disallowed_methods, reason = "compared with what this machine wrote down")]
pub fn seconds() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
