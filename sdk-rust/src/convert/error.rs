//! Errors of the wire: `tonic::Status` with its details, and `ErrorStatus` inside answers.

use std::{collections::BTreeMap, error::Error as _, time::Duration};

use eventflow_proto::v1;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::duration_from_wire;
use crate::error::{Applied, Error, ErrorKind, FieldViolation, reason};

impl From<Code> for ErrorKind {
    fn from(code: Code) -> Self {
        match code {
            Code::Ok | Code::Unknown => Self::Unknown,
            Code::Cancelled => Self::Cancelled,
            Code::InvalidArgument => Self::InvalidArgument,
            Code::DeadlineExceeded => Self::DeadlineExceeded,
            Code::NotFound => Self::NotFound,
            Code::AlreadyExists => Self::AlreadyExists,
            Code::PermissionDenied => Self::PermissionDenied,
            Code::ResourceExhausted => Self::ResourceExhausted,
            Code::FailedPrecondition => Self::FailedPrecondition,
            Code::Aborted => Self::Aborted,
            Code::OutOfRange => Self::OutOfRange,
            Code::Unimplemented => Self::Unimplemented,
            Code::Internal => Self::Internal,
            Code::Unavailable => Self::Unavailable,
            Code::DataLoss => Self::DataLoss,
            Code::Unauthenticated => Self::Unauthenticated,
        }
    }
}

fn applied(metadata: &BTreeMap<String, String>) -> Applied {
    match metadata.get("applied").map(String::as_str) {
        Some("no") => Applied::No,
        Some("unknown") => Applied::Unknown,
        _ => Applied::NotSaid,
    }
}

/// `FAILED_PRECONDITION` for a status that carries no reason of its own.
fn reason_of_code(code: Code) -> String {
    let mut reason = String::new();
    for (index, letter) in format!("{code:?}").char_indices() {
        if index > 0 && letter.is_ascii_uppercase() {
            reason.push('_');
        }
        reason.push(letter.to_ascii_uppercase());
    }
    reason
}

/// A status that no broker wrote: the connection broke, or what listens there is something else.
fn lost(status: Status) -> Error {
    // Under TLS 1.3 a client learns only after its handshake that its certificate was missing or refused.
    if let Some(alert) = certificate_alert(&status) {
        let message = format!(
            "the broker refuses this client's certificate ({alert}); give one of the authority that it trusts with the option \
             `client_certificate_pem`, or in EVENTFLOW_CLIENT_CERTIFICATE_FILE and EVENTFLOW_CLIENT_KEY_FILE"
        );
        return Error::new(ErrorKind::Unavailable, reason::CLIENT_CERTIFICATE_REFUSED, message)
            .with_applied(Applied::No)
            .with_source(status);
    }
    Error::new(
        ErrorKind::Unavailable,
        reason::CONNECTION_LOST,
        format!("the connection to the broker was lost: {}", innermost(&status)),
    )
    .with_applied(Applied::Unknown)
    .with_source(status)
}

/// What the server's alert said of the client's certificate, when that ended the connection. HTTP/2 keeps of such an error only its
/// text, which is rustls's.
fn certificate_alert(status: &Status) -> Option<String> {
    const ALERTS: [&str; 8] = [
        "CertificateRequired",
        "BadCertificate",
        "UnsupportedCertificate",
        "CertificateRevoked",
        "CertificateExpired",
        "CertificateUnknown",
        "UnknownCA",
        "AccessDenied",
    ];
    let text = innermost(status);
    let alert = text.strip_prefix("received fatal alert: ")?;
    ALERTS.contains(&alert).then(|| alert.to_owned())
}

fn innermost(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = status.source();
    while let Some(error) = source {
        text = error.to_string();
        source = error.source();
    }
    text
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let code = status.code();
        let Some(info) = details.error_info() else {
            return match code {
                Code::Unknown | Code::Unavailable | Code::Internal | Code::Cancelled => lost(status),
                _ => Error::new(code.into(), &reason_of_code(code), status.message()).with_source(status),
            };
        };
        let metadata: BTreeMap<String, String> = info.metadata.clone().into_iter().collect();
        let violations = details.bad_request().map_or_else(Vec::new, |bad| {
            bad.field_violations
                .iter()
                .map(|violation| FieldViolation {
                    field: violation.field.clone(),
                    description: violation.description.clone(),
                })
                .collect()
        });
        let retry_after: Option<Duration> = details.retry_info().and_then(|info| info.retry_delay);
        Error::new(code.into(), &info.reason, status.message())
            .with_applied(applied(&metadata))
            .with_metadata(metadata)
            .with_field_violations(violations)
            .with_retry_after(retry_after)
            .with_source(status)
    }
}

/// Violations inside an answer.
pub(crate) fn violations(wire: Vec<v1::FieldViolation>) -> Vec<FieldViolation> {
    let violation = |v1::FieldViolation { field, description }| FieldViolation { field, description };
    wire.into_iter().map(violation).collect()
}

impl From<v1::ErrorStatus> for Error {
    fn from(status: v1::ErrorStatus) -> Self {
        let metadata: BTreeMap<String, String> = status.metadata.into_iter().collect();
        Error::new(Code::from_i32(status.code).into(), &status.reason, status.message)
            .with_applied(applied(&metadata))
            .with_metadata(metadata)
            .with_field_violations(violations(status.field_violations))
            .with_retry_after(status.retry_delay.as_ref().map(duration_from_wire))
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn the_details_of_a_status_become_typed_facts() {
        let mut details = ErrorDetails::with_error_info(
            "STREAM_NOT_FOUND",
            "eventflow",
            [("stream".to_owned(), "ordrs".to_owned()), ("applied".to_owned(), "no".to_owned())],
        );
        details.set_retry_info(Some(Duration::from_secs(2)));
        details.add_bad_request_violation("stream", "no such stream");
        let error = Error::from(Status::with_error_details(Code::NotFound, "stream `ordrs` not found", details));
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(error.reason(), "STREAM_NOT_FOUND");
        assert_eq!(error.metadata()["stream"], "ordrs");
        assert_eq!(error.applied(), Applied::No);
        assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
        assert_eq!(error.field_violations()[0].field, "stream");
    }

    #[test]
    fn a_status_without_details_still_has_a_reason() {
        let error = Error::from(Status::new(Code::FailedPrecondition, "no"));
        assert_eq!(error.reason(), "FAILED_PRECONDITION");
        let error = Error::from(Status::new(Code::Unavailable, "tcp reset"));
        assert_eq!((error.reason(), error.applied()), (reason::CONNECTION_LOST, Applied::Unknown));
    }
}
