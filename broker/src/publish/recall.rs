//! What the database says of idempotency keys and of what was expected: a submission learns it, and is answered, refused, or sent
//! again.

use crate::publish::lane::{Appended, Submission};
use crate::publish::plan::{Known, PlannedRun};
use crate::publish::settle::{Settled, reply};
use crate::publish::terms::{Expected, Terms, Unmet};
use crate::telemetry::metrics;

/// What a flush believed of a run, and which of its submissions is asked about, by its number in the flush.
pub(super) struct Believed<'a> {
    pub(super) run: &'a PlannedRun,
    pub(super) number: usize,
}

/// What was found of a run.
#[derive(Debug)]
pub(super) struct Found {
    /// Where its keys stand that are not keys of other events of the flush, and whether those events say the same. Empty: as was
    /// believed.
    pub(super) keys: Vec<(Option<i64>, bool)>,
    /// Where the partition ends, when that was expected elsewhere.
    pub(super) ends_at: Option<i64>,
    /// Where the last event stands of each key of which something is expected. Empty: as was expected.
    pub(super) last: Vec<Option<i64>>,
}

impl Believed<'_> {
    /// What does not hold for this submission; its terms learn what is known of their keys.
    fn compare(&self, terms: &mut Terms, found: &Found) -> Unmet {
        let mut unmet =
            Unmet { ends_at: found.ends_at.filter(|_| terms.expected.next_offset.is_some()), ..Unmet::default() };
        let asked = self.run.keys.iter().filter(|key| !matches!(key.known, Known::Same(_)));
        for (key, (offset, same)) in asked.zip(&found.keys).filter(|(key, _)| key.work == self.number) {
            if offset.is_some() && !same {
                unmet.reused.push(key.index);
            } else if let Some(keyed) = terms.keys.get_mut(key.index) {
                keyed.known = *offset;
            }
        }
        let expected = self.run.last.iter().zip(&found.last).filter(|(last, _)| last.work == self.number);
        let elsewhere = expected.filter(|(last, is)| terms.expected.keys[last.index].last_offset != **is);
        unmet.last = elsewhere.map(|(last, is)| (last.index, *is)).collect();
        unmet
    }
}

/// Settles a submission of a run of which something is not as was believed or expected; nothing of its partition was appended.
pub(super) fn recall(
    mut submission: Submission,
    believed: Believed<'_>,
    found: &Found,
    appended_at_us: i64,
    settled: &mut Settled,
) {
    // Another broker may have appended what is known.
    settled.stale.push(submission.work.partition);
    let events = submission.work.events.len();
    let Some(terms) = submission.work.terms.as_mut() else {
        settled.again.push(submission);
        return;
    };
    let unmet = believed.compare(terms, found);
    let all_known = terms.all_known(events);
    // What has been appended is there, whatever else is expected.
    let expects_else = !all_known && (unmet.ends_at.is_some() || !unmet.last.is_empty());
    if unmet.reused.is_empty() && !expects_else {
        if all_known && submission.work.producer.is_none() {
            let stands: Vec<(i64, bool)> = terms.keys.iter().filter_map(|keyed| Some((keyed.known?, true))).collect();
            reply(submission, placed(&stands, appended_at_us));
            return;
        }
        if all_known {
            // Only its sequence is left to be recorded.
            terms.expected = Expected::default();
        }
        settled.again.push(submission);
    } else if believed.run.works.first() != Some(&believed.number) && submission.chain.is_some() {
        // Those before it go again, and a refusal now would stand in their way on its publish stream: it is refused when its turn
        // has come, at the head of a run of its own.
        submission.work.alone = true;
        settled.again.push(submission);
    } else {
        metrics::get().publish_refused.increment(events as u64);
        let refusal = terms.refusal(&unmet);
        submission.refuse(refusal);
    }
}

/// The answer for events that stand where they do, some of them from an earlier append.
pub(super) fn placed(stands: &[(i64, bool)], appended_at_us: i64) -> Appended {
    let mut ranges: Vec<(i64, i32)> = Vec::new();
    for (offset, _) in stands {
        match ranges.last_mut() {
            Some((base, count)) if *base + i64::from(*count) == *offset => *count += 1,
            _ => ranges.push((*offset, 1)),
        }
    }
    let known: Vec<u32> = (0..).zip(stands).filter(|(_, (_, known))| *known).map(|(place, _)| place).collect();
    metrics::get().publish_duplicates.increment(known.len() as u64);
    let duplicate = known.len() == stands.len();
    Appended { ranges, appended_at_us, duplicate, known: if duplicate { Vec::new() } else { known } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_ranges_in_the_order_of_events_and_says_which_were_known() {
        let some = placed(&[(10, false), (11, false), (3, true), (12, false), (13, true)], 7);
        assert_eq!((some.ranges, some.duplicate), (vec![(10, 2), (3, 1), (12, 2)], false));
        assert_eq!(some.known, [2, 4]);
        let all = placed(&[(3, true), (4, true)], 7);
        assert_eq!((all.ranges, all.duplicate, all.known), (vec![(3, 2)], true, vec![]));
    }
}
