//! How much a member may hold at a time, learnt from how long it holds things. Pure.
//!
//! A member that settles events quickly gets more of them, one that takes long gets fewer, down to one: what it does not hold,
//! others can take.

/// Where a member starts.
const START: u64 = 16;
/// A member that settles everything within this much of the ack timeout gets twice as much, at most after this time.
const QUICK: (u64, u64) = (8, 500);
/// One that takes longer than this gets half.
const SLOW: (u64, u64) = (4, 2_000);

#[derive(Debug)]
pub struct Pace {
    limit: u64,
    max: u64,
    quick_ms: u64,
    slow_ms: u64,
    /// Events that are still to be settled before the limit moves, and the longest that one of this round was held.
    left: u64,
    held_ms: u64,
}

impl Pace {
    pub fn new(max: u64, ack_timeout_ms: u64) -> Self {
        let part = |(part, most): (u64, u64)| (ack_timeout_ms / part).min(most);
        let limit = START.min(max);
        Self { limit, max, quick_ms: part(QUICK), slow_ms: part(SLOW), left: limit, held_ms: 0 }
    }

    /// Events that the member may hold.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// The member settled events that it had held for so long.
    pub fn settled(&mut self, events: u64, held_ms: u64) {
        self.held_ms = self.held_ms.max(held_ms);
        self.left = self.left.saturating_sub(events);
        if self.left > 0 {
            return;
        }
        if self.held_ms <= self.quick_ms {
            self.limit = (self.limit * 2).min(self.max);
        } else if self.held_ms > self.slow_ms {
            self.limit = (self.limit / 2).max(1);
        }
        (self.left, self.held_ms) = (self.limit, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_member_gets_ever_more_up_to_its_window() {
        let mut pace = Pace::new(1_000, 30_000);
        let mut limits = Vec::new();
        for _ in 0..8 {
            limits.push(pace.limit());
            pace.settled(pace.limit(), 40);
        }
        assert_eq!(limits, [16, 32, 64, 128, 256, 512, 1_000, 1_000]);
    }

    #[test]
    fn a_slow_member_gets_ever_fewer_down_to_one() {
        let mut pace = Pace::new(1_000, 30_000);
        for _ in 0..200 {
            pace.settled(1, 5_000);
        }
        assert_eq!(pace.limit(), 1);
        (0..40).for_each(|_| pace.settled(1, 1));
        assert!(pace.limit() >= 8, "and it recovers");
    }

    #[test]
    fn what_is_held_stays_well_within_a_short_deadline() {
        let mut pace = Pace::new(100_000, 1_000);
        // A member that takes 5 ms for each, one after the other: the last of a full hand waits for all.
        for _ in 0..200 {
            let hand = pace.limit();
            pace.settled(hand, hand * 5);
        }
        assert!(pace.limit() * 5 < 500, "{}", pace.limit());
    }

    #[test]
    fn a_window_of_one_stays_one() {
        let mut pace = Pace::new(1, 30_000);
        pace.settled(1, 1);
        assert_eq!(pace.limit(), 1);
    }
}
