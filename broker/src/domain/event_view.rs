//! A look into an event where it lies, in its canonical encoding: nothing is copied, nothing is allocated. And the way back to an
//! event of its own, for those who change it.

use crate::domain::event::{DELIVER_AT, Encoded, Event, headers_text};
use std::collections::BTreeMap;

/// The fields of an encoded event that decisions are made by.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventView<'a> {
    pub kind: &'a str,
    pub key: Option<&'a str>,
    pub content_type: &'a str,
    pub payload: &'a [u8],
    /// When it is to be delivered, in microseconds since 1970. None: at once.
    pub deliver_at_us: Option<i64>,
    /// All fields, for headers.
    fields: &'a [u8],
}

impl Encoded {
    /// The event at an index. None: it is not there, or it is not what [`Encoder`](crate::domain::event::Encoder) writes.
    pub fn view(&self, index: usize) -> Option<EventView<'_>> {
        let end = *self.ends.get(index)? as usize;
        let mut event = self.bytes.get(self.start_of(index) as usize..end)?;
        let (_, fields) = take_field(&mut event)?;
        let mut view = EventView { fields: fields.bytes()?, ..EventView::default() };
        let mut rest = view.fields;
        while !rest.is_empty() {
            match take_field(&mut rest)? {
                (2, field) => view.kind = field.text()?,
                (3, field) => view.key = Some(field.text()?),
                (5, field) => view.content_type = field.text()?,
                (7, field) => view.payload = field.bytes()?,
                (11, field) => view.deliver_at_us = Some(timestamp_us(field.bytes()?)?),
                _ => {}
            }
        }
        Some(view)
    }

    /// The event at an index, as [`view`](Self::view) finds it; its payload is shared.
    pub fn event(&self, index: usize) -> Option<Event> {
        let view = self.view(index)?;
        let (mut event, mut headers) = (Event::default(), BTreeMap::new());
        let mut rest = view.fields;
        while !rest.is_empty() {
            match take_field(&mut rest)? {
                (1, field) => event.id = Some(field.text()?.to_owned()),
                (4, field) => {
                    let (name, value) = header(field.bytes()?)?;
                    headers.insert(name.to_owned(), value.to_owned());
                }
                (6, field) => event.time_us = Some(timestamp_us(field.bytes()?)?),
                _ => {}
            }
        }
        // Kept among the headers, as it was admitted.
        if let Some(at) = view.deliver_at_us {
            headers.insert(DELIVER_AT.to_owned(), at.to_string());
        }
        event.kind = view.kind.to_owned();
        event.key = view.key.map(str::to_owned);
        event.headers = headers_text(&headers);
        event.content_type = view.content_type.to_owned();
        event.payload = if view.payload.is_empty() { event.payload } else { self.bytes.slice_ref(view.payload) };
        Some(event)
    }
}

impl<'a> EventView<'a> {
    /// The value of a header.
    pub fn header(&self, wanted: &str) -> Option<&'a str> {
        let mut rest = self.fields;
        while !rest.is_empty() {
            let (4, field) = take_field(&mut rest)? else { continue };
            let (name, value) = header(field.bytes()?)?;
            if name == wanted {
                return Some(value);
            }
        }
        None
    }
}

/// Name and value of a header.
fn header(mut header: &[u8]) -> Option<(&str, &str)> {
    let (mut name, mut value) = ("", "");
    while !header.is_empty() {
        match take_field(&mut header)? {
            (1, field) => name = field.text()?,
            (2, field) => value = field.text()?,
            _ => {}
        }
    }
    Some((name, value))
}

/// A `google.protobuf.Timestamp` in microseconds.
fn timestamp_us(mut rest: &[u8]) -> Option<i64> {
    let (mut seconds, mut nanos) = (0, 0);
    while !rest.is_empty() {
        match take_field(&mut rest)? {
            (1, Field::Number(value)) => seconds = value.cast_signed(),
            (2, Field::Number(value)) => nanos = value.cast_signed(),
            _ => {}
        }
    }
    Some(seconds * 1_000_000 + nanos / 1_000)
}

enum Field<'a> {
    Bytes(&'a [u8]),
    Number(u64),
}

impl<'a> Field<'a> {
    fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Number(_) => None,
        }
    }

    fn text(self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }
}

/// Takes a field off the front: its number and content.
fn take_field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let tag = take_varint(rest)?;
    let number = tag >> 3;
    match tag & 7 {
        0 => take_varint(rest).map(|value| (number, Field::Number(value))),
        2 => {
            let length = usize::try_from(take_varint(rest)?).ok()?;
            let (bytes, behind) = rest.split_at_checked(length)?;
            *rest = behind;
            Some((number, Field::Bytes(bytes)))
        }
        _ => None,
    }
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use crate::domain::event::{Encoder, Event, headers_text};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn what_was_encoded_is_seen(
            kind in ".{0,300}", key in proptest::option::of(".{0,20}"), time in proptest::option::of(any::<i32>()),
            headers in proptest::collection::btree_map("[a-z]{1,5}", ".{0,200}", 0..4),
            payload in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let event = Event {
                id: Some("id".into()), kind: kind.clone(), key: key.clone(), headers: headers_text(&headers),
                content_type: "text/plain".into(), time_us: time.map(i64::from), payload: payload.clone().into(),
                idempotency_key: None,
            };
            let mut encoder = Encoder::default();
            encoder.push(Event::default().fields());
            encoder.push(event.fields());
            let encoded = encoder.finish();
            let view = encoded.view(1).expect("a view");
            prop_assert_eq!((view.kind, view.key, view.payload), (kind.as_str(), key.as_deref(), payload.as_slice()));
            prop_assert_eq!(view.content_type, "text/plain");
            let names = headers.keys().map(String::as_str).chain(["none"]);
            let seen: BTreeMap<&str, &str> = names.filter_map(|name| Some((name, view.header(name)?))).collect();
            prop_assert_eq!(seen.len(), headers.len());
            prop_assert!(headers.iter().all(|(name, value)| seen[name.as_str()] == value));
            prop_assert_eq!(encoded.view(0).expect("a view").key, None);
            prop_assert!(encoded.view(2).is_none());
            prop_assert_eq!(encoded.event(1), Some(event));
            prop_assert_eq!(encoded.event(0), Some(Event::default()));
            prop_assert_eq!(encoded.event(2), None);
        }
    }
}
