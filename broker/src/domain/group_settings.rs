//! What a consumer group may be set to.

use crate::domain::group::OnTruncated;
use crate::domain::ids::{GroupName, StreamName};
use crate::domain::labels::Labels;
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
    pub on_truncated: OnTruncated,
    pub drain_ms: i64,
    pub labels: Labels,
    pub start: Start,
}

/// What to change of a group; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct GroupChange {
    pub description: Option<String>,
    pub on_truncated: Option<OnTruncated>,
    pub drain_ms: Option<i64>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_is_bounded() {
        assert_eq!(drain_ms("d", None).expect("default"), 10_000);
        assert_eq!(drain_ms("d", Some(0)).expect("none"), 0);
        assert_eq!(drain_ms("d", Some(300_000)).expect("longest"), 300_000);
        assert!(drain_ms("d", Some(300_001)).is_err());
        assert!(drain_ms("d", Some(-1)).is_err());
    }
}
