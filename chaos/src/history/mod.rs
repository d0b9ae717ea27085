//! What happened: one line of JSON for each thing that a client saw, a fault did, or the database held at the end.
//!
//! Times are microseconds since the start of the run, from one monotonic clock: all clients live in one process, so an
//! operation that ended before another began really did. Events are named by their values, as runs of one producer's
//! consecutive numbers: `[producer, first number, count]`.

mod file;
mod outcomes;
mod recorder;
mod value;

use serde::{Deserialize, Serialize};

pub use file::{read, read_lines, write_all};
pub use outcomes::{Claim, Dealt, FailedAttempt, Left, Revoke, Said, Seat, Settle, Use, token};
pub use recorder::Recorder;
pub use value::{Corrupt, HEAD_BYTES, Value, payload, verify};

/// Microseconds since the start of the run.
pub type Micros = u64;

/// A partition of a stream: the stream's number in the run, and the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key(pub u16, pub u16);

/// Consecutive numbers of one producer, at consecutive offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run(pub u32, pub u64, pub u32);

impl Run {
    /// The producer's numbers in this run, each as one value.
    pub fn values(self) -> impl Iterator<Item = (u32, u64)> {
        (0..u64::from(self.2)).map(move |index| (self.0, self.1 + index))
    }
}

/// A lease's epoch as histories write it: after a failover that lost leases, their epochs are granted again in the next life of
/// the log, so the log's epoch comes first.
pub fn epoch_of(log_epoch: u64, lease_epoch: u64) -> u64 {
    log_epoch << 32 | lease_epoch
}

/// The log's epoch in it.
pub fn log_epoch_of(epoch: u64) -> u64 {
    epoch >> 32
}

/// How many events the runs hold.
pub fn events(runs: &[Run]) -> u64 {
    runs.iter().map(|run| u64::from(run.2)).sum()
}

/// Puts a value behind the runs before it.
pub fn push(runs: &mut Vec<Run>, producer: u32, number: u64) {
    match runs.last_mut() {
        Some(run) if run.0 == producer && run.1 + u64::from(run.2) == number => run.2 += 1,
        _ => runs.push(Run(producer, number, 1)),
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "f", rename_all = "snake_case")]
pub enum Record {
    Setup(Setup),
    Producer(Producer),
    Phase(Phase),
    Publish(Publish),
    Lease(Lease),
    Deliver(Deliver),
    Truncated(Truncated),
    Ended(Ended),
    Commit(Commit),
    Fetch(Fetch),
    Seek(Seek),
    Purge(Purge),
    Read(Read),
    Range(Range),
    Foreign(Foreign),
    Surprise(Surprise),
    Fault(Fault),
    Flushed(Flushed),
    Row(Row),
    Bounds(Bounds),
    Progress(Progress),
    Seat(Seat),
    Settle(Settle),
    Left(Left),
    Claim(Claim),
    Revoke(Revoke),
    Use(Use),
}

/// What a run was set up to do. Always the first record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Setup {
    pub seed: u64,
    /// What kind of run: `standard`, or one whose database changes hands, [`FAILOVER`].
    pub scenario: String,
    /// Streams by number: the organization that owns each, and its partitions.
    pub streams: Vec<Stream>,
    /// Consumer groups by number.
    pub groups: Vec<Group>,
    /// Acknowledged events may be lost here, which is reported and is no violation.
    pub loss_allowed: bool,
    /// Faults were to be injected.
    pub faults_wanted: bool,
    /// A broker was to be paused past its lease, so somebody must have been fenced.
    pub fencing_wanted: bool,
    /// There are members of shared groups, idempotency keys and keys that are revoked; histories of earlier runs have none.
    #[serde(default)]
    pub outcomes_wanted: bool,
    /// Microseconds within which everything acknowledged must be delivered after healing.
    pub drain_bound: Micros,
    /// Microseconds within which a call must be answered when nothing is broken.
    pub call_bound: Micros,
}

/// The scenario in which the database changes hands.
pub const FAILOVER: &str = "failover";

impl Setup {
    pub fn has_failover(&self) -> bool {
        self.scenario == FAILOVER
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    pub organization: u16,
    pub name: String,
    pub partitions: u16,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Group {
    pub stream: u16,
    pub name: String,
    /// Its members speak raw gRPC, so that leases and commits are seen.
    pub seen: bool,
    /// Failed attempts after which an event is a dead letter, when the group is shared; its members settle each event by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<u32>,
    /// A shared group that keeps the order of keys.
    #[serde(default, skip_serializing_if = "is_false")]
    pub key_order: bool,
}

/// Event keys of one producer.
const EVENT_KEYS: u64 = 4;

/// The key of an event of a producer whose events have idempotency keys ([`ProducerKind::Keyed`]); those of other producers have none
/// that a group would keep in order.
pub fn event_key(producer: u32, number: u64) -> (u32, u64) {
    (producer, number % EVENT_KEYS)
}

/// How a producer publishes, and so what is promised to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProducerKind {
    /// Through the SDK: one copy, in the order of its sends.
    Sdk,
    /// Raw, with numbers of its own, repeated until decided: one copy, in order, each request whole.
    Sequenced,
    /// Raw, without numbers, each request sent once: at most one copy, each request whole.
    Once,
    /// Raw, without numbers, with an idempotency key an event, repeated until decided: one event of a key.
    Keyed,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Producer {
    pub p: u32,
    pub kind: ProducerKind,
    pub stream: u16,
}

/// A step of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    pub name: Step,
    pub t: Micros,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Faults begin.
    Faults,
    /// Everything is healed; publishing goes on for a while.
    Healed,
    /// Nothing is published any more.
    Quiet,
    /// Consumers were given all the time that they may take.
    Drained,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It happened.
    Ok,
    /// It certainly did not happen.
    Fail,
    /// Nobody knows.
    Info,
}

/// A publish with all its attempts, or a later repeat of one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Publish {
    pub run: Run,
    pub k: Key,
    pub t0: Micros,
    pub t1: Micros,
    pub outcome: Outcome,
    /// Where the events stand, in order: first offset and count.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub at: Vec<(i64, u32)>,
    /// The answer said that an earlier attempt had done it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub duplicate: bool,
    /// Sent again although it was decided before, to see whether the answer is the same.
    #[serde(default, skip_serializing_if = "is_false")]
    pub repeat: bool,
    #[serde(default)]
    pub attempts: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Idempotency key, of publishes of one event.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
}

/// A session holds a partition from here on: assigned, or moved while it held it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    pub g: u16,
    /// Number of the session in the run.
    pub s: u32,
    pub k: Key,
    pub t: Micros,
    pub log_epoch: u64,
    /// By [`epoch_of`], as in every other record.
    pub epoch: u64,
    /// Where delivery starts.
    pub off: i64,
    /// Number of the broker that serves the session.
    #[serde(default)]
    pub b: u8,
    /// It held the partition before, and was moved.
    #[serde(default, skip_serializing_if = "is_false")]
    pub moved: bool,
}

/// A batch that a member of a group got. `epoch` is 0 for members whose leases are not seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deliver {
    pub g: u16,
    pub s: u32,
    pub k: Key,
    pub t: Micros,
    #[serde(default)]
    pub epoch: u64,
    pub off: i64,
    pub runs: Vec<Run>,
    /// Where to go on.
    pub next: i64,
    /// Payloads that are not what their producer wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad: Vec<Bad>,
    /// In a shared group: which attempt this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dealt: Option<Dealt>,
}

/// A payload that does not verify: its offset and what is wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bad(pub i64, pub String);

/// A session was told that events are gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Truncated {
    pub g: u16,
    pub s: u32,
    pub k: Key,
    pub t: Micros,
    pub from: i64,
    pub to: i64,
}

/// A session is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    pub g: u16,
    pub s: u32,
    pub t: Micros,
    pub reason: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    pub g: u16,
    pub s: u32,
    pub k: Key,
    pub t0: Micros,
    pub t1: Micros,
    pub epoch: u64,
    pub off: i64,
    pub outcome: Outcome,
    /// What the answer says is committed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub got: Option<i64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Progress of a group as a third party saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fetch {
    pub g: u16,
    pub k: Key,
    pub t0: Micros,
    pub t1: Micros,
    pub off: i64,
}

/// A group was moved, or perhaps (`info`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seek {
    pub g: u16,
    pub k: Key,
    pub t0: Micros,
    pub t1: Micros,
    pub outcome: Outcome,
    /// Where to; what was asked for when nobody knows.
    pub to: i64,
    #[serde(default)]
    pub from: i64,
}

/// The floor was raised, or perhaps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Purge {
    pub k: Key,
    pub t0: Micros,
    pub t1: Micros,
    pub outcome: Outcome,
    pub before: i64,
}

/// A batch that a reader without a group got while it followed a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Read {
    pub reader: u32,
    pub k: Key,
    pub t: Micros,
    pub off: i64,
    pub runs: Vec<Run>,
    pub next: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad: Vec<Bad>,
}

/// A read from an offset to the end of a partition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Range {
    pub k: Key,
    pub t0: Micros,
    pub t1: Micros,
    pub from: i64,
    pub outcome: Outcome,
    /// (first offset, runs) of each batch.
    pub batches: Vec<(i64, Vec<Run>)>,
    /// Where the read ended.
    pub next: i64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad: Vec<Bad>,
    /// A row in this range was damaged on purpose: the read must end with `DATA_LOSS` at it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damaged: Option<i64>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Somebody reached for another organization's object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Foreign {
    pub t0: Micros,
    pub t1: Micros,
    pub call: String,
    /// It must be `NOT_FOUND`, or no answer at all.
    pub code: String,
}

/// Something that no fault excuses: an error shown to an SDK user, a refusal that the protocol does not explain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Surprise {
    pub t: Micros,
    pub who: String,
    pub what: String,
}

/// A fault, from its injection to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    pub kind: String,
    pub target: String,
    pub t0: Micros,
    pub t1: Micros,
    /// When what had failed served again, before the fault's end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<Micros>,
    /// It was planned, and could not be injected: why.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub skipped: String,
}

/// How far the write-ahead log was flushed when an acknowledgement had come, and where the commit of that append ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flushed {
    pub k: Key,
    pub off: i64,
    pub t: Micros,
    pub flushed: u64,
    pub commit: u64,
}

/// A row of the log as the database holds it at the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub k: Key,
    pub off: i64,
    pub count: u32,
    /// Events of the partition before this row, ever.
    pub before: i64,
    /// Microseconds since 1970.
    pub appended: i64,
    pub runs: Vec<Run>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bad: Vec<Bad>,
}

/// Bounds of a partition at the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    pub k: Key,
    pub floor: i64,
    pub head: i64,
}

/// Progress of a group at the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    pub g: u16,
    pub k: Key,
    pub off: i64,
    pub epoch: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}
