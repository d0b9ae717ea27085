//! What the database says of idempotency keys: a submission learns it, and is answered, refused, or sent again.

use crate::publish::lane::{Appended, Submission};
use crate::publish::plan::{Known, PlannedKey};
use crate::publish::settle::{Settled, reply};
use crate::telemetry::metrics;

/// What a flush believed of a run's keys, and what was found of those that are not keys of other events of the flush.
pub(super) struct Believed<'a> {
    pub(super) keys: &'a [PlannedKey],
    pub(super) found: &'a [(Option<i64>, bool)],
    /// The submission within the flush.
    pub(super) number: usize,
    /// It is the first of its run.
    pub(super) leads: bool,
}

/// Settles a submission of a run with keys that are not what was believed; nothing of its partition was appended.
pub(super) fn recall(
    mut submission: Submission,
    believed: Believed<'_>,
    appended_at_us: i64,
    ends_at: Option<i64>,
    settled: &mut Settled,
) {
    // Another broker may have appended what is known.
    settled.stale.push(submission.work.partition);
    let asked = believed.keys.iter().filter(|key| !matches!(key.known, Known::Same(_)));
    let own = asked.zip(believed.found).filter(|(key, _)| key.work == believed.number);
    let mut reused = Vec::new();
    let events = submission.work.events.len();
    let Some(terms) = submission.work.terms.as_mut() else {
        settled.again.push(submission);
        return;
    };
    for (key, (offset, same)) in own {
        if offset.is_some() && !same {
            reused.push(key.index);
        } else if let Some(keyed) = terms.keys.get_mut(key.index) {
            keyed.known = *offset;
        }
    }
    let all_known = terms.all_known(events);
    if !reused.is_empty() && !believed.leads && submission.chain.is_some() {
        // Those before it go again, and a refusal now would stand in their way on its publish stream: it is refused when its turn
        // has come, at the head of a run of its own.
        submission.work.alone = true;
        settled.again.push(submission);
    } else if !reused.is_empty() || (!all_known && ends_at.is_some() && terms.expected_next.is_some()) {
        metrics::get().publish_refused.increment(events as u64);
        let refusal = terms.refusal(&reused, ends_at);
        submission.refuse(refusal);
    } else if all_known && submission.work.producer.is_none() {
        let stands: Vec<(i64, bool)> = terms.keys.iter().filter_map(|keyed| Some((keyed.known?, true))).collect();
        reply(submission, placed(&stands, appended_at_us));
    } else {
        if all_known {
            // What it asks for has been appended: only its sequence is left to be recorded.
            terms.expected_next = None;
        }
        settled.again.push(submission);
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
