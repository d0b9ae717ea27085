//! Times and durations. Times keep microseconds, as the log does.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) fn time_from_wire(time: &prost_types::Timestamp) -> SystemTime {
    let nanos = Duration::from_nanos(u64::try_from(time.nanos).unwrap_or(0));
    match u64::try_from(time.seconds) {
        Ok(seconds) => UNIX_EPOCH + Duration::from_secs(seconds) + nanos,
        Err(_) => UNIX_EPOCH - Duration::from_secs(time.seconds.unsigned_abs()) + nanos,
    }
}

pub(crate) fn time_to_wire(time: SystemTime) -> prost_types::Timestamp {
    let (seconds, nanos) = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (i64::try_from(after.as_secs()).unwrap_or(i64::MAX), after.subsec_nanos()),
        Err(error) => {
            let before = error.duration();
            let seconds = -i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
            match before.subsec_nanos() {
                0 => (seconds, 0),
                nanos => (seconds - 1, 1_000_000_000 - nanos),
            }
        }
    };
    prost_types::Timestamp { seconds, nanos: i32::try_from(nanos).unwrap_or(0) }
}

pub(crate) fn duration_from_wire(duration: &prost_types::Duration) -> Duration {
    Duration::new(u64::try_from(duration.seconds).unwrap_or(0), u32::try_from(duration.nanos).unwrap_or(0))
}

pub(crate) fn duration_to_wire(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_on_both_sides_of_1970_survive_the_wire() {
        for time in [
            UNIX_EPOCH,
            UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_000),
            UNIX_EPOCH - Duration::new(5, 250_000_000),
            UNIX_EPOCH - Duration::new(5, 0),
        ] {
            assert_eq!(time_from_wire(&time_to_wire(time)), time);
        }
    }
}
