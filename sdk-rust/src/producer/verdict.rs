//! What a broker's answer means for the order of a partition.

use std::{collections::BTreeMap, time::Duration};

use eventflow_proto::v1::{self, partition_result::Outcome as Said, publish_stream_response::Answer as Frame};
use tokio::time::Instant;

use super::{parcel::Placement, sequencer::Answer};
use crate::{
    convert::time_from_wire,
    error::{Applied, Error, ErrorKind, FieldViolation, Result},
};

/// Pause before the same request again, when the broker does not say.
const PAUSE: Duration = Duration::from_millis(50);

/// An answer, as the sender must act on it.
#[derive(Debug)]
pub(super) enum Verdict {
    /// For the partition's sequencer.
    Answer(Answer),
    /// The same, and this broker is going away.
    AnswerThenLeave(Answer),
    /// The producer is at its end.
    Fenced(Error),
}

/// Judges the answer to a request for one partition.
pub(super) fn judge(partition: u32, response: v1::PublishStreamResponse, now: Instant) -> Verdict {
    match result_of(response) {
        Ok(Said::Appended(appended)) => Verdict::Answer(Answer::Appended(placement(partition, appended))),
        Ok(Said::Error(status)) => judge_error(Error::from(status), now),
        Ok(Said::Unknown(status)) => {
            let error = Error::from(status).with_applied(Applied::Unknown);
            judge_error(error, now)
        }
        Ok(Said::Validated(_)) => Verdict::Fenced(Error::protocol("the broker only validated an event")),
        Err(error) => judge_error(error, now),
    }
}

fn result_of(response: v1::PublishStreamResponse) -> Result<Said> {
    match response.answer {
        Some(Frame::Error(status)) => Err(status.into()),
        Some(Frame::Published(mut published)) if published.results.len() == 1 => {
            let result = published.results.remove(0);
            result.outcome.ok_or_else(|| Error::protocol("a publish result says nothing"))
        }
        Some(Frame::Published(published)) => {
            let results = published.results.len();
            Err(Error::protocol(format!("one partition was published to, and {results} were answered")))
        }
        None => Err(Error::protocol("a publish answer says nothing")),
    }
}

fn placement(partition: u32, appended: v1::Appended) -> Placement {
    let mut runs = vec![(appended.base_offset, appended.event_count)];
    runs.extend(appended.more.iter().map(|run| (run.base_offset, run.event_count)));
    Placement {
        partition,
        log_epoch: appended.log_epoch,
        append_time: time_from_wire(&appended.append_time.unwrap_or_default()),
        duplicate: appended.duplicate,
        known: appended.duplicate_places,
        runs,
    }
}

fn judge_error(error: Error, now: Instant) -> Verdict {
    let again = now + error.retry_after().unwrap_or(PAUSE);
    let answer = match (error.reason(), error.kind(), error.applied()) {
        ("PRODUCER_FENCED", ..) => return Verdict::Fenced(error),
        ("BROKER_DRAINING", _, Applied::Unknown) => {
            return Verdict::AnswerThenLeave(Answer::Unknown(now));
        }
        ("BROKER_DRAINING", ..) => return Verdict::AnswerThenLeave(Answer::Later(now)),
        ("PRECEDING_FAILED", ..) => Answer::Preceded,
        ("OUT_OF_SEQUENCE", ..) => Answer::OutOfSequence,
        ("PRODUCER_UNKNOWN" | "SEQUENCE_TOO_OLD", ..) => Answer::IdentityLost(error),
        ("STALE_ROUTING" | "PARTITION_OUT_OF_RANGE", ..) => Answer::StaleRouting,
        (_, _, Applied::Unknown) => Answer::Unknown(again),
        (_, ErrorKind::InvalidArgument | ErrorKind::OutOfRange | ErrorKind::AlreadyExists, _) => {
            let error = error.with_applied(Applied::No);
            Answer::EventsRefused { bad: bad_events(&error), error }
        }
        (_, ErrorKind::ResourceExhausted | ErrorKind::Aborted, _) => Answer::Later(again),
        (_, ErrorKind::Unavailable | ErrorKind::DeadlineExceeded, Applied::No) => Answer::Later(again),
        (_, ErrorKind::Unavailable | ErrorKind::DeadlineExceeded, _) => Answer::Unknown(again),
        // A bug in the broker that does not say whether anything was applied: ask again until it does.
        (_, ErrorKind::Internal | ErrorKind::Unknown, Applied::NotSaid) => Answer::Unknown(again),
        _ => Answer::Refused(error),
    };
    Verdict::Answer(answer)
}

/// The events that were refused, each with what is wrong with it, from field paths such as `events[3].key`.
fn bad_events(error: &Error) -> BTreeMap<usize, Error> {
    let mut bad: BTreeMap<usize, Vec<FieldViolation>> = BTreeMap::new();
    for violation in error.field_violations() {
        if let Some(index) = event_index(&violation.field) {
            bad.entry(index).or_default().push(violation.clone());
        }
    }
    if bad.is_empty() {
        return event_index(error.message()).map(|index| (index, error.clone())).into_iter().collect();
    }
    let named = event_index(error.message());
    let of_event = |(index, violations): (usize, Vec<FieldViolation>)| {
        let first = &violations[0];
        let message = format!("`{}`: {}", first.field, first.description);
        let error = if named == Some(index) { error.clone() } else { error.clone().with_message(message) };
        (index, error.with_field_violations(violations))
    };
    bad.into_iter().map(of_event).collect()
}

/// The index in a path such as `events[3].key`, or in a sentence that names one.
fn event_index(path: &str) -> Option<usize> {
    let (_, rest) = path.split_once("events[")?;
    rest.split_once(']')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(code: i32, reason: &str, applied: Option<&str>) -> Verdict {
        let metadata = applied.map(|applied| ("applied".to_owned(), applied.to_owned())).into_iter().collect();
        let status = v1::ErrorStatus { code, reason: reason.into(), metadata, ..Default::default() };
        judge(0, v1::PublishStreamResponse { answer: Some(Frame::Error(status)) }, Instant::now())
    }

    #[test]
    fn refusals_are_told_from_doubts() {
        assert!(matches!(judged(9, "PRODUCER_FENCED", Some("no")), Verdict::Fenced(_)));
        assert!(matches!(judged(14, "DATABASE_UNAVAILABLE", None), Verdict::Answer(Answer::Unknown(_))));
        assert!(matches!(judged(14, "DATABASE_UNAVAILABLE", Some("no")), Verdict::Answer(Answer::Later(_))));
        assert!(matches!(judged(8, "DISK_FULL", Some("no")), Verdict::Answer(Answer::Later(_))));
        assert!(matches!(judged(14, "BROKER_DRAINING", None), Verdict::AnswerThenLeave(Answer::Later(_))));
        assert!(matches!(judged(5, "STREAM_NOT_FOUND", Some("no")), Verdict::Answer(Answer::Refused(_))));
        assert!(matches!(judged(3, "INVALID_ARGUMENT", Some("no")), Verdict::Answer(Answer::EventsRefused { .. })));
    }

    #[test]
    fn refused_events_are_found_by_their_paths_and_each_is_told_its_own_fault() {
        let error = Error::new(ErrorKind::InvalidArgument, "INVALID_ARGUMENT", "`events[17].key` is too long");
        assert_eq!(bad_events(&error).into_keys().collect::<Vec<_>>(), [17]);
        assert!(bad_events(&Error::protocol("no path")).is_empty());
        let violation = |field: &str| FieldViolation { field: field.into(), description: "is wrong".into() };
        let violations = ["events[4].payload/a", "events[4].payload/b", "events[2].payload", "stream"].map(violation);
        let error = Error::new(ErrorKind::InvalidArgument, "SCHEMA_VIOLATION", "`events[4].payload/a` is wrong");
        let bad = bad_events(&error.with_field_violations(violations.into()));
        assert_eq!(bad.keys().copied().collect::<Vec<_>>(), [2, 4]);
        assert_eq!(bad[&2].message(), "`events[2].payload`: is wrong");
        assert_eq!((bad[&2].field_violations().len(), bad[&4].field_violations().len()), (1, 2));
    }

    #[test]
    fn offsets_of_a_repeat_that_lies_in_several_runs_stay_in_order() {
        let more = vec![v1::OffsetRange { base_offset: 50, event_count: 2 }];
        let appended = v1::Appended { base_offset: 7, event_count: 3, more, ..Default::default() };
        assert_eq!(placement(0, appended).runs, [(7, 3), (50, 2)]);
    }
}
