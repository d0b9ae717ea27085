//! One call in the making: submissions and the plan that was made of them.

use crate::domain::Error;
use crate::domain::ids::PartitionId;
use crate::publish::lane::Submission;
use crate::publish::plan::{LaneProducer, Plan, Work, plan};
use crate::store::append::{Key, Last, Row, Run, Verdict};
use std::collections::BTreeSet;

/// Submissions that travel together. Indexes in the plan are indexes here.
#[derive(Debug)]
pub struct Flush {
    pub submissions: Vec<Submission>,
    pub plan: Plan,
}

/// How a call ended.
#[derive(Debug)]
pub enum FlushEnd {
    /// The function answered.
    Verdicts(Vec<Verdict>),
    /// Postgres refused the call as a whole; nothing was applied.
    Refused(Error),
    /// Nobody knows, and nobody could be asked for too long.
    Unknown(Error),
}

impl Flush {
    /// Plans a flush; what has to wait for the next one comes back.
    pub fn plan(submissions: Vec<Submission>, producer: &LaneProducer) -> (Self, Vec<Submission>) {
        let works: Vec<&Work> = submissions.iter().map(|submission| &submission.work).collect();
        let drawn = plan(&works, producer);
        if drawn.deferred.is_empty() {
            return (Self { submissions, plan: drawn }, Vec::new());
        }
        let waiting: BTreeSet<usize> = drawn.deferred.iter().copied().collect();
        let (mut now, mut later) = (Vec::new(), Vec::new());
        for (index, submission) in submissions.into_iter().enumerate() {
            if waiting.contains(&index) { later.push(submission) } else { now.push(submission) }
        }
        // Without the deferred ones everything fits, and indexes are those of what is left.
        let works: Vec<&Work> = now.iter().map(|submission| &submission.work).collect();
        let drawn = plan(&works, producer);
        (Self { submissions: now, plan: drawn }, later)
    }

    pub fn is_empty(&self) -> bool {
        self.submissions.is_empty()
    }

    /// Partitions of this flush, ascending.
    pub fn partitions(&self) -> impl Iterator<Item = PartitionId> {
        let mut partitions: Vec<PartitionId> = self.plan.runs.iter().map(|planned| planned.run.partition).collect();
        partitions.dedup();
        partitions.into_iter()
    }

    pub fn event_count(&self) -> usize {
        self.plan.rows.iter().map(|row| row.encoded.ends.len()).sum()
    }

    pub fn runs(&self) -> Vec<Run> {
        self.plan.runs.iter().map(|planned| planned.run.clone()).collect()
    }

    /// Where the partition of each run must end.
    pub fn expected(&self) -> Vec<Option<i64>> {
        self.plan.runs.iter().map(|planned| planned.expected_next).collect()
    }

    /// Idempotency keys of all runs.
    pub fn keys(&self) -> Vec<Key<'_>> {
        let works: Vec<&Work> = self.submissions.iter().map(|submission| &submission.work).collect();
        self.plan.to_keys(&works)
    }

    /// What all runs expect of event keys.
    pub fn last(&self) -> Vec<Last<'_>> {
        let works: Vec<&Work> = self.submissions.iter().map(|submission| &submission.work).collect();
        self.plan.to_last(&works)
    }

    pub fn rows(&self) -> Vec<Row<'_>> {
        let works: Vec<&Work> = self.submissions.iter().map(|submission| &submission.work).collect();
        self.plan.rows.iter().map(|row| row.to_row(&self.plan, &works)).collect()
    }
}
