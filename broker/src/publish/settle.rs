//! What a call's verdicts mean for each submission of its flush: an answer, another try, or a call of its own.

use crate::domain::event::Batch;
use crate::domain::ids::PartitionId;
use crate::domain::{Applied, Error, Reason};
use crate::publish::flush::{Flush, FlushEnd};
use crate::publish::lane::{Appended, Reply, Submission};
use crate::publish::plan::{LaneProducer, PlannedRun, cut_ranges};
use crate::publish::recall::{Believed, Found, placed, recall};
use crate::store::append::{Verdict, VerdictKind};
use crate::telemetry::metrics;
use std::collections::{BTreeMap, HashMap};

/// What is left to do after a call.
#[derive(Default)]
pub struct Settled {
    /// Rows that are in the log now, for the tail, by partition.
    pub appended: BTreeMap<PartitionId, Vec<Batch>>,
    /// Partitions in which something was found appended by an earlier call: the tail must look.
    pub stale: Vec<PartitionId>,
    /// Submissions that go into calls of their own: each list is one call.
    pub apart: Vec<Vec<Submission>>,
    /// Submissions to send again, ahead of anything newer.
    pub again: Vec<Submission>,
}

/// What becomes of one run.
enum Fate {
    Appended {
        base_offset: i64,
        appended_at_us: i64,
    },
    Duplicate {
        ranges: Vec<(i64, i32)>,
        appended_at_us: i64,
    },
    /// Appended, but for events that had been there before: where each stands, and whether it had.
    Placed {
        stands: Vec<(i64, bool)>,
        appended_at_us: i64,
    },
    /// Keys are not what was believed, or something else than was expected.
    Recalled {
        found: Found,
        appended_at_us: i64,
    },
    Again {
        alone: bool,
    },
    Busy,
    /// The stream has other partitions by now, or is another one.
    Misrouted(Error),
    Refused(Error),
}

/// Settles a flush.
pub fn settle(flush: Flush, end: FlushEnd, lane: &mut LaneProducer) -> Settled {
    let mut settled = Settled::default();
    let verdicts = match end {
        FlushEnd::Verdicts(verdicts) => verdicts,
        FlushEnd::Refused(error) => {
            refuse_or_split(flush, error, &mut settled);
            return settled;
        }
        FlushEnd::Unknown(error) => {
            // The lane's numbers may or may not be used up: go on under another id.
            *lane = LaneProducer::default();
            flush.submissions.into_iter().for_each(|submission| submission.refuse(error.clone()));
            return settled;
        }
    };
    if verdicts.iter().any(|verdict| matches!(verdict.kind, VerdictKind::LogEpoch { .. })) {
        *lane = LaneProducer::default();
        settled.again = flush.submissions;
        return settled;
    }
    let fates = fates(&flush.plan.runs, &verdicts, lane);
    collect_batches(&flush, &verdicts, &mut settled);
    answer(flush, fates, &mut settled);
    settled
}

/// Postgres refused a call. When several submissions were in it, one of them may be to blame: halves are tried on their own, and
/// only the one that fails alone is refused.
fn refuse_or_split(mut flush: Flush, error: Error, settled: &mut Settled) {
    if error.reason() != Reason::Internal || flush.submissions.len() < 2 {
        flush.submissions.into_iter().for_each(|submission| submission.refuse(error.clone()));
        return;
    }
    tracing::error!(
        ?error,
        submissions = flush.submissions.len(),
        "an append was refused as a whole; trying its halves"
    );
    let second = flush.submissions.split_off(flush.submissions.len() / 2);
    settled.apart = vec![flush.submissions, second];
}

fn fates(runs: &[PlannedRun], verdicts: &[Verdict], lane: &mut LaneProducer) -> Vec<Fate> {
    let (mut by_run, mut last_of) = (HashMap::<i32, &VerdictKind>::new(), HashMap::<i32, &[Option<i64>]>::new());
    for verdict in verdicts.iter().filter(|verdict| verdict.run > 0) {
        match &verdict.kind {
            VerdictKind::Last { found } => drop(last_of.insert(verdict.run, found)),
            kind => drop(by_run.insert(verdict.run, kind)),
        }
    }
    let by_partition: HashMap<PartitionId, &VerdictKind> =
        verdicts.iter().filter(|verdict| verdict.run == 0).map(|verdict| (verdict.partition, &verdict.kind)).collect();
    // Offsets are consecutive within a partition, over its runs in order.
    let mut next: HashMap<PartitionId, i64> = HashMap::new();
    let mut fates = Vec::with_capacity(runs.len());
    for (index, planned) in runs.iter().enumerate() {
        let run = &planned.run;
        let of_lane = run.producer == lane.id;
        let number = index as i32 + 1;
        let kind = by_run.get(&number).or_else(|| by_partition.get(&run.partition));
        let last = last_of.get(&number).map_or(&[][..], |last| *last).to_vec();
        let fate = match kind {
            Some(VerdictKind::Appended { base_offset, appended_at_us }) => {
                let next = next.entry(run.partition).or_insert(*base_offset);
                let base_offset = *next;
                *next += i64::from(planned.new_events());
                if planned.keys.is_empty() {
                    Fate::Appended { base_offset, appended_at_us: *appended_at_us }
                } else {
                    Fate::Placed { stands: planned.stands(base_offset), appended_at_us: *appended_at_us }
                }
            }
            Some(VerdictKind::Keys { found, appended_at_us, ends_at }) => {
                let found = Found { keys: found.clone(), ends_at: *ends_at, last };
                Fate::Recalled { found, appended_at_us: *appended_at_us }
            }
            Some(VerdictKind::Expectation { ends_at }) => {
                Fate::Recalled { found: Found { keys: Vec::new(), ends_at: Some(*ends_at), last }, appended_at_us: 0 }
            }
            Some(VerdictKind::New) if !last.is_empty() => {
                Fate::Recalled { found: Found { keys: Vec::new(), ends_at: None, last }, appended_at_us: 0 }
            }
            Some(VerdictKind::Duplicate { ranges, appended_at_us }) => {
                Fate::Duplicate { ranges: ranges.clone(), appended_at_us: *appended_at_us }
            }
            Some(VerdictKind::New) => Fate::Again { alone: false },
            Some(VerdictKind::Busy) => Fate::Busy,
            Some(VerdictKind::Partial { .. }) if planned.works.len() > 1 => Fate::Again { alone: true },
            // The lane's own memory is gone (pruned, restored): go on under another id.
            Some(VerdictKind::ProducerUnknown | VerdictKind::SequenceTooOld | VerdictKind::OutOfSequence { .. })
                if of_lane =>
            {
                *lane = LaneProducer::default();
                Fate::Again { alone: false }
            }
            Some(kind @ (VerdictKind::StaleRouting { .. } | VerdictKind::NotFound)) => Fate::Misrouted(refusal(kind)),
            Some(kind) => Fate::Refused(refusal(kind)),
            None => Fate::Refused(Error::internal("the append gave no verdict")),
        };
        if of_lane && matches!(fate, Fate::Appended { .. } | Fate::Placed { .. } | Fate::Duplicate { .. }) {
            lane.advance(run.partition, run.first_sequence + i64::from(run.event_count));
        }
        fates.push(fate);
    }
    fates
}

fn refusal(kind: &VerdictKind) -> Error {
    let error = match kind {
        VerdictKind::OutOfSequence { expected } | VerdictKind::Partial { expected } => Error::new(
            Reason::OutOfSequence,
            format!("the producer's next sequence in this partition is {expected}; send that first"),
        )
        .fact("expected_sequence", expected),
        VerdictKind::ProducerUnknown => Error::new(
            Reason::ProducerUnknown,
            "the producer is not known in this partition and its sequence does not start at 0; start a new producer id",
        ),
        VerdictKind::ProducerFenced => {
            Error::new(Reason::ProducerFenced, "a higher epoch of this producer has appended; this one must stop")
        }
        VerdictKind::SequenceTooOld => Error::new(
            Reason::SequenceTooOld,
            "the repeat is older than the 64 runs and 7 days that are remembered; its outcome cannot be told any more",
        ),
        VerdictKind::StaleRouting { current } => Error::new(
            Reason::StaleRouting,
            format!("the stream's routing version is {current} now; fetch the stream and choose the partition again"),
        )
        .fact("routing_version", current),
        _ => Error::new(Reason::StreamNotFound, "the stream was deleted"),
    };
    error.applied(Applied::No)
}

/// The rows that were inserted, as batches for the tail.
fn collect_batches(flush: &Flush, verdicts: &[Verdict], settled: &mut Settled) {
    let starts: HashMap<PartitionId, (i64, i64)> = verdicts
        .iter()
        .filter_map(|verdict| match verdict.kind {
            VerdictKind::Appended { base_offset, appended_at_us } => {
                Some((verdict.partition, (base_offset, appended_at_us)))
            }
            _ => None,
        })
        .collect();
    for row in &flush.plan.rows {
        let Some(&(start, appended_at_us)) = starts.get(&row.partition) else {
            continue;
        };
        let batches = settled.appended.entry(row.partition).or_default();
        let base_offset = batches.last().map_or(start, Batch::end_offset);
        let metrics = metrics::get();
        metrics.publish_events.increment(row.encoded.ends.len() as u64);
        metrics.publish_bytes.increment(row.encoded.bytes.len() as u64);
        let (encoded, publishers) = (row.encoded.clone(), row.publishers.clone());
        batches.push(Batch { base_offset, appended_at_us, encoded, publishers });
    }
}

fn answer(flush: Flush, fates: Vec<Fate>, settled: &mut Settled) {
    let mut busy: BTreeMap<PartitionId, Vec<Submission>> = BTreeMap::new();
    let mut fate_of: Vec<Option<(usize, i64)>> = vec![None; flush.submissions.len()];
    for (index, planned) in flush.plan.runs.iter().enumerate() {
        let mut skip = 0i64;
        for &work in &planned.works {
            fate_of[work] = Some((index, skip));
            skip += flush.submissions[work].work.events.len() as i64;
        }
    }
    let Flush { submissions, plan } = flush;
    for (number, (mut submission, place)) in submissions.into_iter().zip(fate_of).enumerate() {
        let Some((run, skip)) = place else {
            submission.refuse(Error::internal("a submission was left out of its flush"));
            continue;
        };
        let count = submission.work.events.len() as i64;
        match &fates[run] {
            Fate::Appended { base_offset, appended_at_us } => {
                let ranges = vec![(base_offset + skip, count as i32)];
                let appended =
                    Appended { ranges, appended_at_us: *appended_at_us, duplicate: false, known: Vec::new() };
                reply(submission, appended);
            }
            Fate::Placed { stands, appended_at_us } => {
                let stands = &stands[skip as usize..(skip + count) as usize];
                reply(submission, placed(stands, *appended_at_us));
            }
            Fate::Recalled { found, appended_at_us } => {
                recall(submission, Believed { run: &plan.runs[run], number }, found, *appended_at_us, settled);
            }
            Fate::Duplicate { ranges, appended_at_us } => {
                settled.stale.push(submission.work.partition);
                // The lane's own repeat after a lost connection is no duplicate to anybody else.
                let duplicate = submission.work.producer.is_some();
                metrics::get().publish_duplicates.increment(if duplicate { count as u64 } else { 0 });
                let ranges = cut_ranges(ranges, skip, count);
                reply(submission, Appended { ranges, appended_at_us: *appended_at_us, duplicate, known: Vec::new() });
            }
            Fate::Again { alone } => {
                submission.work.alone |= *alone;
                settled.again.push(submission);
            }
            // Its lock was not free: it must not stall its neighbours.
            Fate::Busy => busy.entry(submission.work.partition).or_default().push(submission),
            Fate::Misrouted(error) => submission.misroute(error.clone()),
            Fate::Refused(error) => {
                metrics::get().publish_refused.increment(count as u64);
                submission.refuse(error.clone());
            }
        }
    }
    settled.apart.extend(busy.into_values());
}

pub(super) fn reply(submission: Submission, appended: Appended) {
    // A caller that has gone away does not need its answer.
    let _ = submission.reply.send(Reply::Appended(appended));
    drop(submission.permit);
}
