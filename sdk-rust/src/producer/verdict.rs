//! What a broker's answer means for the order of a partition.

use std::time::Duration;

use eventflow_proto::v1::{self, partition_result::Outcome as Said, publish_stream_response::Answer as Frame};
use tokio::time::Instant;

use super::{parcel::Placement, sequencer::Answer};
use crate::{
    convert::time_from_wire,
    error::{Applied, Error, ErrorKind, Result},
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
        (_, ErrorKind::InvalidArgument | ErrorKind::OutOfRange, _) => {
            let index = event_index(&error);
            Answer::EventRefused { error: error.with_applied(Applied::No), index }
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

/// The event that was refused, from a field path such as `events[3].key`.
fn event_index(error: &Error) -> Option<usize> {
    let path = error.metadata().get("field").map_or(error.message(), String::as_str);
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
        assert!(matches!(judged(3, "INVALID_ARGUMENT", Some("no")), Verdict::Answer(Answer::EventRefused { .. })));
    }

    #[test]
    fn the_refused_event_is_found_by_its_path() {
        let error = Error::new(ErrorKind::InvalidArgument, "INVALID_ARGUMENT", "`events[17].key` is too long");
        assert_eq!(event_index(&error), Some(17));
        assert_eq!(event_index(&Error::protocol("no path")), None);
    }

    #[test]
    fn offsets_of_a_repeat_that_lies_in_several_runs_stay_in_order() {
        let more = vec![v1::OffsetRange { base_offset: 50, event_count: 2 }];
        let appended = v1::Appended { base_offset: 7, event_count: 3, more, ..Default::default() };
        assert_eq!(placement(0, appended).runs, [(7, 3), (50, 2)]);
    }
}
