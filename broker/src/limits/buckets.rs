//! Buckets in memory, and what of them the other brokers do not know yet.
//!
//! Times are nanoseconds of this broker's clock since boot, and so is what is spent: the time in which it flows back.

use super::Owner;
use crate::domain::quota::{Quota, Scope, take};
use std::collections::HashMap;
use std::time::Duration;

/// Buckets that are remembered before full ones are forgotten.
const SWEPT: usize = 10_000;

pub(super) type Key = (Owner, Quota);

/// What somebody wants from a bucket.
#[derive(Debug)]
pub(super) struct Cost {
    pub(super) bucket: Key,
    pub(super) scope: Scope,
    /// Units a second.
    pub(super) limit: u64,
    pub(super) units: u64,
}

#[derive(Default)]
struct Bucket {
    /// When it is full again, as far as this broker knows.
    full_at: u64,
    /// What was taken here since the others were told.
    untold: u64,
    /// Whether it waits in `asked`.
    asked: bool,
}

/// All buckets of a broker.
#[derive(Default)]
pub(super) struct Buckets {
    all: HashMap<Key, Bucket>,
    /// Those that somebody wanted something of since they were compared; empty unless they are shared.
    asked: Vec<Key>,
    shared: bool,
}

/// What was taken from a bucket since the last report, in microseconds of flow.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) bucket: Key,
    pub(super) spent_us: u64,
}

impl Buckets {
    /// From now on it is remembered what others should know.
    pub(super) fn share(&mut self) {
        self.shared = true;
    }

    /// All of the costs, or none of them; the refusal says which, and how long to wait.
    pub(super) fn take<'a>(&mut self, costs: &'a [Cost], now: u64) -> Result<(), (&'a Cost, Duration)> {
        if self.all.len() > SWEPT {
            self.all.retain(|_, bucket| bucket.asked || bucket.full_at > now);
        }
        let mut taken = Vec::with_capacity(costs.len());
        for cost in costs {
            let full_at = self.all.get(&cost.bucket).map(|bucket| bucket.full_at).unwrap_or_default();
            match take(full_at, now, cost.units, cost.limit) {
                Ok(next) => taken.push((next, next - full_at.max(now))),
                Err(wait) => {
                    // What others have taken may be why, or may have flowed back.
                    self.ask(&cost.bucket);
                    return Err((cost, wait));
                }
            }
        }
        for (cost, (full_at, spent)) in costs.iter().zip(taken) {
            let bucket = self.all.entry(cost.bucket.clone()).or_default();
            bucket.full_at = full_at;
            if self.shared {
                bucket.untold = bucket.untold.saturating_add(spent);
                self.ask(&cost.bucket);
            }
        }
        Ok(())
    }

    /// Whether there is something to compare.
    pub(super) fn is_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// What others should know, of so many buckets at most. Who takes it tells it once, or never.
    pub(super) fn reports(&mut self, at_most: usize) -> Vec<Report> {
        let count = self.asked.len().min(at_most);
        let told = self.asked.drain(..count);
        told.filter_map(|key| {
            let bucket = self.all.get_mut(&key)?;
            bucket.asked = false;
            let spent_us = bucket.untold / 1_000;
            bucket.untold -= spent_us * 1_000;
            Some(Report { bucket: key, spent_us })
        })
        .collect()
    }

    /// What all brokers together have taken: the microseconds until each bucket of the reports is full again.
    pub(super) fn learn(&mut self, reports: &[Report], left_us: &[u64], now: u64) {
        for (report, left_us) in reports.iter().zip(left_us) {
            let Some(bucket) = self.all.get_mut(&report.bucket) else { continue };
            let known = now.saturating_add(left_us.saturating_mul(1_000)).saturating_add(bucket.untold);
            // Never earlier than what is known here: a Redis that has forgotten gives nothing back.
            bucket.full_at = bucket.full_at.max(known);
        }
    }

    /// What was taken while nobody could be told is history: it holds back whoever took it here, and nobody elsewhere.
    pub(super) fn forget_untold(&mut self) {
        self.all.values_mut().for_each(|bucket| bucket.untold = 0);
    }

    fn ask(&mut self, key: &Key) {
        let Some(bucket) = self.all.get_mut(key).filter(|bucket| self.shared && !bucket.asked) else { return };
        bucket.asked = true;
        self.asked.push(key.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::OrganizationId;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    fn cost(units: u64, limit: u64) -> Cost {
        let bucket = (Owner::Organization(OrganizationId(1)), Quota::EventsPerSecond);
        Cost { bucket, scope: Scope::Organization, limit, units }
    }

    /// As the script in Redis, for one bucket.
    #[derive(Default)]
    struct Shared {
        full_at_us: u64,
    }

    impl Shared {
        fn compare(&mut self, buckets: &mut Buckets, now: u64) {
            let reports = buckets.reports(10);
            let now_us = now / 1_000;
            let left: Vec<u64> = reports
                .iter()
                .map(|report| {
                    self.full_at_us = self.full_at_us.max(now_us) + report.spent_us;
                    self.full_at_us - now_us
                })
                .collect();
            buckets.learn(&reports, &left, now);
        }
    }

    fn two() -> [Buckets; 2] {
        let mut two = [Buckets::default(), Buckets::default()];
        two.iter_mut().for_each(Buckets::share);
        two
    }

    #[test]
    fn what_one_broker_has_let_through_another_refuses() {
        let ([mut one, mut other], mut shared) = (two(), Shared::default());
        one.take(&[cost(10, 10)], SECOND).expect("a second's worth");
        shared.compare(&mut one, SECOND);
        other.take(&[cost(1, 10)], SECOND).expect("it has not heard");
        shared.compare(&mut other, SECOND);
        let (_, wait) = other.take(&[cost(1, 10)], SECOND).expect_err("now it has");
        assert_eq!(wait, Duration::from_millis(200), "the one that was too much is owed first");
        assert!(other.take(&[cost(1, 10)], SECOND + 200_000_000).is_ok());
    }

    #[test]
    fn a_redis_that_has_forgotten_gives_nothing_back() {
        let ([mut one, _], mut shared) = (two(), Shared::default());
        one.take(&[cost(10, 10)], SECOND).expect("a second's worth");
        shared.compare(&mut one, SECOND);
        shared = Shared::default();
        one.take(&[cost(1, 10)], SECOND).expect_err("empty");
        shared.compare(&mut one, SECOND);
        one.take(&[cost(1, 10)], SECOND).expect_err("still");
    }

    #[test]
    fn what_nobody_could_be_told_is_not_told_later() {
        let ([mut one, mut other], mut shared) = (two(), Shared::default());
        for second in 1..100 {
            one.take(&[cost(10, 10)], second * SECOND).expect("its own limit");
        }
        one.forget_untold();
        shared.compare(&mut one, 100 * SECOND);
        other.take(&[cost(10, 10)], 100 * SECOND).expect("nothing is owed");
        shared.compare(&mut other, 100 * SECOND);
        assert!(other.take(&[cost(1, 10)], 101 * SECOND).is_ok(), "but for the usual");
    }

    #[test]
    fn a_refusal_tells_nothing_and_asks_for_news() {
        let [mut one, _] = two();
        one.take(&[cost(10, 10)], SECOND).expect("a second's worth");
        let first = one.reports(10);
        assert_eq!((first.len(), first[0].spent_us), (1, 1_000_000));
        one.take(&[cost(1, 10)], SECOND).expect_err("empty");
        assert!(one.is_asked());
        assert_eq!(one.reports(10)[0].spent_us, 0);
        assert!(!one.is_asked());
    }

    #[test]
    fn what_is_not_shared_is_not_remembered_for_others() {
        let mut alone = Buckets::default();
        alone.take(&[cost(10, 10)], SECOND).expect("a second's worth");
        alone.take(&[cost(1, 10)], SECOND).expect_err("empty");
        assert!(!alone.is_asked() && alone.reports(10).is_empty());
    }

    proptest! {
        /// However calls fall on brokers that compare every 10 ms: together never more than the rate, one reserve, and for each
        /// further broker one more, which is owed.
        #[test]
        fn what_all_take_is_bounded(
            calls in prop::collection::vec((0usize..3, 0u64..20_000_000, 1u64..10), 1..400),
            rate in 10u64..200,
        ) {
            let mut brokers = [Buckets::default(), Buckets::default(), Buckets::default()];
            brokers.iter_mut().for_each(Buckets::share);
            let (mut shared, mut now, mut compared, mut taken) = (Shared::default(), SECOND, SECOND, 0);
            for (broker, pause, units) in calls {
                now += pause;
                if now - compared >= 10_000_000 {
                    compared = now;
                    brokers.iter_mut().for_each(|buckets| shared.compare(buckets, now));
                }
                if brokers[broker].take(&[cost(units, rate)], now).is_ok() {
                    taken += units;
                }
            }
            let seconds = (now - SECOND) as f64 / SECOND as f64;
            prop_assert!(taken as f64 <= rate as f64 * (seconds + 3.0 + 0.1) + 30.0, "{taken} in {seconds} s");
        }
    }
}
