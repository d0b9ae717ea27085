//! What a pool asks for when it looks for retries that are due: once it has found all of them, only for what fell due since. Pure.
//!
//! Whatever makes a retry free to be taken sets its time to that moment, so nothing older appears but for what was written by a
//! transaction that took longer than [`LATE_MS`] to end, or was held by one that ended in nothing. For those everything is looked at now and then.

use crate::domain::ids::PartitionId;

/// How much further back than the last look a look goes.
const LATE_MS: u64 = 1_000;
/// Between looks at everything.
const WHOLE_MS: u64 = 15_000;

/// One look. Times are milliseconds since boot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Look {
    at_ms: u64,
    /// Only what fell due within so many milliseconds; None: everything.
    pub within_ms: Option<u64>,
    /// None: all.
    pub partitions: Option<Vec<PartitionId>>,
}

/// The looks that found everything there was.
#[derive(Debug, Default)]
pub(super) struct Looks {
    partitions: Option<Vec<PartitionId>>,
    last_ms: u64,
    /// None: everything is to be looked at.
    whole_ms: Option<u64>,
}

impl Looks {
    /// The next look at these partitions.
    pub fn next(&self, now: u64, partitions: Option<Vec<PartitionId>>) -> Look {
        let is_recent = self.whole_ms.is_some_and(|whole| now < whole + WHOLE_MS) && partitions == self.partitions;
        let within_ms = is_recent.then(|| now.saturating_sub(self.last_ms) + LATE_MS);
        Look { at_ms: now, within_ms, partitions }
    }

    /// What came of it. A look that left something behind is made again as it was.
    pub fn took(&mut self, look: Look, is_all: bool) {
        if !is_all {
            return;
        }
        if look.within_ms.is_none() {
            self.whole_ms = Some(look.at_ms);
        }
        (self.last_ms, self.partitions) = (look.at_ms, look.partitions);
    }

    /// Everything is to be looked at next.
    pub fn start_anew(&mut self) {
        self.whole_ms = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_look_at_everything_only_what_came_since_is_asked_for() {
        let mut looks = Looks::default();
        let look = looks.next(50_000, None);
        assert_eq!(look.within_ms, None);
        looks.took(look, true);
        let look = looks.next(50_400, None);
        assert_eq!(look.within_ms, Some(400 + LATE_MS));
        looks.took(look, true);
        assert_eq!(looks.next(50_500, None).within_ms, Some(100 + LATE_MS));
    }

    #[test]
    fn what_a_look_left_behind_is_within_the_next_one() {
        let mut looks = Looks::default();
        looks.took(looks.next(1_000, None), false);
        assert_eq!(looks.next(1_100, None).within_ms, None);
        looks.took(looks.next(1_200, None), true);
        looks.took(looks.next(1_300, None), false);
        assert_eq!(looks.next(2_200, None).within_ms, Some(1_000 + LATE_MS));
    }

    #[test]
    fn everything_is_looked_at_now_and_then_and_where_the_partitions_are_others() {
        let mut looks = Looks::default();
        let some = || Some(vec![PartitionId(1)]);
        looks.took(looks.next(1_000, some()), true);
        assert!(looks.next(1_100, some()).within_ms.is_some());
        assert_eq!(looks.next(1_100, Some(Vec::new())).within_ms, None);
        assert_eq!(looks.next(1_000 + WHOLE_MS, some()).within_ms, None);
        looks.start_anew();
        assert_eq!(looks.next(1_100, some()).within_ms, None);
    }
}
