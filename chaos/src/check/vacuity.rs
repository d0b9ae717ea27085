//! Whether a run tried enough: a green run that injected nothing proves nothing.

use super::coverage::Steps;
use super::totals::Totals;
use crate::history::{Outcome, Record, Setup};

/// Fewer acknowledged events than this prove nothing.
const ACKNOWLEDGED_MIN: u64 = 1_000;

/// The reasons for which a run is void.
pub fn check(setup: &Setup, records: &[Record], totals: &Totals) -> Vec<String> {
    let steps = Steps::of(records);
    let has = |wanted: fn(&Record) -> bool| records.iter().any(wanted);
    let checks = [
        (setup.streams.is_empty(), "the history has no setup".to_owned()),
        (steps.drained.is_none(), "the run did not come to its end".to_owned()),
        (!has(|record| matches!(record, Record::Bounds(_))), "the log was not read back".to_owned()),
        (totals.acknowledged < ACKNOWLEDGED_MIN, format!("only {} events were acknowledged", totals.acknowledged)),
        (totals.delivered == 0, "nothing was delivered".to_owned()),
        (totals.commits == 0, "nothing was committed".to_owned()),
        (setup.faults_wanted && totals.fault_count() == 0, "no fault was injected".to_owned()),
        (
            setup.faults_wanted && !was_in_doubt(records, totals),
            "no fault hit anything: nothing was ever in doubt".to_owned(),
        ),
        (
            setup.fencing_wanted && totals.fenced == 0 && !has(was_fenced),
            "a broker was paused past its lease, and nobody was fenced".to_owned(),
        ),
        (
            setup.loss_allowed && totals.lost == 0,
            "nothing was lost to a standby that was to be behind: it was not".to_owned(),
        ),
        (
            totals.faults.contains_key("disk full") && !has(was_refused_for_room),
            "the disk was full, and nobody was refused for it".to_owned(),
        ),
        (setup.outcomes_wanted && totals.nacks == 0, "no event failed in a shared group".to_owned()),
        (setup.outcomes_wanted && totals.retried == 0, "no event was tried again".to_owned()),
        (setup.outcomes_wanted && totals.dead_letters == 0, "no event was given up".to_owned()),
        (
            setup.groups.iter().any(|group| group.key_order) && totals.waited == 0 && !setup.loss_allowed,
            "no event waited for an earlier one of its key".to_owned(),
        ),
        (
            setup.outcomes_wanted && totals.keys_repeated == 0 && !setup.loss_allowed,
            "no idempotency key was repeated".to_owned(),
        ),
        (setup.outcomes_wanted && totals.keys_refused == 0, "no revoked key was refused".to_owned()),
        (has(redis_was_hit) && !has(redis_was_told), "Redis was hit, and no broker had told it anything".to_owned()),
        (has(forgot_nothing), "power was cut, and not one write was forgotten".to_owned()),
        (
            !has(|record| matches!(record, Record::Range(range) if range.outcome == Outcome::Ok)),
            "nothing was read back by a broker".to_owned(),
        ),
    ];
    checks.into_iter().filter_map(|(holds, why)| holds.then_some(why)).collect()
}

/// A session that was told that it is over.
fn was_fenced(record: &Record) -> bool {
    matches!(record, Record::Ended(ended) if matches!(ended.reason.as_str(), "MEMBER_FENCED" | "SESSION_EXPIRED"))
}

/// Between two flushes there is always something.
fn forgot_nothing(record: &Record) -> bool {
    matches!(record, Record::Fault(fault) if fault.kind == "power lost" && fault.target.starts_with("0 writes"))
}

fn redis_was_hit(record: &Record) -> bool {
    matches!(record, Record::Fault(fault) if fault.kind.starts_with("redis ") && fault.skipped.is_empty())
}

/// By some broker, some time before a fault.
fn redis_was_told(record: &Record) -> bool {
    matches!(record, Record::Fault(fault) if fault.kind.starts_with("redis ") && !fault.target.starts_with("0 buckets") && fault.skipped.is_empty())
}

fn was_refused_for_room(record: &Record) -> bool {
    matches!(record, Record::Publish(publish) if publish.outcome == Outcome::Fail && publish.reason == "DISK_FULL")
}

/// A publish that was tried again, or whose outcome nobody knew; a delivery that came again.
fn was_in_doubt(records: &[Record], totals: &Totals) -> bool {
    let tried_again = |record: &Record| match record {
        Record::Publish(publish) => publish.attempts > 1 || publish.duplicate || publish.outcome == Outcome::Info,
        _ => false,
    };
    totals.redelivered > 0 || totals.fenced > 0 || records.iter().any(tried_again)
}
