//! How much of what is looked at matches the group's filter. Pure.

use crate::delivery::picking::LOOKS_MAX;

/// Looks that are remembered, about.
const MEMORY: u64 = 4_096;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sieve {
    looked: u64,
    matching: u64,
    /// Looks since the pool last heard what else there is.
    looks: u64,
}

impl Sieve {
    pub fn saw(&mut self, looked: u64, matching: u64) {
        self.looks += looked;
        self.looked += looked;
        self.matching += matching;
        while self.looked > MEMORY {
            self.looked /= 2;
            self.matching /= 2;
        }
    }

    /// How many events of the log have so many that match, by what was seen lately.
    pub fn events_for(&self, matching: u64) -> u64 {
        if self.looked == 0 { matching } else { matching.saturating_mul(self.looked) / self.matching.max(1) }
    }

    /// Whether others should get their turn.
    pub fn is_tired(&self) -> bool {
        self.looks >= LOOKS_MAX as u64
    }

    pub fn rest(&mut self) {
        self.looks = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fewer_match_the_more_are_needed() {
        let mut sieve = Sieve::default();
        assert_eq!(sieve.events_for(16), 16);
        sieve.saw(100, 1);
        assert_eq!(sieve.events_for(16), 1_600);
        assert_eq!(sieve.events_for(0), 0);
        sieve.saw(1_000, 0);
        assert!(sieve.events_for(16) > 10_000);
        // What was seen long ago is forgotten.
        (0..20).for_each(|_| sieve.saw(4_096, 4_096));
        assert_eq!(sieve.events_for(16), 16);
    }

    #[test]
    fn after_many_looks_others_get_their_turn() {
        let mut sieve = Sieve::default();
        sieve.saw(LOOKS_MAX as u64, 0);
        assert!(sieve.is_tired());
        sieve.rest();
        assert!(!sieve.is_tired());
    }
}
