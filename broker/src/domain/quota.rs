//! What an organization or one of its credentials may use, and the arithmetic of rates.

use crate::domain::{Applied, Error, Reason};
use std::time::Duration;

/// Declares every quota once: its name, as operators and errors say it, and what it bounds.
macro_rules! quotas {
    ($($variant:ident = $name:literal, $meaning:literal;)*) => {
        /// Something that can be limited.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Quota { $(#[doc = $meaning] $variant,)* }

        impl Quota {
            pub const ALL: &'static [Quota] = &[$(Quota::$variant,)*];

            /// Such as `events_per_second`.
            pub fn name(self) -> &'static str {
                match self { $(Quota::$variant => $name,)* }
            }
        }
    };
}

quotas! {
    RequestsPerSecond = "requests_per_second", "Calls begun a second, of every method that needs a credential.";
    EventsPerSecond = "events_per_second", "Events published a second.";
    BytesPerSecond = "bytes_per_second", "Bytes of events published a second.";
    OpenStreams = "open_streams", "Streaming calls open at the same time at one broker.";
    Streams = "streams", "Streams of the organization.";
    Partitions = "partitions", "Partitions of all its streams together.";
    Groups = "groups", "Its consumer groups.";
    StoredBytes = "stored_bytes", "Bytes of retained events of all its streams.";
}

impl Quota {
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|quota| quota.name() == name)
    }

    /// What is counted.
    pub fn unit(self) -> &'static str {
        match self {
            Self::RequestsPerSecond => "calls a second",
            Self::EventsPerSecond => "events a second",
            Self::BytesPerSecond => "bytes a second",
            Self::OpenStreams => "streaming calls",
            Self::Streams => "streams",
            Self::Partitions => "partitions",
            Self::Groups => "consumer groups",
            Self::StoredBytes => "stored bytes",
        }
    }

    /// Whether it may be set for one credential; the others speak of what belongs to the organization.
    pub fn is_of_credentials(self) -> bool {
        matches!(self, Self::RequestsPerSecond | Self::EventsPerSecond | Self::BytesPerSecond | Self::OpenStreams)
    }
}

/// Limits by quota. What is not set is not limited.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quotas([Option<u64>; Quota::ALL.len()]);

impl Quotas {
    pub fn get(&self, quota: Quota) -> Option<u64> {
        self.0[quota as usize]
    }

    pub fn set(&mut self, quota: Quota, limit: Option<u64>) {
        self.0[quota as usize] = limit;
    }
}

/// Whose limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    Organization,
    Credential,
}

impl Scope {
    pub fn name(self) -> &'static str {
        match self {
            Self::Organization => "organization",
            Self::Credential => "credential",
        }
    }
}

/// Takes `cost` units from a bucket that refills with `per_second` units and holds those of one second: the generic cell rate
/// algorithm, whose whole state is `full_at`, the time at which the bucket is full again. Times are nanoseconds of any clock.
///
/// Answers the new `full_at`, or how long to wait. A cost above a whole bucket is taken from a full one, which then owes.
pub fn take(full_at: u64, now: u64, cost: u64, per_second: u64) -> Result<u64, Duration> {
    const SECOND: u128 = 1_000_000_000;
    if per_second == 0 {
        // Nothing is allowed, ever; the pause keeps clients from asking all the time.
        return Err(Duration::from_secs(60));
    }
    let spent = full_at.saturating_sub(now);
    let needed = u128::from(cost) * SECOND / u128::from(per_second);
    // What is asked for beyond what the bucket holds, debts included, has to flow in first.
    let missing = (u128::from(spent) + needed.min(SECOND)).saturating_sub(SECOND);
    if missing > 0 {
        return Err(Duration::from_nanos(u64::try_from(missing).unwrap_or(u64::MAX)));
    }
    Ok(now.max(full_at).saturating_add(u64::try_from(needed).unwrap_or(u64::MAX)))
}

/// Too much a second.
pub fn rate_limited(quota: Quota, scope: Scope, limit: u64, wait: Duration) -> Error {
    let message =
        format!("this {} may use {limit} {} (`{}`); wait, then go on", scope.name(), quota.unit(), quota.name());
    Error::new(Reason::RateLimited, message)
        .fact("quota", quota.name())
        .fact("scope", scope.name())
        .fact("limit", limit)
        .retry_after(wait.max(Duration::from_millis(1)))
        .applied(Applied::No)
}

/// As many, or as much, as there may be.
pub fn quota_exceeded(quota: Quota, scope: Scope, limit: u64, used: u64) -> Error {
    let message =
        format!("this {} has {used} {} and may have {limit} (`{}`)", scope.name(), quota.unit(), quota.name());
    Error::new(Reason::QuotaExceeded, message)
        .fact("quota", quota.name())
        .fact("scope", scope.name())
        .fact("limit", limit)
        .fact("used", used)
        .applied(Applied::No)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_bucket_holds_a_second_and_refills() {
        let mut full_at = 0;
        for _ in 0..10 {
            full_at = take(full_at, 5 * SECOND, 1, 10).expect("a full bucket holds ten");
        }
        let wait = take(full_at, 5 * SECOND, 1, 10).expect_err("empty");
        assert_eq!(wait, Duration::from_millis(100));
        assert!(take(full_at, 5 * SECOND + 100_000_000, 1, 10).is_ok(), "after that long there is one");
    }

    #[test]
    fn what_costs_more_than_a_bucket_is_taken_from_a_full_one_which_then_owes() {
        let full_at = take(0, SECOND, 100, 10).expect("from a full bucket");
        assert_eq!(full_at, 11 * SECOND, "ten seconds of debt");
        assert!(take(full_at, 9 * SECOND, 1, 10).is_err());
        assert!(take(full_at, 10 * SECOND, 1, 10).is_err());
        assert!(take(full_at, 10 * SECOND + SECOND / 10, 1, 10).is_ok());
        assert!(take(full_at, 10 * SECOND, 100, 10).is_err(), "another one needs a full bucket");
    }

    #[test]
    fn a_limit_of_nothing_allows_nothing() {
        assert!(take(0, SECOND, 1, 0).is_err());
    }

    #[test]
    fn every_quota_has_its_name() {
        for quota in Quota::ALL {
            assert_eq!(Quota::parse(quota.name()), Some(*quota));
        }
        assert_eq!(Quota::parse("wishes"), None);
    }

    proptest! {
        /// Whatever the pattern of calls: never more than the rate and one bucket, but for the one cost that overdraws.
        #[test]
        fn what_is_taken_is_bounded(calls in prop::collection::vec((0u64..SECOND, 1u64..30), 1..200), rate in 1u64..50) {
            let (mut full_at, mut now, mut taken, mut largest) = (0, SECOND, 0, 0);
            let start = now;
            for (pause, cost) in calls {
                now += pause;
                if let Ok(next) = take(full_at, now, cost, rate) {
                    full_at = next;
                    taken += cost;
                    largest = largest.max(cost);
                }
            }
            let seconds = (now - start) as f64 / SECOND as f64;
            prop_assert!(taken as f64 <= rate as f64 * (seconds + 1.0) + largest as f64 + 1.0);
        }

        /// Who waits as long as it was told is let in.
        #[test]
        fn the_wait_that_is_told_suffices(spent in 0u64..(20 * SECOND), cost in 1u64..1_000, rate in 1u64..1_000) {
            let now = SECOND;
            if let Err(wait) = take(now + spent, now, cost, rate) {
                prop_assert!(take(now + spent, now + wait.as_nanos() as u64, cost, rate).is_ok());
            }
        }
    }
}
