//! What a run amounted to.

use std::collections::BTreeMap;

use crate::history::{Outcome, Record, Said, events};

/// Counts for people, for the campaign's table and for the guards against empty runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    pub acknowledged: u64,
    pub unknown: u64,
    pub refused: u64,
    /// Publishes that an earlier, unanswered attempt had done.
    pub resolved: u64,
    pub delivered: u64,
    pub redelivered: u64,
    pub commits: u64,
    /// Commits that came too late and were refused.
    pub fenced: u64,
    pub seeks: u64,
    /// Failed attempts that were confirmed, deliveries that were another attempt, and dead letters at the end.
    pub nacks: u64,
    pub retried: u64,
    pub dead_letters: u64,
    /// Events of keys in order that came by themselves, behind an earlier one that had failed.
    pub waited: u64,
    /// Repeats of an idempotency key that got the first one's answer, or were refused for their content.
    pub keys_repeated: u64,
    /// Uses of a revoked key that were refused.
    pub keys_refused: u64,
    pub faults: BTreeMap<String, u64>,
    pub skipped: BTreeMap<String, String>,
    /// Acknowledged and gone, where that is allowed.
    pub lost: u64,
    pub vanished: u64,
    /// The longest delay from publish to delivery after healing, in milliseconds.
    pub lag_ms: u64,
    /// Acknowledgements compared with the flush of their commit.
    pub flushes: u64,
}

impl Totals {
    pub fn count(records: &[Record]) -> Totals {
        let mut totals = Totals::default();
        for record in records {
            match record {
                Record::Publish(publish) if !publish.repeat => {
                    let count = u64::from(publish.run.2);
                    match publish.outcome {
                        Outcome::Ok => totals.acknowledged += count,
                        Outcome::Fail => {
                            totals.refused += count;
                            totals.keys_repeated += u64::from(publish.reason == "IDEMPOTENCY_KEY_REUSED");
                        }
                        Outcome::Info => totals.unknown += count,
                    }
                    totals.resolved += u64::from(publish.duplicate);
                }
                Record::Publish(publish) if !publish.key.is_empty() && publish.outcome == Outcome::Ok => {
                    totals.keys_repeated += 1;
                }
                Record::Deliver(deliver) => {
                    let count = events(&deliver.runs);
                    totals.delivered += count;
                    let is_retry = deliver.dealt.as_ref().is_some_and(|dealt| dealt.attempt > 1);
                    totals.retried += if is_retry { count } else { 0 };
                }
                Record::Settle(settle) if settle.outcome == Outcome::Ok => {
                    let failed = matches!(settle.verdict, Said::Nack | Said::GiveUp);
                    totals.nacks += if failed { u64::from(settle.count) } else { 0 };
                }
                Record::Left(left) => totals.dead_letters += u64::from(left.dead),
                Record::Use(used) => totals.keys_refused += u64::from(used.code == "UNAUTHENTICATED"),
                Record::Commit(commit) => {
                    totals.commits += u64::from(commit.outcome == Outcome::Ok);
                    totals.fenced += u64::from(matches!(commit.reason.as_str(), "MEMBER_FENCED" | "SEEK_FENCED"));
                }
                Record::Seek(seek) => totals.seeks += u64::from(seek.outcome == Outcome::Ok),
                Record::Fault(fault) if fault.skipped.is_empty() => {
                    *totals.faults.entry(fault.kind.clone()).or_default() += 1;
                }
                Record::Fault(fault) => {
                    totals.skipped.insert(fault.kind.clone(), fault.skipped.clone());
                }
                Record::Flushed(_) => totals.flushes += 1,
                _ => {}
            }
        }
        totals
    }

    pub fn fault_count(&self) -> u64 {
        self.faults.values().sum()
    }
}
