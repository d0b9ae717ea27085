//! The id of a call: the client's `x-request-id` when it is sane, else made here. It is in every answer and in the log.

use http::{HeaderMap, HeaderName, HeaderValue};
use rand::RngCore;
use std::sync::Arc;

pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");
const LENGTH_MAX: usize = 64;

/// Id of one call. In a request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Arc<str>);

impl RequestId {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(HEADER).and_then(|value| value.to_str().ok()).filter(|text| is_sane(text));
        Self(given.map_or_else(make, Arc::from))
    }

    pub fn text(&self) -> &Arc<str> {
        &self.0
    }

    pub(super) fn header(&self) -> HeaderValue {
        // Sane text is header text.
        HeaderValue::from_str(&self.0).unwrap_or(HeaderValue::from_static(""))
    }
}

/// What may stand in a log line as it is.
fn is_sane(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:/+=".contains(&byte);
    (1..=LENGTH_MAX).contains(&text.len()) && text.bytes().all(allowed)
}

fn make() -> Arc<str> {
    format!("{:016x}", rand::rng().next_u64()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &[u8]) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_bytes(text).expect("header"));
        RequestId::of(&headers).0.to_string()
    }

    #[test]
    fn a_sane_id_is_kept_and_any_other_replaced() {
        for good in ["a", "3f2b0c1e-77aa-4bb1-9d5e-2f8f3c6f0a11", "Root=1-67891233-abcdef", &"x".repeat(64)] {
            assert_eq!(of(good.as_bytes()), good);
        }
        for bad in ["", "two words", "quote\"", "\u{1b}[31m".trim_start_matches('\u{1b}'), &"x".repeat(65), "ä"] {
            let made = of(bad.as_bytes());
            assert!(made.len() == 16 && made.bytes().all(|byte| byte.is_ascii_hexdigit()), "`{bad}` gave `{made}`");
        }
        assert_ne!(of(b""), of(b""));
    }
}
