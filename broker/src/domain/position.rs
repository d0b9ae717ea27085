//! Offsets and log epochs. An offset is `log epoch * 2^40 + n`, so none is ever used twice, whatever the database goes through.

use crate::domain::limits::LOG_EPOCH_BITS;

/// Raised when the database has failed over or been restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogEpoch(pub i64);

impl LogEpoch {
    /// The first offset of this epoch.
    pub fn first_offset(self) -> i64 {
        self.0 << LOG_EPOCH_BITS
    }

    /// The epoch that an offset belongs to.
    pub fn of(offset: i64) -> Self {
        Self(offset >> LOG_EPOCH_BITS)
    }
}

/// The right to consume a partition, as the pair that fences: a holder of an older pair changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fence {
    pub log_epoch: i64,
    pub lease_epoch: i64,
}

/// Where a reader starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    Earliest,
    Latest,
    Offset(i64),
    /// Microseconds since 1970, database time.
    Time(i64),
}

/// Whether a row that starts at `next` follows one that ended at `end` without a hole.
///
/// The jump from the last row of one log epoch to the first row of a later one is not a hole: rows of a later epoch start
/// at its first offset.
pub fn follows(end: i64, next: i64) -> bool {
    next == end || (next > end && next == LogEpoch::of(next).first_offset())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_log_epoch_is_not_a_hole_but_everything_else_is() {
        let epoch_2 = LogEpoch(2).first_offset();
        assert!(follows(7, 7));
        assert!(follows(7, epoch_2));
        assert!(!follows(7, 8));
        assert!(!follows(7, 6));
        assert!(!follows(7, epoch_2 + 1));
        assert_eq!(LogEpoch::of(epoch_2 + 5), LogEpoch(2));
    }
}
