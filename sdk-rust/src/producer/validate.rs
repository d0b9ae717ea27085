//! Events that no broker would take fail at once, alone, and with the limit named.

use eventflow_proto::limits;

use crate::{
    error::{Applied, Error, ErrorKind, Result, reason},
    event::Event,
};

/// Checks an event against the limits of the API and of its stream.
pub(super) fn validate(event: &Event, max_event_bytes: usize) -> Result<()> {
    if let Some(id) = &event.id {
        text("id", id, limits::ID_BYTES_MAX)?;
        if id.is_empty() {
            return Err(invalid("the event's id is empty; leave it out instead".to_owned()));
        }
    }
    text("type", &event.event_type, limits::TYPE_BYTES_MAX)?;
    text("key", event.key.as_deref().unwrap_or_default(), limits::KEY_BYTES_MAX)?;
    if let Some(key) = &event.idempotency_key {
        text("idempotency key", key, limits::IDEMPOTENCY_KEY_BYTES_MAX)?;
        if key.is_empty() {
            return Err(invalid("the event's idempotency key is empty; leave it out instead".to_owned()));
        }
    }
    text("content type", &event.content_type, limits::CONTENT_TYPE_BYTES_MAX)?;
    let headers_bytes = headers(event)?;
    let bytes = event.id.as_ref().map_or(0, String::len)
        + event.event_type.len()
        + event.key.as_ref().map_or(0, String::len)
        + event.content_type.len()
        + headers_bytes
        + event.payload.len();
    if bytes > max_event_bytes {
        let message =
            format!("the event has {bytes} bytes; the stream's limit is {max_event_bytes} (`max_event_bytes`)");
        return Err(Error::new(ErrorKind::OutOfRange, reason::EVENT_TOO_LARGE, message).with_applied(Applied::No));
    }
    Ok(())
}

fn headers(event: &Event) -> Result<usize> {
    if event.headers.is_empty() {
        return Ok(0);
    }
    if event.headers.len() > limits::HEADERS_MAX {
        let count = event.headers.len();
        return Err(invalid(format!("the event has {count} headers; the limit is {}", limits::HEADERS_MAX)));
    }
    let mut bytes = 0;
    for (index, header) in event.headers.iter().enumerate() {
        if header.name.is_empty() || event.headers[..index].iter().any(|other| other.name == header.name) {
            return Err(invalid(format!("the header name `{}` is empty or given twice", header.name)));
        }
        text("header name", &header.name, limits::HEADER_NAME_BYTES_MAX)?;
        text("header value", &header.value, limits::HEADERS_BYTES_MAX)?;
        bytes += header.name.len() + header.value.len();
    }
    if bytes > limits::HEADERS_BYTES_MAX {
        return Err(invalid(format!(
            "the event's headers have {bytes} bytes; the limit is {}",
            limits::HEADERS_BYTES_MAX
        )));
    }
    Ok(bytes)
}

fn text(what: &str, value: &str, max: usize) -> Result<()> {
    if value.len() > max {
        return Err(invalid(format!("the event's {what} has {} bytes; the limit is {max}", value.len())));
    }
    if value.as_bytes().contains(&0) {
        return Err(invalid(format!("the event's {what} holds a NUL character, which the log cannot keep")));
    }
    Ok(())
}

pub(super) fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, "INVALID_ARGUMENT", message).with_applied(Applied::No)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_over_a_limit_is_refused_and_the_limit_is_named() {
        let reasons = |event: Event| validate(&event, 100).expect_err("refused");
        assert_eq!(reasons(Event::new(vec![0; 101])).reason(), reason::EVENT_TOO_LARGE);
        assert!(reasons(Event::new("").with_key("k".repeat(1_025))).message().contains("1024"));
        assert!(reasons(Event::new("").with_key("a\0b")).message().contains("NUL"));
        assert!(reasons(Event::new("").with_id("")).message().contains("empty"));
        assert!(reasons(Event::new("").with_header("a", "1").with_header("a", "2")).message().contains("twice"));
        validate(&Event::new("").with_key(""), 100).expect("an empty key is a key");
    }
}
