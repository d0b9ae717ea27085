//! The only mapping from [`domain::Error`](crate::domain::Error) to gRPC.
//!
//! Every non-OK answer carries `google.rpc.ErrorInfo` (reason, domain, facts, `applied`), `BadRequest` for fields, and
//! `RetryInfo` where a retry makes sense. An internal error shows nothing but that it is one: the chain goes to the log here,
//! once, inside the call's span, which names the request id. The id enters the answer in `layers::answer`.

use crate::domain::{
    Applied, Error, Reason,
    error::{Code, Violation},
};
use eventflow_proto::v1;
use std::{collections::HashMap, time::Duration};
use tonic::Status;
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// `google.rpc.ErrorInfo.domain` of all our errors.
pub const DOMAIN: &str = "eventflow";
/// Metadata key that says whether a write changed anything.
pub const APPLIED: &str = "applied";
/// Metadata key of the call's id, which the log knows too.
pub const REQUEST_ID: &str = "request_id";

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        to_status(&error)
    }
}

/// The status that a caller gets for `error`.
pub fn to_status(error: &Error) -> Status {
    log_if_internal(error);
    let mut details = ErrorDetails::new();
    details.set_error_info(error.reason().as_str(), DOMAIN, metadata(error).collect::<HashMap<_, _>>());
    if !error.violations().is_empty() {
        details.set_bad_request(error.violations().iter().map(field_violation).collect::<Vec<_>>());
    }
    if let Some(delay) = error.retry_delay() {
        details.set_retry_info(Some(delay));
    }
    Status::with_error_details(tonic_code(error.code()), error.message(), details)
}

/// The same facts inside an otherwise successful answer.
pub fn to_error_status(error: &Error) -> v1::ErrorStatus {
    log_if_internal(error);
    v1::ErrorStatus {
        code: tonic_code(error.code()) as i32,
        reason: error.reason().as_str().to_owned(),
        message: error.message().to_owned(),
        metadata: metadata(error).collect(),
        retry_delay: error.retry_delay().map(wire_duration),
        field_violations: error.violations().iter().map(wire_violation).collect(),
    }
}

/// The gRPC code of ours.
pub fn tonic_code(code: Code) -> tonic::Code {
    match code {
        Code::InvalidArgument => tonic::Code::InvalidArgument,
        Code::DeadlineExceeded => tonic::Code::DeadlineExceeded,
        Code::NotFound => tonic::Code::NotFound,
        Code::AlreadyExists => tonic::Code::AlreadyExists,
        Code::PermissionDenied => tonic::Code::PermissionDenied,
        Code::ResourceExhausted => tonic::Code::ResourceExhausted,
        Code::FailedPrecondition => tonic::Code::FailedPrecondition,
        Code::Aborted => tonic::Code::Aborted,
        Code::OutOfRange => tonic::Code::OutOfRange,
        Code::Unimplemented => tonic::Code::Unimplemented,
        Code::Internal => tonic::Code::Internal,
        Code::Unavailable => tonic::Code::Unavailable,
        Code::DataLoss => tonic::Code::DataLoss,
        Code::Unauthenticated => tonic::Code::Unauthenticated,
    }
}

fn metadata(error: &Error) -> impl Iterator<Item = (String, String)> + '_ {
    let facts = error.metadata().iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    let applied = error.was_applied().map(|applied| (APPLIED.to_owned(), applied_word(applied).to_owned()));
    facts.chain(applied)
}

fn applied_word(applied: Applied) -> &'static str {
    match applied {
        Applied::No => "no",
        Applied::Unknown => "unknown",
    }
}

/// A violation inside an answer.
pub fn wire_violation(violation: &Violation) -> v1::FieldViolation {
    v1::FieldViolation { field: violation.field.clone(), description: violation.description.clone() }
}

fn field_violation(violation: &Violation) -> FieldViolation {
    FieldViolation::new(violation.field.clone(), violation.description.clone())
}

fn wire_duration(delay: Duration) -> prost_types::Duration {
    prost_types::Duration { seconds: delay.as_secs().cast_signed(), nanos: delay.subsec_nanos().cast_signed() }
}

/// A bug is logged where it becomes an answer, and nowhere else.
fn log_if_internal(error: &Error) {
    if error.reason() == Reason::Internal {
        tracing::error!(
            message = error.message(),
            chain = error.chain(),
            "a call failed by a bug or an unexpected failure"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_travels_with_its_code_and_facts() {
        for reason in Reason::ALL {
            let error = Error::new(*reason, "what happened")
                .fact("limit", 7)
                .violation("events[3].key", "is too long")
                .retry_after(Duration::from_millis(1_500))
                .applied(Applied::No);
            let status = to_status(&error);
            assert_eq!(status.code(), tonic_code(reason.code()), "{reason:?}");
            assert_ne!(status.code(), tonic::Code::Ok);
            assert_eq!(status.message(), "what happened");

            let info = status.get_details_error_info().expect("error info");
            assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason.as_str(), DOMAIN));
            assert_eq!(info.metadata["limit"], "7");
            assert_eq!(info.metadata[APPLIED], "no");
            let delay = status.get_details_retry_info().expect("retry info").retry_delay;
            assert_eq!(delay, Some(Duration::from_millis(1_500)));
            let fields = status.get_details_bad_request().expect("bad request").field_violations;
            assert_eq!(fields.len(), 1);
            let field = &fields[0];
            assert_eq!((field.field.as_str(), field.description.as_str()), ("events[3].key", "is too long"));

            let inside = to_error_status(&error);
            assert_eq!((inside.code, inside.reason.as_str()), (status.code() as i32, reason.as_str()));
            assert_eq!((inside.message.as_str(), inside.metadata["limit"].as_str()), ("what happened", "7"));
            assert_eq!(inside.metadata[APPLIED], "no");
            assert_eq!(inside.retry_delay, Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }));
        }
    }

    #[test]
    fn what_was_not_said_is_absent() {
        let status = to_status(&Error::new(Reason::StreamNotFound, "no stream `orders`"));
        assert!(status.get_details_retry_info().is_none());
        assert!(status.get_details_bad_request().is_none());
        assert!(!status.get_details_error_info().expect("error info").metadata.contains_key(APPLIED));
    }

    #[test]
    fn an_internal_error_shows_nothing_of_its_cause() {
        let status = to_status(&Error::internal("relation \"secret_table\" does not exist"));
        assert_eq!(status.code(), tonic::Code::Internal);
        assert!(!status.message().contains("secret_table"));
        assert!(!String::from_utf8_lossy(status.details()).contains("secret_table"));
    }

    #[test]
    fn an_unknown_outcome_says_so() {
        let status = to_status(&Error::new(Reason::OutcomeUnknown, "lost").applied(Applied::Unknown));
        assert_eq!(status.get_details_error_info().expect("error info").metadata[APPLIED], "unknown");
    }
}
