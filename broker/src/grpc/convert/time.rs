//! Times and durations: the broker counts microseconds.

use crate::domain::{Error, Result};
use prost_types::{Duration, Timestamp};

const SECOND_US: i64 = 1_000_000;
/// 0001-01-01 and 9999-12-31, in seconds since 1970, as protobuf defines a timestamp.
const YEARS_1_TO_9999: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
/// About 10,000 years, as protobuf defines a duration.
const DURATION_SECONDS_MAX: i64 = 315_576_000_000;

/// Microseconds since 1970; what is finer is cut off.
pub fn timestamp_us(field: &str, time: &Timestamp) -> Result<i64> {
    if !YEARS_1_TO_9999.contains(&time.seconds) || !(0..1_000_000_000).contains(&time.nanos) {
        return Err(Error::invalid(field, "must be a time of the years 1 to 9999"));
    }
    Ok(time.seconds * SECOND_US + i64::from(time.nanos) / 1_000)
}

/// A time from microseconds since 1970.
pub fn timestamp(us: i64) -> Timestamp {
    Timestamp { seconds: us.div_euclid(SECOND_US), nanos: (us.rem_euclid(SECOND_US) * 1_000) as i32 }
}

/// Microseconds; what is finer is cut off.
pub fn duration_us(field: &str, duration: &Duration) -> Result<i64> {
    let (seconds, nanos) = (duration.seconds, duration.nanos);
    let signs_agree = seconds.signum() * i64::from(nanos.signum()) >= 0;
    if seconds.unsigned_abs() > DURATION_SECONDS_MAX.cast_unsigned()
        || nanos.unsigned_abs() > 999_999_999
        || !signs_agree
    {
        return Err(Error::invalid(field, "must be a duration of at most 10,000 years, its parts of one sign"));
    }
    Ok(seconds * SECOND_US + i64::from(nanos) / 1_000)
}

/// A duration from microseconds.
pub fn duration(us: i64) -> Duration {
    Duration { seconds: us / SECOND_US, nanos: (us % SECOND_US * 1_000) as i32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_their_microseconds_before_and_after_1970() {
        for us in [0, 1, -1, 1_700_000_000_123_456, -62_135_596_800_000_000, 253_402_300_799_999_999] {
            assert_eq!(timestamp_us("t", &timestamp(us)).expect("a time"), us);
            assert!(timestamp(us).nanos >= 0);
        }
    }

    #[test]
    fn times_out_of_range_are_refused() {
        for (seconds, nanos) in [(-62_135_596_801, 0), (253_402_300_800, 0), (0, -1), (0, 1_000_000_000)] {
            let error = timestamp_us("start.time", &Timestamp { seconds, nanos }).expect_err("out of range");
            assert_eq!(error.violations()[0].field, "start.time");
        }
    }

    #[test]
    fn durations_keep_their_microseconds_and_are_bounded() {
        for us in [0, 1, -1, 10_000_000, -1_500_000, DURATION_SECONDS_MAX * SECOND_US] {
            assert_eq!(duration_us("d", &duration(us)).expect("a duration"), us);
        }
        for (seconds, nanos) in [(i64::MIN, 0), (i64::MAX, 0), (1, -1), (-1, 1), (0, 1_000_000_000), (0, i32::MIN)] {
            assert!(duration_us("d", &Duration { seconds, nanos }).is_err(), "{seconds} {nanos}");
        }
    }
}
