//! Events between the wire and their canonical form.

use crate::domain::event::{DELIVER_AT, Event, headers_text};
use crate::domain::limits::{
    CONTENT_TYPE_BYTES_MAX, DELAY_SECONDS_MAX, HEADER_NAME_BYTES_MAX, HEADERS_BYTES_MAX, HEADERS_MAX, ID_BYTES_MAX,
    IDEMPOTENCY_KEY_BYTES_MAX, KEY_BYTES_MAX, TYPE_BYTES_MAX,
};
use crate::domain::rule::OWN_KEYS;
use crate::domain::{Applied, Error, Result};
use crate::grpc::convert::time::timestamp_us;
use crate::grpc::convert::trace::{TRACEPARENT, Trace};
use crate::runtime::clock::unix_us;
use bytes::Bytes;
use eventflow_proto::v1::{self, event::Payload};
use prost_types::value::Kind;
use std::collections::BTreeMap;

/// Canonical events; what is wrong is named as `events[3].key`. The call's trace is added where an event has none of its own.
pub fn events(wire: Vec<v1::Event>, trace: Option<&Trace>) -> Result<Vec<Event>> {
    let mut events = Vec::with_capacity(wire.len());
    for (index, event) in wire.into_iter().enumerate() {
        events.push(canonical(event, trace).map_err(|problem| problem.at(index))?);
    }
    Ok(events)
}

/// One canonical event, which stands in a field of its request.
pub fn event(field: &str, wire: v1::Event) -> Result<Event> {
    canonical(wire, None).map_err(|problem| problem.within(field))
}

/// The key of events, in a field that names one.
pub fn event_key(field: &str, key: &str) -> Result<()> {
    check("key", key, 0, KEY_BYTES_MAX).map_err(|problem| problem.within(field))
}

/// A field that is wrong, without the path to its event: most events are fine, and their path is never built.
struct Problem {
    field: String,
    description: String,
}

impl Problem {
    fn at(self, index: usize) -> Error {
        self.within(&format!("events[{index}]"))
    }

    fn within(self, event: &str) -> Error {
        Error::invalid(format!("{event}.{}", self.field), self.description).applied(Applied::No)
    }
}

fn canonical(event: v1::Event, trace: Option<&Trace>) -> Result<Event, Problem> {
    if let Some(id) = &event.id {
        check("id", id, 1, ID_BYTES_MAX)?;
    }
    check("type", &event.r#type, 0, TYPE_BYTES_MAX)?;
    if let Some(key) = &event.key {
        check("key", key, 0, KEY_BYTES_MAX)?;
    }
    check("content_type", &event.content_type, 0, CONTENT_TYPE_BYTES_MAX)?;
    let time_us = match &event.time {
        Some(time) => Some(timestamp_us("time", time).map_err(|_| Problem {
            field: "time".into(),
            description: "must be a time of the years 1 to 9999".into(),
        })?),
        None => None,
    };
    let deliver_at = event.deliver_at.as_ref().map(deliver_at).transpose()?;
    let headers = headers(event.headers, trace, deliver_at)?;
    let (payload, implied) = payload(event.payload)?;
    let content_type = if event.content_type.is_empty() { implied.to_owned() } else { event.content_type };
    if let Some(key) = &event.idempotency_key {
        check("idempotency_key", key, 1, IDEMPOTENCY_KEY_BYTES_MAX)?;
        if key.starts_with(OWN_KEYS) {
            let description = format!("must not start with `{OWN_KEYS}`, which is for copies that rules make");
            return Err(Problem { field: "idempotency_key".into(), description });
        }
    }
    Ok(Event {
        id: event.id,
        kind: event.r#type,
        key: event.key,
        headers,
        content_type,
        time_us,
        payload,
        idempotency_key: event.idempotency_key,
    })
}

/// When to deliver, in microseconds since 1970. Whether it is due the database says; this machine's clock only keeps the far future
/// away.
fn deliver_at(time: &prost_types::Timestamp) -> Result<i64, Problem> {
    let problem = |description: String| Problem { field: "deliver_at".into(), description };
    let at = timestamp_us("deliver_at", time).map_err(|_| problem("must be a time of the years 1 to 9999".into()))?;
    if at > unix_us() + DELAY_SECONDS_MAX * 1_000_000 {
        return Err(problem(format!("must be at most {} days from now", DELAY_SECONDS_MAX / 86_400)));
    }
    Ok(at)
}

fn check(field: &str, text: &str, min: usize, max: usize) -> Result<(), Problem> {
    let problem = |description: String| Err(Problem { field: field.into(), description });
    if text.len() < min || text.len() > max {
        return problem(format!("must be {min} to {max} bytes long, it has {}", text.len()));
    }
    if text.as_bytes().contains(&0) {
        return problem("must not contain NUL".into());
    }
    Ok(())
}

fn headers(wire: Vec<v1::Header>, trace: Option<&Trace>, deliver_at: Option<i64>) -> Result<Option<String>, Problem> {
    if wire.is_empty() && trace.is_none() && deliver_at.is_none() {
        return Ok(None);
    }
    let problem = |description: String| Err(Problem { field: "headers".into(), description });
    if wire.len() > HEADERS_MAX {
        return problem(format!("must be at most {HEADERS_MAX}, there are {}", wire.len()));
    }
    let mut headers = BTreeMap::new();
    let mut bytes = 0;
    for (index, header) in wire.into_iter().enumerate() {
        check(&format!("headers[{index}].name"), &header.name, 1, HEADER_NAME_BYTES_MAX)?;
        check(&format!("headers[{index}].value"), &header.value, 0, HEADERS_BYTES_MAX)?;
        if header.name == DELIVER_AT {
            return problem(format!("must not have the name `{DELIVER_AT}`, which is reserved: set `deliver_at`"));
        }
        bytes += header.name.len() + header.value.len();
        if headers.contains_key(&header.name) {
            return problem(format!("must have unique names, `{}` comes twice", header.name));
        }
        headers.insert(header.name, header.value);
    }
    if bytes > HEADERS_BYTES_MAX {
        return problem(format!("must have at most {HEADERS_BYTES_MAX} bytes together, they have {bytes}"));
    }
    if let Some(trace) = trace {
        add_trace(&mut headers, bytes, trace);
    }
    if let Some(time) = deliver_at {
        headers.insert(DELIVER_AT.to_owned(), time.to_string());
    }
    Ok(headers_text(&headers))
}

/// Adds the trace of the call to an event that has none, as far as there is room: the limits hold for it too, and an event is
/// not refused for what the broker would add.
fn add_trace(headers: &mut BTreeMap<String, String>, mut bytes: usize, trace: &Trace) {
    if headers.contains_key(TRACEPARENT) {
        return;
    }
    for (name, value) in trace.headers() {
        bytes += name.len() + value.len();
        if headers.len() >= HEADERS_MAX || bytes > HEADERS_BYTES_MAX {
            return;
        }
        headers.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
}

/// The payload as bytes, and the content type that its form implies.
fn payload(payload: Option<Payload>) -> Result<(Bytes, &'static str), Problem> {
    match payload {
        None => Ok((Bytes::new(), "")),
        Some(Payload::Data(data)) => Ok((data, "")),
        Some(Payload::Text(text)) => Ok((Bytes::from(text), "text/plain")),
        Some(Payload::Json(json)) => {
            let value = serde_json::Value::Object(object(json));
            match serde_json::to_vec(&value) {
                Ok(bytes) => Ok((bytes.into(), "application/json")),
                Err(error) => Err(Problem { field: "json".into(), description: format!("is not JSON: {error}") }),
            }
        }
    }
}

fn object(json: prost_types::Struct) -> serde_json::Map<String, serde_json::Value> {
    json.fields.into_iter().map(|(name, value)| (name, json_value(value))).collect()
}

fn json_value(value: prost_types::Value) -> serde_json::Value {
    match value.kind {
        None | Some(Kind::NullValue(_)) => serde_json::Value::Null,
        Some(Kind::BoolValue(flag)) => flag.into(),
        Some(Kind::NumberValue(number)) => json_number(number),
        Some(Kind::StringValue(text)) => text.into(),
        Some(Kind::StructValue(json)) => serde_json::Value::Object(object(json)),
        Some(Kind::ListValue(list)) => list.values.into_iter().map(json_value).collect(),
    }
}

/// Protobuf's JSON knows only doubles: whole numbers are written as such.
fn json_number(number: f64) -> serde_json::Value {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT { (number as i64).into() } else { number.into() }
}

/// The event with its payload in the form that was asked for.
pub fn view(mut event: v1::Event, view: v1::PayloadView) -> v1::Event {
    if view == v1::PayloadView::Text
        && let Some(Payload::Data(data)) = &event.payload
        && let Ok(text) = std::str::from_utf8(data)
    {
        event.payload = Some(Payload::Text(text.to_owned()));
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::convert::time::timestamp;

    fn refused(event: v1::Event) -> Error {
        events(vec![v1::Event::default(), event], None).expect_err("refused")
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path_and_limit() {
        let header = |name: &str, value: &str| v1::Header { name: name.into(), value: value.into() };
        let cases = [
            (v1::Event { key: Some("a\0b".into()), ..Default::default() }, "events[1].key", "NUL"),
            (v1::Event { key: Some("k".repeat(1025)), ..Default::default() }, "events[1].key", "1024"),
            (
                v1::Event { idempotency_key: Some(String::new()), ..Default::default() },
                "events[1].idempotency_key",
                "1 to 256",
            ),
            (v1::Event { id: Some(String::new()), ..Default::default() }, "events[1].id", "1 to 128"),
            (v1::Event { r#type: "t".repeat(257), ..Default::default() }, "events[1].type", "256"),
            (
                v1::Event { headers: vec![header("a", "1"), header("a", "2")], ..Default::default() },
                "events[1].headers",
                "`a` comes twice",
            ),
            (
                v1::Event { headers: vec![header("", "1")], ..Default::default() },
                "events[1].headers[0].name",
                "1 to 256",
            ),
            (
                v1::Event { headers: vec![header("h", &"v".repeat(16 * 1024)); 1], ..Default::default() },
                "events[1].headers",
                "16384",
            ),
            (
                v1::Event { headers: (0..65).map(|n| header(&n.to_string(), "")).collect(), ..Default::default() },
                "events[1].headers",
                "64",
            ),
            (
                v1::Event { deliver_at: Some(timestamp(unix_us() + 31 * 86_400_000_000)), ..Default::default() },
                "events[1].deliver_at",
                "30 days",
            ),
            (
                v1::Event { headers: vec![header(DELIVER_AT, "7")], ..Default::default() },
                "events[1].headers",
                "set `deliver_at`",
            ),
            (
                v1::Event { time: Some(prost_types::Timestamp { seconds: i64::MAX, nanos: 0 }), ..Default::default() },
                "events[1].time",
                "9999",
            ),
        ];
        for (event, field, text) in cases {
            let error = refused(event);
            assert_eq!(error.violations()[0].field, field);
            assert!(error.message().contains(text), "{error:?}");
        }
    }

    #[test]
    fn the_three_forms_of_a_payload_are_bytes_with_a_content_type() {
        let value = |kind| prost_types::Value { kind: Some(kind) };
        let json = prost_types::Struct {
            fields: [
                ("total".to_owned(), value(Kind::NumberValue(7.0))),
                ("rate".to_owned(), value(Kind::NumberValue(0.5))),
            ]
            .into(),
        };
        let of = |payload| {
            let event = v1::Event { payload: Some(payload), ..Default::default() };
            let event = events(vec![event], None).expect("fine").remove(0);
            (String::from_utf8(event.payload.to_vec()).expect("text"), event.content_type)
        };
        assert_eq!(of(Payload::Json(json)), ("{\"rate\":0.5,\"total\":7}".into(), "application/json".into()));
        assert_eq!(of(Payload::Text("hi".into())), ("hi".into(), "text/plain".into()));
        assert_eq!(of(Payload::Data(Bytes::from_static(b"hi"))), ("hi".into(), String::new()));
    }

    fn traced(headers: Vec<v1::Header>) -> Vec<String> {
        let trace = Trace { parent: "00-call".into(), state: Some("vendor=1".into()) };
        let event = events(vec![v1::Event { headers, ..Default::default() }], Some(&trace)).expect("fine").remove(0);
        let headers = crate::domain::event::parse_headers(&event.headers.unwrap_or_default());
        headers.into_iter().filter(|(name, _)| name.starts_with("trace")).map(|(_, value)| value).collect()
    }

    #[test]
    fn the_calls_trace_is_kept_unless_the_event_has_its_own_or_no_room() {
        let header = |name: &str, value: &str| v1::Header { name: name.into(), value: value.into() };
        let many = |count: usize| (0..count).map(|n| header(&n.to_string(), "")).collect::<Vec<_>>();
        assert_eq!(traced(vec![]), ["00-call", "vendor=1"]);
        assert_eq!(traced(vec![header(TRACEPARENT, "00-own")]), ["00-own"]);
        assert_eq!(traced(many(HEADERS_MAX)), [""; 0]);
        assert_eq!(traced(many(HEADERS_MAX - 1)), ["00-call"]);
        assert_eq!(traced(vec![header("h", &"v".repeat(HEADERS_BYTES_MAX - 1))]), [""; 0]);
    }
}
