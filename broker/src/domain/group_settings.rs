//! What a consumer group may be set to.

use crate::domain::filter::Filter;
use crate::domain::group::{DeliveryMode, OnTruncated};
use crate::domain::ids::{GroupName, StreamName};
use crate::domain::labels::Labels;
use crate::domain::retry::{OnFailure, RetryPolicy};
use crate::domain::{Error, Result, limits};

/// Where a group starts in every partition; resolved to offsets when it is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Earliest,
    Latest,
    /// Microseconds since 1970, database time.
    Time(i64),
}

/// A group to be made.
#[derive(Clone, Debug)]
pub struct NewGroup {
    pub name: GroupName,
    pub stream: StreamName,
    pub description: String,
    pub mode: DeliveryMode,
    pub key_order: bool,
    pub ack_timeout_ms: i64,
    pub retry: RetryPolicy,
    pub on_failure: OnFailure,
    pub on_truncated: OnTruncated,
    pub drain_ms: i64,
    pub filter: Option<Filter>,
    pub labels: Labels,
    pub start: Start,
}

/// What to change of a group; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct GroupChange {
    pub description: Option<String>,
    pub ack_timeout_ms: Option<i64>,
    pub retry: Option<RetryPolicy>,
    pub on_failure: Option<OnFailure>,
    pub on_truncated: Option<OnTruncated>,
    pub drain_ms: Option<i64>,
    /// `Some(None)` takes it away.
    pub filter: Option<Option<Filter>>,
    pub labels: Option<Labels>,
}

/// Drain in milliseconds; absent is the default, 0 is none.
pub fn drain_ms(field: &str, wanted: Option<i64>) -> Result<i64> {
    let max = limits::DRAIN_MS_MAX;
    match wanted {
        None => Ok(limits::DRAIN_MS_DEFAULT),
        Some(wanted) if !(0..=max).contains(&wanted) => {
            Err(Error::invalid(field, format!("must be 0 to {} seconds", max / 1_000)))
        }
        Some(wanted) => Ok(wanted),
    }
}

/// Ack timeout in milliseconds; absent is the default.
pub fn ack_timeout_ms(field: &str, wanted: Option<i64>) -> Result<i64> {
    let range = limits::ACK_TIMEOUT_MS_MIN..=limits::ACK_TIMEOUT_MS_MAX;
    match wanted {
        None => Ok(limits::ACK_TIMEOUT_MS_DEFAULT),
        Some(wanted) if range.contains(&wanted) => Ok(wanted),
        Some(_) => {
            let text = format!("must be {} to {} seconds", range.start() / 1_000, range.end() / 1_000);
            Err(Error::invalid(field, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ack_timeout_is_bounded() {
        assert_eq!(ack_timeout_ms("a", None).expect("default"), 30_000);
        assert_eq!(ack_timeout_ms("a", Some(1_000)).expect("shortest"), 1_000);
        assert!(ack_timeout_ms("a", Some(999)).is_err());
        assert!(ack_timeout_ms("a", Some(3_600_001)).is_err());
    }

    #[test]
    fn a_drain_is_bounded() {
        assert_eq!(drain_ms("d", None).expect("default"), 10_000);
        assert_eq!(drain_ms("d", Some(0)).expect("none"), 0);
        assert_eq!(drain_ms("d", Some(300_000)).expect("longest"), 300_000);
        assert!(drain_ms("d", Some(300_001)).is_err());
        assert!(drain_ms("d", Some(-1)).is_err());
    }
}
