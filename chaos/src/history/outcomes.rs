//! What happens to single events: in shared groups, which settle each by itself, and with credentials that end.

use serde::{Deserialize, Serialize};

use super::{Bad, Key, Micros, Outcome, Run, is_false};

/// Which attempt a delivery is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dealt {
    /// From 1.
    pub attempt: u32,
    /// Of the claim, or of the retry, by [`epoch_of`](super::epoch_of).
    pub epoch: u64,
    /// It came by itself: another attempt, or one that had waited for an earlier event of its key.
    #[serde(default, skip_serializing_if = "is_false")]
    pub again: bool,
    /// Why the attempt before failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub class: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Session `s` of a shared group, and the name that it has there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seat {
    pub g: u16,
    pub s: u32,
    pub t: Micros,
    pub name: String,
}

/// What a member said of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    Ack,
    Nack,
    /// Trying again is of no use.
    GiveUp,
    /// More time is asked for.
    Extend,
}

/// A member said what became of consecutive events, and what came of that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settle {
    pub g: u16,
    pub s: u32,
    pub k: Key,
    pub t0: Micros,
    pub t1: Micros,
    /// Of the delivery, as in [`Dealt`].
    pub epoch: u64,
    pub attempt: u32,
    #[serde(default, skip_serializing_if = "is_false")]
    pub again: bool,
    pub off: i64,
    pub count: u32,
    pub verdict: Said,
    /// For how long more time was asked for.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub by: Micros,
    pub outcome: Outcome,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// The reason that a session gives for a failed attempt: who failed, and at which attempt.
pub fn token(s: u32, attempt: u32) -> String {
    format!("session {s} at attempt {attempt}")
}

/// A failed event as the database holds it at the end: a dead letter, or a retry on its way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Left {
    pub g: u16,
    pub k: Key,
    pub off: i64,
    /// A dead letter, not a retry.
    pub dead: bool,
    /// Failed attempts.
    pub attempts: u32,
    pub history: Vec<FailedAttempt>,
    /// The copy of the event that is kept with it.
    pub runs: Vec<Run>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad: Vec<Bad>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailedAttempt {
    pub attempt: u32,
    pub member: String,
    pub class: String,
    pub reason: String,
}

/// Offsets of a shared group that are claimed at the end, and what is done of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    pub g: u16,
    pub k: Key,
    pub from: i64,
    pub to: i64,
    pub done: Vec<(i64, i64)>,
}

/// A credential was ended, or perhaps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Revoke {
    /// Number of the credential in the run.
    pub key: u32,
    pub t0: Micros,
    pub t1: Micros,
    pub outcome: Outcome,
}

/// A credential was used: a call, or a frame that came on a stream which it had opened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Use {
    pub key: u32,
    pub t0: Micros,
    pub t1: Micros,
    pub call: String,
    /// `Ok`, or why not.
    pub code: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}
