//! What the database counts, for administration: one value a partition or a member.

use std::sync::Arc;

/// Counts of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionStatistics {
    pub partition: u32,
    pub floor: i64,
    pub head: i64,
    /// Retained.
    pub events: i64,
    pub bytes: i64,
    /// Microseconds since 1970; absent when nothing was ever appended.
    pub last_append_at: Option<i64>,
}

/// A group's progress in one partition.
#[derive(Clone, Debug, PartialEq)]
pub struct PartitionLag {
    pub partition: u32,
    pub next_offset: i64,
    pub floor: i64,
    pub head: i64,
    pub lag_events: i64,
    pub lag_seconds: f64,
    /// Who holds the partition.
    pub member: Option<String>,
    pub lease_epoch: i64,
    /// Events that went before the group had read them, ever.
    pub truncated_events: i64,
}

/// What failed in one partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutcomeCounts {
    pub partition: u32,
    /// On their way to another attempt.
    pub retries: i64,
    pub dead_letters: i64,
}

/// A key for which events wait, in a group that keeps the order of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HotKey {
    pub partition: u32,
    pub key: Arc<str>,
    /// Events that wait.
    pub waiting: u64,
    /// The event that they wait for.
    pub behind: i64,
}

/// One subscriber of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    pub broker: String,
    pub client: String,
    pub client_address: String,
    pub partitions: Vec<u32>,
    /// Microseconds since 1970, database time.
    pub joined_at: i64,
    /// False while its stream is broken and the grace runs.
    pub connected: bool,
}

/// A partition that a seek moved, or would move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionSeek {
    pub partition: u32,
    pub previous_offset: i64,
    pub next_offset: i64,
    /// Negative: passed over.
    pub replayed_events: i64,
    /// Retries that it forgets.
    pub cleared_retries: i64,
}

/// One group's lag, all its partitions together.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupLag {
    pub organization: String,
    pub stream: String,
    pub group: String,
    /// Events between the group's progress and the head.
    pub events: i64,
    /// Age of the next event, of the partition where it is oldest; 0 at the head.
    pub seconds: f64,
}

/// A group with alerts that fire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FiringAlerts {
    pub organization: String,
    pub stream: String,
    pub group: String,
    /// How many of them.
    pub alerts: i64,
}

/// What brokers have counted of a rule. Times are microseconds since 1970, database time.
#[derive(Clone, Debug)]
pub struct RuleCounts {
    pub name: String,
    pub disabled: bool,
    pub processed: i64,
    pub matched: i64,
    pub copied: i64,
    pub failed: i64,
    pub last_failure: String,
    pub last_failure_at: Option<i64>,
}

/// What a broker has counted of a rule and not written yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleDeltas {
    pub processed: i64,
    pub matched: i64,
    pub copied: i64,
    pub failed: i64,
    pub last_failure: String,
}

/// What runs the rules of a stream, and how far it is.
#[derive(Clone, Debug, Default)]
pub struct RuleStatus {
    /// None: the stream has no rules.
    pub group: Option<String>,
    pub version: i64,
    pub paused: bool,
    pub brokers: u32,
    pub lag_events: i64,
    pub lag_seconds: f64,
    pub retries: i64,
    pub dead_letters: i64,
    pub rules: Vec<RuleCounts>,
}
