//! What an event says, in sixteen bytes: two events with the same idempotency key are the same when these are.

use crate::domain::event::{DELIVER_AT, Event, parse_headers};
use sha2::{Digest, Sha256};

/// The first half of a SHA-256.
pub type Fingerprint = [u8; 16];

/// Headers that tell of the call, or of a time, rather than of the event.
const OF_THE_CALL: [&str; 3] = ["traceparent", "tracestate", DELIVER_AT];

/// Covers type, key, payload, content type and headers; not id, times or trace.
pub fn fingerprint(event: &Event) -> Fingerprint {
    let mut hash = Sha256::new();
    let mut part = |bytes: Option<&[u8]>| {
        // Lengths keep parts apart; an absent one is not an empty one.
        hash.update(bytes.map_or(u64::MAX, |bytes| bytes.len() as u64).to_le_bytes());
        hash.update(bytes.unwrap_or_default());
    };
    part(Some(event.kind.as_bytes()));
    part(event.key.as_deref().map(str::as_bytes));
    part(Some(event.content_type.as_bytes()));
    part(Some(&event.payload));
    for (name, value) in event.headers.as_deref().map(parse_headers).unwrap_or_default() {
        if !OF_THE_CALL.contains(&name.as_str()) {
            part(Some(name.as_bytes()));
            part(Some(value.as_bytes()));
        }
    }
    let mut first = Fingerprint::default();
    first.copy_from_slice(&hash.finalize()[..16]);
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::event::headers_text;
    use std::collections::BTreeMap;

    fn with_headers(headers: &[(&str, &str)]) -> Event {
        let headers: BTreeMap<String, String> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Event { headers: headers_text(&headers), payload: "p".into(), ..Event::default() }
    }

    #[test]
    fn what_an_event_says_counts_and_when_and_how_it_came_does_not() {
        let plain = with_headers(&[("a", "1")]);
        let same = [
            Event { id: Some("x".into()), time_us: Some(7), idempotency_key: Some("k".into()), ..plain.clone() },
            with_headers(&[("a", "1"), ("traceparent", "00-1"), ("tracestate", "x=1"), (DELIVER_AT, "7")]),
        ];
        for event in same {
            assert_eq!(fingerprint(&event), fingerprint(&plain), "{event:?}");
        }
        let other = [
            Event { key: Some(String::new()), ..plain.clone() },
            Event { kind: "p".into(), payload: "".into(), ..plain.clone() },
            Event { content_type: "text/plain".into(), ..plain.clone() },
            Event { payload: "q".into(), ..plain.clone() },
            with_headers(&[("a", "2")]),
            with_headers(&[("a1", "")]),
            with_headers(&[]),
        ];
        for event in other {
            assert_ne!(fingerprint(&event), fingerprint(&plain), "{event:?}");
        }
    }
}
