//! How long a call may take.
//!
//! A unary call has the client's `grpc-timeout`, at most [`UNARY_MAX`]. Of a server stream the request is always bounded;
//! its answer, and a bidirectional stream, only by a `grpc-timeout`: without one they may go on for ever.

use super::Kind;
use crate::domain::{Applied, Error, Reason, Result};
use http::HeaderMap;
use std::time::Duration;

/// Longest unary call, and the bound of one that does not say.
pub(super) const UNARY_MAX: Duration = Duration::from_secs(30);

/// The bounds of one call, both from its beginning. `None` is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Deadline {
    /// Until the head of the answer.
    pub head: Option<Duration>,
    /// Until the end of a streamed answer.
    pub end: Option<Duration>,
}

/// A `grpc-timeout` that cannot be read is refused rather than ignored: the client relies on it.
pub(super) fn of(headers: &HeaderMap, kind: Kind) -> Result<Deadline> {
    let asked = match headers.get("grpc-timeout") {
        Some(value) => Some(parse(value.as_bytes()).ok_or_else(|| malformed(value.as_bytes()))?),
        None => None,
    };
    let bounded = Some(asked.map_or(UNARY_MAX, |asked| asked.min(UNARY_MAX)));
    Ok(match kind {
        // The body of a unary answer is at hand when its head is.
        Kind::Unary => Deadline { head: bounded, end: None },
        Kind::ServerStream => Deadline { head: bounded, end: asked },
        Kind::ClientStream => Deadline { head: asked, end: asked },
    })
}

pub(super) async fn within<T>(bound: Option<Duration>, call: impl Future<Output = Result<T>>) -> Result<T> {
    match bound {
        None => call.await,
        Some(bound) => tokio::time::timeout(bound, call).await.unwrap_or_else(|_| Err(passed(bound))),
    }
}

/// One to eight digits and a unit, as gRPC over HTTP/2 defines it.
fn parse(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(amount * 3_600)),
        b'M' => Some(Duration::from_secs(amount * 60)),
        b'S' => Some(Duration::from_secs(amount)),
        b'm' => Some(Duration::from_millis(amount)),
        b'u' => Some(Duration::from_micros(amount)),
        b'n' => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

fn malformed(text: &[u8]) -> Error {
    let shown = String::from_utf8_lossy(&text[..text.len().min(32)]).into_owned();
    Error::invalid("grpc-timeout", format!("is `{shown}`; it must be 1 to 8 digits and one of H, M, S, m, u, n"))
        .applied(Applied::No)
}

pub(super) fn passed(bound: Duration) -> Error {
    let milliseconds = bound.as_millis();
    Error::new(Reason::DeadlineExceeded, format!("the call took longer than its deadline of {milliseconds} ms"))
        .fact("deadline_ms", milliseconds)
        .applied(Applied::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_bounded_only_as_its_client_asks() {
        let asked =
            |text: &str| HeaderMap::from_iter([(http::HeaderName::from_static("grpc-timeout"), text.parse().unwrap())]);
        let (none, minute) = (HeaderMap::new(), Some(Duration::from_secs(60)));
        let bounds =
            |headers: &HeaderMap, kind| of(headers, kind).map(|deadline| (deadline.head, deadline.end)).unwrap();
        assert_eq!(bounds(&none, Kind::Unary), (Some(UNARY_MAX), None));
        assert_eq!(bounds(&none, Kind::ServerStream), (Some(UNARY_MAX), None));
        assert_eq!(bounds(&none, Kind::ClientStream), (None, None));
        assert_eq!(bounds(&asked("1M"), Kind::Unary), (Some(UNARY_MAX), None));
        assert_eq!(bounds(&asked("1M"), Kind::ServerStream), (Some(UNARY_MAX), minute));
        assert_eq!(bounds(&asked("1M"), Kind::ClientStream), (minute, minute));
    }

    #[test]
    fn a_timeout_is_read_as_the_specification_says() {
        for (text, nanoseconds) in [
            ("1n", 1),
            ("0m", 0),
            ("250m", 250_000_000),
            ("2S", 2_000_000_000),
            ("3M", 180_000_000_000),
            ("00000007u", 7_000),
            ("99999999H", 99_999_999 * 3_600 * 1_000_000_000),
        ] {
            assert_eq!(parse(text.as_bytes()).map(|duration| duration.as_nanos()), Some(nanoseconds), "`{text}`");
        }
        for bad in ["", "S", "5", "5s", "-1S", "+1S", "1.5S", "123456789S", " 1S", "1 S", "\u{b2}S"] {
            assert_eq!(parse(bad.as_bytes()), None, "`{bad}`");
        }
    }
}
