//! Floor and head of a partition, and what lies outside of them.

use crate::domain::{Applied, Error, Reason, Result};

/// The first retained offset, and the next one to be assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub floor: i64,
    pub head: i64,
}

impl Bounds {
    /// Whether a reader may stand at `offset`; the head is a place to stand.
    pub fn check(self, partition: u32, offset: i64) -> Result<()> {
        if offset < self.floor {
            return Err(self.refusal(
                Reason::OffsetBelowFloor,
                partition,
                offset,
                "below the first retained offset",
                self.floor,
            ));
        }
        self.check_head(partition, offset)
    }

    /// Whether `offset` is not beyond the head.
    pub fn check_head(self, partition: u32, offset: i64) -> Result<()> {
        if offset > self.head {
            return Err(self.refusal(Reason::OffsetAboveHead, partition, offset, "above the next offset", self.head));
        }
        Ok(())
    }

    fn refusal(self, reason: Reason, partition: u32, offset: i64, place: &str, limit: i64) -> Error {
        Error::new(reason, format!("offset {offset} of partition {partition} is {place}, which is {limit}"))
            .fact("partition", partition)
            .fact("offset", offset)
            .fact("floor", self.floor)
            .fact("head", self.head)
            .applied(Applied::No)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_and_head_are_within_and_a_refusal_names_both() {
        let bounds = Bounds { floor: 5, head: 9 };
        for offset in 5..=9 {
            assert!(bounds.check(0, offset).is_ok());
        }
        for (offset, reason) in [(4, Reason::OffsetBelowFloor), (10, Reason::OffsetAboveHead)] {
            let error = bounds.check(3, offset).expect_err("outside");
            assert_eq!(error.reason(), reason);
            assert!(error.metadata().contains(&("floor", "5".into())), "{error:?}");
            assert!(error.metadata().contains(&("head", "9".into())), "{error:?}");
        }
        assert!(bounds.check_head(0, 0).is_ok());
    }
}
