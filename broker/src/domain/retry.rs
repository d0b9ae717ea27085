//! What becomes of an event that was not processed: tried again later, or given up. Pure decisions.

use crate::domain::{Error, Result, limits};

/// What an ordered group does when an event fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Try it again in place; what stands behind it in its partition waits.
    Block,
    /// Go on, and try it again later.
    Skip,
    /// Go on, and make it a dead letter at once.
    DeadLetter,
}

impl OnFailure {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Block => "block",
            Self::Skip => "skip",
            Self::DeadLetter => "dead_letter",
        }
    }

    /// The reverse of [`as_str`](Self::as_str); what the schema does not know is the default.
    pub fn parse(text: &str) -> Self {
        match text {
            "skip" => Self::Skip,
            "dead_letter" => Self::DeadLetter,
            _ => Self::Block,
        }
    }
}

/// How often an event is tried, and how long it waits between: exponential back-off with full jitter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryPolicy {
    pub initial_ms: i64,
    pub multiplier: f64,
    pub max_ms: i64,
    /// Failed attempts after which the event is a dead letter.
    pub max_attempts: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            initial_ms: limits::RETRY_INITIAL_MS_DEFAULT,
            multiplier: limits::RETRY_MULTIPLIER_DEFAULT,
            max_ms: limits::RETRY_MAX_MS_DEFAULT,
            max_attempts: limits::ATTEMPTS_DEFAULT,
        }
    }
}

/// What a user sets of a policy; `None` is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RetryChoice {
    pub initial_ms: Option<i64>,
    pub multiplier: Option<f64>,
    pub max_ms: Option<i64>,
    pub max_attempts: Option<u32>,
}

impl RetryPolicy {
    /// Checks what was chosen; `field` is the policy's path in the request.
    pub fn choose(field: &str, choice: RetryChoice) -> Result<Self> {
        let default = Self::default();
        let initial_ms = choice.initial_ms.unwrap_or(default.initial_ms);
        let range = limits::RETRY_INITIAL_MS_MIN..=limits::RETRY_INITIAL_MS_MAX;
        if !range.contains(&initial_ms) {
            let text = format!("must be {} ms to {} s", range.start(), range.end() / 1_000);
            return Err(Error::invalid(format!("{field}.initial_backoff"), text));
        }
        let multiplier = choice.multiplier.unwrap_or(default.multiplier);
        if !(1.0..=limits::RETRY_MULTIPLIER_MAX).contains(&multiplier) {
            let text = format!("must be 1 to {}", limits::RETRY_MULTIPLIER_MAX);
            return Err(Error::invalid(format!("{field}.multiplier"), text));
        }
        // A longer first wait alone is no mistake: the longest follows it.
        let max_ms = choice.max_ms.unwrap_or(default.max_ms.max(initial_ms));
        if !(initial_ms..=limits::RETRY_MAX_MS_MAX).contains(&max_ms) {
            let text =
                format!("must be at least the initial back-off and at most {} s", limits::RETRY_MAX_MS_MAX / 1_000);
            return Err(Error::invalid(format!("{field}.max_backoff"), text));
        }
        let max_attempts = choice.max_attempts.unwrap_or(default.max_attempts);
        if !(1..=limits::ATTEMPTS_MAX).contains(&max_attempts) {
            return Err(Error::invalid(
                format!("{field}.max_attempts"),
                format!("must be 1 to {}", limits::ATTEMPTS_MAX),
            ));
        }
        Ok(Self { initial_ms, multiplier, max_ms, max_attempts })
    }

    /// The longest wait after so many failed attempts.
    pub fn ceiling_ms(&self, attempts: u32) -> i64 {
        let power = self.multiplier.powf(f64::from(attempts.saturating_sub(1)));
        // A float that is too large for an integer becomes the largest.
        ((self.initial_ms as f64 * power) as i64).clamp(0, self.max_ms)
    }

    /// The wait after so many failed attempts: full jitter, `random` is uniform.
    pub fn delay_ms(&self, attempts: u32, random: u64) -> i64 {
        let ceiling = self.ceiling_ms(attempts).unsigned_abs();
        (random % (ceiling + 1)).cast_signed()
    }
}

/// Why an attempt counts as failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The member said so; it may wish for a wait of its own, in milliseconds.
    Nack { delay_ms: Option<i64> },
    /// The member said that trying again is of no use.
    GivenUp,
    /// Its deadline passed.
    Expired,
    /// The member's stream ended without a leave.
    StreamLost,
}

/// Where an event stands before an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    /// Failed attempts so far.
    pub failed: u32,
    /// All of them because a stream was lost: the event may be innocent of it. Without meaning while none failed.
    pub lost_only: bool,
    /// This attempt is the event's alone: its member has nothing else.
    pub alone: bool,
}

/// What happens after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Retry { delay_ms: i64, lost_only: bool, alone: bool },
    DeadLetter,
}

/// Decides. An event that only lost streams have charged is tried alone once more before it is given up: a member that crashed took
/// everything that it held with it.
pub fn decide(policy: &RetryPolicy, tries: Tries, cause: &Cause, random: u64) -> Fate {
    let failed = tries.failed + 1;
    let lost_only = *cause == Cause::StreamLost && (tries.failed == 0 || tries.lost_only);
    let wished = match cause {
        Cause::GivenUp => return Fate::DeadLetter,
        Cause::Nack { delay_ms } => *delay_ms,
        Cause::Expired | Cause::StreamLost => None,
    };
    let exhausted = failed >= policy.max_attempts;
    let last_chance = exhausted && lost_only && !tries.alone;
    if exhausted && !last_chance {
        return Fate::DeadLetter;
    }
    let delay_ms = wished.unwrap_or_else(|| policy.delay_ms(failed, random));
    Fate::Retry { delay_ms, lost_only, alone: last_chance }
}

/// What a failure is put down to, by whoever had the event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Why {
    pub reason: String,
    pub error_class: String,
    /// Of the trace in which it failed, 32 hexadecimal digits; empty: not said.
    pub trace_id: String,
}

impl Why {
    /// Without a trace.
    pub fn new(reason: impl Into<String>, error_class: impl Into<String>) -> Self {
        Self { reason: reason.into(), error_class: error_class.into(), trace_id: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(max_attempts: u32) -> RetryPolicy {
        RetryPolicy { initial_ms: 100, multiplier: 2.0, max_ms: 1_000, max_attempts }
    }

    fn tries(failed: u32) -> Tries {
        Tries { failed, ..Tries::default() }
    }

    #[test]
    fn the_wait_doubles_up_to_the_longest() {
        let ceilings: Vec<i64> = (1..=6).map(|attempts| policy(9).ceiling_ms(attempts)).collect();
        assert_eq!(ceilings, [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(policy(9).ceiling_ms(u32::MAX), 1_000, "no overflow");
    }

    #[test]
    fn an_event_is_a_dead_letter_after_exactly_the_attempts_allowed() {
        let nack = Cause::Nack { delay_ms: None };
        for failed in 0..4 {
            assert!(matches!(decide(&policy(5), tries(failed), &nack, 7), Fate::Retry { .. }), "{failed}");
        }
        assert_eq!(decide(&policy(5), tries(4), &nack, 7), Fate::DeadLetter);
        assert_eq!(decide(&policy(1), tries(0), &Cause::Expired, 7), Fate::DeadLetter);
    }

    #[test]
    fn a_member_may_wish_for_a_wait_or_give_up() {
        let wish = Cause::Nack { delay_ms: Some(5_000) };
        let fate = decide(&policy(5), tries(0), &wish, 7);
        assert_eq!(fate, Fate::Retry { delay_ms: 5_000, lost_only: false, alone: false });
        assert_eq!(decide(&policy(5), tries(0), &Cause::GivenUp, 7), Fate::DeadLetter);
    }

    #[test]
    fn what_only_lost_streams_have_charged_is_tried_alone_before_it_is_given_up() {
        let lost = Tries { failed: 4, lost_only: true, alone: false };
        let fate = decide(&policy(5), lost, &Cause::StreamLost, 0);
        assert_eq!(fate, Fate::Retry { delay_ms: 0, lost_only: true, alone: true });
        let alone = Tries { failed: 5, lost_only: true, alone: true };
        assert_eq!(decide(&policy(5), alone, &Cause::StreamLost, 0), Fate::DeadLetter);
        let guilty = Tries { failed: 4, lost_only: false, alone: false };
        assert_eq!(decide(&policy(5), guilty, &Cause::StreamLost, 0), Fate::DeadLetter);
        assert_eq!(decide(&policy(5), lost, &Cause::Expired, 0), Fate::DeadLetter);
    }

    #[test]
    fn a_policy_is_bounded_and_the_error_names_the_field() {
        let bad = [
            (RetryChoice { initial_ms: Some(1), ..Default::default() }, "initial_backoff"),
            (RetryChoice { multiplier: Some(0.5), ..Default::default() }, "multiplier"),
            (RetryChoice { multiplier: Some(f64::NAN), ..Default::default() }, "multiplier"),
            (RetryChoice { initial_ms: Some(5_000), max_ms: Some(4_000), ..Default::default() }, "max_backoff"),
            (RetryChoice { max_attempts: Some(0), ..Default::default() }, "max_attempts"),
        ];
        for (choice, field) in bad {
            let error = RetryPolicy::choose("group.retry_policy", choice).expect_err(field);
            assert_eq!(error.violations()[0].field, format!("group.retry_policy.{field}"));
        }
        assert_eq!(RetryPolicy::choose("p", RetryChoice::default()).expect("defaults"), RetryPolicy::default());
        let long = RetryChoice { initial_ms: Some(600_000), ..Default::default() };
        assert_eq!(RetryPolicy::choose("p", long).expect("long").max_ms, 600_000);
    }

    proptest! {
        #[test]
        fn the_wait_lies_between_nothing_and_its_ceiling(attempts in 1u32..200, random: u64) {
            let policy = policy(9);
            let delay = policy.delay_ms(attempts, random);
            prop_assert!((0..=policy.ceiling_ms(attempts)).contains(&delay));
        }
    }
}
