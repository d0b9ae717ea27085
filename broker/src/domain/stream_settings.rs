//! What a stream may be set to: parsed once, each rule naming the field and the limit.

use crate::domain::ids::StreamName;
use crate::domain::labels::Labels;
use crate::domain::schema::{Compatibility, Enforcement, Policy};
use crate::domain::stream::Retention;
use crate::domain::{Error, Result, limits};

const SECOND_US: i64 = 1_000_000;

/// A stream to be made.
#[derive(Clone, Debug)]
pub struct NewStream {
    pub name: StreamName,
    pub partitions: u32,
    pub description: String,
    pub retention: Retention,
    pub max_event_bytes: usize,
    pub labels: Labels,
    pub schema_policy: Policy,
    pub key_retention_us: i64,
    pub track_keys: bool,
}

impl NewStream {
    /// A stream of that name with everything at its default.
    pub fn plain(name: StreamName) -> Self {
        Self {
            name,
            partitions: limits::PARTITIONS_DEFAULT,
            description: String::new(),
            retention: Retention { max_age_us: limits::RETENTION_SECONDS_DEFAULT * SECOND_US, max_bytes: 0 },
            max_event_bytes: limits::EVENT_BYTES_DEFAULT,
            labels: Labels::new(),
            schema_policy: Policy::default(),
            key_retention_us: limits::KEY_RETENTION_SECONDS_DEFAULT * SECOND_US,
            track_keys: false,
        }
    }
}

/// What to change of a stream; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct StreamChange {
    pub description: Option<String>,
    pub max_age_us: Option<i64>,
    pub max_bytes: Option<i64>,
    pub max_event_bytes: Option<usize>,
    pub labels: Option<Labels>,
    pub enforcement: Option<Enforcement>,
    pub compatibility: Option<Compatibility>,
    pub key_retention_us: Option<i64>,
}

/// Number of partitions; 0 is the default.
pub fn partitions(field: &str, wanted: u32) -> Result<u32> {
    let max = limits::PARTITIONS_MAX;
    match wanted {
        0 => Ok(limits::PARTITIONS_DEFAULT),
        _ if wanted > max => Err(Error::invalid(field, format!("must be 1 to {max}, it is {wanted}"))),
        _ => Ok(wanted),
    }
}

/// The number of partitions that a stream shall have, above what it has.
pub fn more_partitions(field: &str, present: u32, wanted: u32) -> Result<u32> {
    let max = limits::PARTITIONS_MAX;
    if wanted <= present || wanted > max {
        let description = format!("must be above the present {present} and at most {max}, it is {wanted}");
        return Err(Error::invalid(field, description));
    }
    Ok(wanted)
}

/// Bytes of the largest event; 0 is the default.
pub fn max_event_bytes(field: &str, wanted: u32) -> Result<usize> {
    let max = limits::EVENT_BYTES_MAX;
    match wanted as usize {
        0 => Ok(limits::EVENT_BYTES_DEFAULT),
        wanted if wanted > max => Err(Error::invalid(field, format!("must be 1 to {max} bytes, it is {wanted}"))),
        wanted => Ok(wanted),
    }
}

/// Age in microseconds: absent is the default, 0 is no limit.
pub fn max_age_us(field: &str, wanted: Option<i64>) -> Result<i64> {
    let days = limits::RETENTION_SECONDS_MAX / 86_400;
    match wanted {
        None => Ok(limits::RETENTION_SECONDS_DEFAULT * SECOND_US),
        Some(0) => Ok(0),
        Some(wanted) if !(SECOND_US..=limits::RETENTION_SECONDS_MAX * SECOND_US).contains(&wanted) => {
            Err(Error::invalid(field, format!("must be zero (no limit), or one second to {days} days")))
        }
        Some(wanted) => Ok(wanted),
    }
}

/// How long idempotency keys are kept, in microseconds: absent is the default, 0 is for ever.
pub fn key_retention_us(field: &str, wanted: Option<i64>) -> Result<i64> {
    let days = limits::RETENTION_SECONDS_MAX / 86_400;
    let range = limits::KEY_RETENTION_SECONDS_MIN * SECOND_US..=limits::RETENTION_SECONDS_MAX * SECOND_US;
    match wanted {
        None => Ok(limits::KEY_RETENTION_SECONDS_DEFAULT * SECOND_US),
        Some(0) => Ok(0),
        Some(wanted) if !range.contains(&wanted) => {
            Err(Error::invalid(field, format!("must be zero (for ever), or one minute to {days} days")))
        }
        Some(wanted) => Ok(wanted),
    }
}

/// Bytes a partition; 0 is no limit.
pub fn max_bytes(field: &str, wanted: u64) -> Result<i64> {
    i64::try_from(wanted).map_err(|_| Error::invalid(field, format!("must be at most {}, it is {wanted}", i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_the_default_and_the_limits_are_inclusive() {
        assert_eq!(partitions("p", 0).expect("default"), 8);
        assert_eq!(partitions("p", 1_024).expect("most"), 1_024);
        assert!(partitions("p", 1_025).is_err());
        assert_eq!(max_event_bytes("m", 0).expect("default"), 1_048_576);
        assert_eq!(max_event_bytes("m", 3_145_728).expect("most"), 3_145_728);
        assert!(max_event_bytes("m", 3_145_729).is_err());
        assert!(max_bytes("b", u64::MAX).is_err());
    }

    #[test]
    fn partitions_only_grow() {
        assert_eq!(more_partitions("p", 8, 9).expect("one more"), 9);
        for wanted in [0, 7, 8, 1_025] {
            assert!(more_partitions("p", 8, wanted).is_err(), "{wanted}");
        }
    }

    #[test]
    fn an_age_is_absent_none_or_within_a_second_and_a_century() {
        assert_eq!(max_age_us("a", None).expect("default"), 7 * 86_400 * SECOND_US);
        assert_eq!(max_age_us("a", Some(0)).expect("no limit"), 0);
        assert_eq!(max_age_us("a", Some(SECOND_US)).expect("least"), SECOND_US);
        for wanted in [-1, 1, SECOND_US - 1, i64::MAX] {
            assert!(max_age_us("a", Some(wanted)).is_err(), "{wanted}");
        }
    }
}
