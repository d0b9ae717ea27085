//! Makes every error on its way out one of ours.
//!
//! Errors of services carry our details already and get the request id. Errors that tonic made by itself (codec, sizes,
//! encodings, routing) carry none: they are translated by code and text; the transport tests pin the texts.

use super::RequestId;
use crate::{
    domain::{Applied, Error, Reason},
    grpc::{
        servers::MESSAGE_BYTES,
        status::{self, DOMAIN, REQUEST_ID},
    },
};
use http::HeaderMap;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// The code of the answer in `headers` (or trailers), after making an error ours. `None`: no status here.
pub(super) fn complete(headers: &mut HeaderMap, id: &RequestId, nothing_was_begun: bool) -> Option<Code> {
    let code = Code::from_bytes(headers.get(Status::GRPC_STATUS)?.as_bytes());
    if code == Code::Ok {
        return Some(code);
    }
    let mut status = Status::from_header_map(headers)?;
    if status.details().is_empty()
        && let Some(error) = translate(status.code(), status.message())
    {
        status = status::to_status(&if nothing_was_begun { error.applied(Applied::No) } else { error });
    }
    let status = with_request_id(&status, id);
    // What was in the headers before (`grpc-accept-encoding` for one) stays there.
    if status.add_header(headers).is_err() {
        return Some(Code::Internal);
    }
    Some(status.code())
}

/// What tonic's own error means in our words; `None` for what belongs to a standard service (health, reflection).
fn translate(code: Code, text: &str) -> Option<Error> {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| text.starts_with(prefix));
    match code {
        Code::OutOfRange if starts(&["Error, decoded message length"]) => Some(too_large()),
        Code::ResourceExhausted if starts(&["Error decompressing: size limit"]) => Some(too_large()),
        Code::Internal if starts(&MALFORMED) => Some(malformed(text)),
        Code::Unimplemented => Some(unimplemented(text)),
        Code::Internal | Code::Unknown | Code::OutOfRange => Some(Error::internal(format!("{code:?}: {text}"))),
        _ => None,
    }
}

/// How tonic begins when it could not read a message.
const MALFORMED: [&str; 5] = [
    "failed to decode Protobuf message",
    "protocol error: received message with",
    "Error decompressing",
    "Unexpected EOF decoding stream",
    "Missing request message",
];

fn too_large() -> Error {
    let message = format!("a message may have at most {MESSAGE_BYTES} bytes after decompression; send less at once");
    Error::new(Reason::MessageTooLarge, message).fact("limit_bytes", MESSAGE_BYTES)
}

fn malformed(text: &str) -> Error {
    // prost names the field, never its value.
    let message = format!("the message cannot be read as this method's request: {text}");
    Error::new(Reason::MalformedMessage, message)
}

fn unimplemented(text: &str) -> Error {
    let message = if text.starts_with("Content is compressed") {
        format!("{text}; use gzip, zstd or identity")
    } else {
        "this broker does not know the method".to_owned()
    };
    Error::new(Reason::Unimplemented, message)
}

/// The same status, with the id in its ErrorInfo. One without our ErrorInfo stays as it is.
fn with_request_id(status: &Status, id: &RequestId) -> Status {
    let mut details = status.get_error_details();
    let Some(info) = details.error_info().filter(|info| info.domain == DOMAIN).cloned() else {
        return status.clone();
    };
    let mut metadata = info.metadata;
    metadata.insert(REQUEST_ID.to_owned(), id.text().to_string());
    details.set_error_info(info.reason, info.domain, metadata);
    Status::with_error_details(status.code(), status.message(), details)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn completed(status: &Status) -> (Option<Code>, Status) {
        let mut headers = HeaderMap::new();
        status.add_header(&mut headers).expect("headers");
        let id = RequestId::of(&HeaderMap::from_iter([(
            crate::grpc::layers::request_id::HEADER,
            "id-1".parse().expect("header"),
        )]));
        let code = complete(&mut headers, &id, true);
        (code, Status::from_header_map(&headers).expect("status"))
    }

    #[test]
    fn errors_of_tonic_become_ours() {
        let limit = "Error, decoded message length too large: found 9 bytes, the limit is: 8 bytes";
        let bomb = "Error decompressing: size limit, of 8 bytes, exceeded while decompressing message";
        for (status, reason) in [
            (Status::out_of_range(limit), Reason::MessageTooLarge),
            (Status::resource_exhausted(bomb), Reason::MessageTooLarge),
            (Status::internal("failed to decode Protobuf message: invalid tag"), Reason::MalformedMessage),
            (
                Status::internal("protocol error: received message with invalid compression flag: 9"),
                Reason::MalformedMessage,
            ),
            (Status::internal("Error decompressing: corrupt deflate stream"), Reason::MalformedMessage),
            (Status::internal("Unexpected EOF decoding stream."), Reason::MalformedMessage),
            (Status::internal("Missing request message."), Reason::MalformedMessage),
            (Status::unimplemented(""), Reason::Unimplemented),
            (Status::internal("Error encoding: out of room"), Reason::Internal),
            (Status::unknown("something"), Reason::Internal),
        ] {
            let (code, after) = completed(&status);
            assert_eq!(code, Some(after.code()));
            assert_eq!(after.code(), status::tonic_code(reason.code()), "{status:?}");
            let info = after.get_details_error_info().expect("error info");
            assert_eq!(info.reason, reason.as_str(), "{status:?}");
            assert_eq!(info.metadata[REQUEST_ID], "id-1");
            assert_eq!(info.metadata[status::APPLIED], "no");
            assert!(reason != Reason::Internal || !after.message().contains("something"));
        }
    }

    #[test]
    fn our_own_errors_keep_everything_and_gain_the_request_id() {
        let error = Error::invalid("events[3].key", "is too long").fact("limit", 7).retry_after(Duration::from_secs(2));
        let (_, after) = completed(&status::to_status(&error));
        assert_eq!(after.message(), error.message());
        assert_eq!(after.get_details_bad_request().expect("fields").field_violations.len(), 1);
        assert_eq!(after.get_details_retry_info().expect("retry").retry_delay, Some(Duration::from_secs(2)));
        let info = after.get_details_error_info().expect("error info");
        assert_eq!((info.metadata["limit"].as_str(), info.metadata[REQUEST_ID].as_str()), ("7", "id-1"));
    }

    #[test]
    fn answers_of_standard_services_stay_theirs() {
        let (code, after) = completed(&Status::not_found("service not registered"));
        assert_eq!((code, after.message()), (Some(Code::NotFound), "service not registered"));
        assert_eq!(completed(&Status::ok("")).0, Some(Code::Ok));
    }
}
