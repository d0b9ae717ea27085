//! How a record is shown.

use std::str::FromStr;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use eventflow::Record;
use serde_json::{Map, Value, json};

use super::template::Template;
use crate::output::{Paint, Style};

/// A way to show records.
#[derive(Clone, Debug, PartialEq)]
pub enum Show {
    /// For people: a line about it, and the payload below.
    Pretty,
    /// A JSON document each, over several lines.
    Json,
    /// A JSON object a line.
    Jsonl,
    /// Only payloads, a line each.
    Payload,
    Template(Template),
}

impl FromStr for Show {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "pretty" => Self::Pretty,
            "json" => Self::Json,
            "jsonl" => Self::Jsonl,
            "payload" => Self::Payload,
            template if template.contains('%') => Self::Template(template.parse()?),
            other => {
                return Err(format!(
                    "`{other}` is neither pretty, json, jsonl nor payload, nor a template such as '%p %o %k %v'"
                ));
            }
        })
    }
}

impl Show {
    /// The record with its line end.
    pub(super) fn bytes(&self, record: &Record, paint: Paint) -> Vec<u8> {
        let mut bytes = match self {
            Self::Pretty => pretty(record, paint).into_bytes(),
            Self::Json => format!("{:#}", object(record)).into_bytes(),
            Self::Jsonl => object(record).to_string().into_bytes(),
            Self::Payload => record.payload().to_vec(),
            Self::Template(template) => template.fill(record),
        };
        bytes.push(b'\n');
        bytes
    }
}

/// Microseconds in UTC: what the log keeps.
pub(super) fn time(time: std::time::SystemTime) -> String {
    match jiff::Timestamp::try_from(time) {
        Ok(time) => format!("{time:.6}"),
        Err(_) => "-".to_owned(),
    }
}

/// A record as JSON.
pub fn object(record: &Record) -> Value {
    let event = record.event();
    let headers: Map<String, Value> =
        event.headers().iter().map(|header| (header.name.clone(), json!(header.value))).collect();
    let mut object = json!({
        "stream": record.stream(),
        "partition": record.partition(),
        "offset": record.offset(),
        "log_epoch": record.log_epoch(),
        "id": record.id(),
        "type": event.event_type(),
        "key": event.key(),
        "headers": headers,
        "content_type": event.content_type(),
        "time": time(event.time().unwrap_or(record.append_time())),
        "append_time": time(record.append_time()),
        "publisher": record.publisher(),
        "deliver_at": event.deliver_at().map(time),
    });
    // One of three names, so that a reader never has to guess what a string is.
    let payload = record.payload();
    let (name, value) = match (serde_json::from_slice(payload), std::str::from_utf8(payload)) {
        (Ok(value), _) => ("payload", value),
        (_, Ok(text)) => ("payload_text", json!(text)),
        _ => ("payload_base64", json!(BASE64_STANDARD.encode(payload))),
    };
    object[name] = value;
    object
}

fn pretty(record: &Record, paint: Paint) -> String {
    let event = record.event();
    let place = format!("{}/{} @ {}", record.stream(), record.partition(), record.offset());
    let mut line = paint.with(Style::Name, place);
    let when = time(event.time().unwrap_or(record.append_time()));
    line.push_str(&format!("  {}", paint.faint(when)));
    if let Some(key) = event.key() {
        line.push_str(&format!("  key {}", paint.strong(visible(key))));
    }
    if !event.event_type().is_empty() {
        line.push_str(&format!("  {}", visible(event.event_type())));
    }
    for header in event.headers() {
        let header = format!("{}: {}", visible(&header.name), visible(&header.value));
        line.push_str(&format!("\n  {}", paint.faint(header)));
    }
    let payload = record.payload();
    let text = match (serde_json::from_slice::<Value>(payload), std::str::from_utf8(payload)) {
        (Ok(value), _) => format!("{value:#}"),
        (_, Ok(text)) => visible(text),
        _ => format!("({} bytes that are not text)", payload.len()),
    };
    format!("{line}\n  {}", text.replace('\n', "\n  "))
}

/// Control characters of a payload must not steer the terminal.
fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_cannot_steer_the_terminal() {
        assert_eq!(visible("a\x1b[2Jb\tc\n"), "a\u{fffd}[2Jb\tc\n");
    }

    #[test]
    fn a_format_is_a_name_or_a_template() {
        assert_eq!("jsonl".parse(), Ok(Show::Jsonl));
        assert!(matches!("%p %o".parse(), Ok(Show::Template(_))));
        assert!("yaml".parse::<Show>().is_err());
    }
}
