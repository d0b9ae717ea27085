//! `eventflow dlq edit`, and how an edited event differs from what it was.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    path::{Path, PathBuf},
};

use eventflow::{
    Client, Event, Header,
    dead_letters::{Edit, LastEdit},
};
use serde_json::{Value, json};

use super::group_named;
use crate::{
    failure::{Failure, Result},
    output::{Output, Paint, Style, note, since},
    parse,
};

#[derive(Debug, clap::Args)]
pub struct Change {
    group: String,
    id: String,
    /// A file with the new payload; `-` is standard input
    #[arg(long, value_name = "FILE")]
    payload: Option<PathBuf>,
    /// A header to set; the others stay
    #[arg(long = "header", short = 'H', value_name = "NAME=VALUE", value_parser = parse::pair)]
    headers: Vec<(String, String)>,
    /// A header to remove
    #[arg(long = "remove-header", value_name = "NAME")]
    removed: Vec<String>,
    /// Another content type of the payload
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
}

impl Change {
    fn touches_headers(&self) -> bool {
        !(self.headers.is_empty() && self.removed.is_empty())
    }

    /// The edit, and the event as it will be.
    fn onto(&self, was: &Event, payload: Option<Vec<u8>>) -> Result<(Edit, Event)> {
        let pair = |Header { name, value }: &Header| (name.clone(), value.clone());
        let mut headers: BTreeMap<String, String> = was.headers().iter().map(pair).collect();
        for name in &self.removed {
            let missing = || Failure::usage(format!("the event has no header `{name}`"));
            headers.remove(name).ok_or_else(missing)?;
        }
        headers.extend(self.headers.iter().cloned());
        let (mut edit, mut is) = (Edit::default(), Event::new(was.payload().clone()));
        if let Some(payload) = payload {
            is = Event::new(payload);
            edit = edit.payload(is.payload().clone());
        }
        let content_type = self.content_type.as_deref();
        if let Some(content_type) = content_type {
            edit = edit.content_type(content_type);
        }
        is = is.with_content_type(content_type.unwrap_or(was.content_type()));
        is = headers.into_iter().fold(is, |is, (name, value)| is.with_header(name, value));
        if self.touches_headers() {
            edit = edit.headers(is.headers().to_vec());
        }
        Ok((edit, is))
    }
}

/// Edits, and shows what is other than before.
pub async fn run(client: &Client, change: &Change, out: &mut Output) -> Result<()> {
    if change.payload.is_none() && change.content_type.is_none() && !change.touches_headers() {
        return Err(Failure::usage("what shall it become? Say --payload, --header, --remove-header or --content-type"));
    }
    let payload = change.payload.as_deref().map(read).transpose()?;
    let letters = client.dead_letters(&change.group);
    let letter = match letters.get(&change.id).await {
        Ok(letter) => letter,
        Err(error) => return Err(group_named(client, &change.group, error).await),
    };
    let (edit, is) = change.onto(letter.record.event(), payload)?;
    let done = match letters.edit(&change.id, edit).await {
        Ok(done) => done,
        Err(error) => return Err(group_named(client, &change.group, error).await),
    };
    let differences = differences(letter.record.event(), &is);
    let object = json!({
        "id": change.id,
        "editor": done.editor,
        "edited": since(done.time),
        "changed": done.changed,
        "differences": differences,
    });
    out.object(&object, |paint| shown(&differences, paint))?;
    note(format!("edited: `eventflow dlq redrive {} {}` delivers it", change.group, change.id));
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    bytes.map_err(|error| Failure::file("read", path, &error))
}

/// An edit, for scripts.
pub fn object(edit: &LastEdit) -> Value {
    let original = |event: &Event| {
        let headers: serde_json::Map<_, _> =
            event.headers().iter().map(|header| (header.name.clone(), header.value.clone().into())).collect();
        json!({
            "payload": String::from_utf8_lossy(event.payload()),
            "headers": headers,
            "content_type": event.content_type(),
        })
    };
    json!({
        "editor": edit.editor,
        "edited": since(edit.time),
        "changed": edit.changed,
        "original": edit.original.as_ref().map(original),
    })
}

/// An edit, for people: who, when, and what is other than it was appended.
pub fn description(edit: &LastEdit, is: &Event, paint: Paint) -> String {
    let changed = if edit.changed.is_empty() { "back to what it was".to_owned() } else { edit.changed.join(", ") };
    let head = format!("edited {} UTC by {}: {changed}", since(edit.time), visible(&edit.editor));
    let differences = edit.original.as_ref().map(|was| differences(was, is)).unwrap_or_default();
    format!("  {}\n{}", paint.with(Style::Warning, head), shown(&differences, paint))
}

fn shown(differences: &[String], paint: Paint) -> String {
    let line = |line: &String| {
        let style = if line.starts_with('-') { Style::Bad } else { Style::Good };
        format!("    {}\n", paint.with(style, visible(line)))
    };
    differences.iter().map(line).collect()
}

/// What differs, a line each: `-` as it was, `+` as it is.
fn differences(was: &Event, is: &Event) -> Vec<String> {
    let mut lines = Vec::new();
    let mut compare = |what: &str, was: Option<&str>, is: Option<&str>| {
        if was != is {
            lines.extend(was.map(|was| format!("- {what}: {was}")));
            lines.extend(is.map(|is| format!("+ {what}: {is}")));
        }
    };
    let names: BTreeSet<&str> = was.headers().iter().chain(is.headers()).map(|header| header.name.as_str()).collect();
    for name in names {
        compare(&format!("header {name}"), was.header(name), is.header(name));
    }
    let content_type = |event: &Event| Some(event.content_type().to_owned()).filter(|text| !text.is_empty());
    compare("content type", content_type(was).as_deref(), content_type(is).as_deref());
    lines.extend(of_payloads(was.payload(), is.payload()));
    lines
}

fn of_payloads(was: &[u8], is: &[u8]) -> Vec<String> {
    if was == is {
        return Vec::new();
    }
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok().map(|value| format!("{value:#}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let lines = match (json(was), json(is)) {
        // JSON by its lines when it is laid out, unless only its layout was changed.
        (Some(was), Some(is)) if was != is => of_lines(&was, &is),
        _ => of_lines(&text(was), &text(is)),
    };
    if lines.is_empty() {
        return vec![format!("- payload of {} bytes", was.len()), format!("+ payload of {} bytes", is.len())];
    }
    lines
}

/// The lines between the first and the last that differ.
fn of_lines(was: &str, is: &str) -> Vec<String> {
    let (was, is): (Vec<&str>, Vec<&str>) = (was.lines().collect(), is.lines().collect());
    let before = was.iter().zip(&is).take_while(|(was, is)| was == is).count();
    let (was, is) = (&was[before..], &is[before..]);
    let behind = was.iter().rev().zip(is.iter().rev()).take_while(|(was, is)| was == is).count();
    let gone = was[..was.len() - behind].iter().map(|line| format!("- {line}"));
    gone.chain(is[..is.len() - behind].iter().map(|line| format!("+ {line}"))).collect()
}

/// Control characters of an event must not steer the terminal.
pub fn visible(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_those_of_headers_content_type_and_lines_of_the_payload() {
        let was = Event::new(r#"{"total": "7", "id": 1}"#).with_header("a", "1").with_header("b", "1");
        let is = Event::new(r#"{"total": 7, "id": 1}"#).with_header("b", "2").with_content_type("application/json");
        let expected = [
            "- header a: 1",
            "- header b: 1",
            "+ header b: 2",
            "+ content type: application/json",
            r#"-   "total": "7","#,
            r#"+   "total": 7,"#,
        ];
        assert_eq!(differences(&was, &is), expected);
        assert_eq!(differences(&was, &was), [""; 0]);
        assert_eq!(of_payloads(b"one\ntwo\nthree", b"one\nthree"), ["- two"]);
        assert_eq!(of_payloads(b"{}", b"{ }"), ["- {}", "+ { }"], "only the layout");
        assert_eq!(of_payloads(&[255], &[254]), ["- payload of 1 bytes", "+ payload of 1 bytes"]);
    }

    #[test]
    fn an_edit_keeps_the_headers_that_it_does_not_name() {
        let was = Event::new("old").with_header("a", "1").with_header("b", "1");
        let change = |headers: &[(&str, &str)], removed: &[&str]| Change {
            group: "g".into(),
            id: "i".into(),
            payload: None,
            headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            removed: removed.iter().map(|name| (*name).into()).collect(),
            content_type: None,
        };
        let (edit, is) = change(&[("b", "2"), ("c", "3")], &["a"]).onto(&was, None).unwrap();
        assert_eq!(differences(&was, &is), ["- header a: 1", "- header b: 1", "+ header b: 2", "+ header c: 3"]);
        assert_eq!(edit, Edit::default().headers(is.headers().to_vec()));
        assert!(change(&[], &["x"]).onto(&was, None).is_err(), "no such header");
    }
}
