//! Redacting: the values of some fields of a JSON text are replaced where they stand. Nothing else of the text changes, so that no
//! number loses a digit and no field its place.
//!
//! **Invariant:** when [`redact`] succeeds, no value at a named field is left, also where a name comes twice or is written with
//! escapes. A text that is not JSON is refused, never passed on.

use crate::domain::limits::RULE_FIELD_BYTES_MAX;
use crate::domain::{Error, Result};
use bytes::Bytes;
use serde::de::IgnoredAny;
use std::borrow::Cow;
use std::ops::Range;

/// How deep a text may be nested, as for filters.
const DEPTH_MAX: usize = 128;
/// What stands there afterwards.
const REPLACEMENT: &[u8] = b"\"[redacted]\"";

/// Where a field is: a JSON pointer, in which `*` is every member or element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    text: String,
    steps: Vec<Step>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Every,
    Name(String),
}

impl Field {
    /// Reads a JSON pointer; `field` is the path that an error names.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        if text.len() > RULE_FIELD_BYTES_MAX || text.contains('\0') {
            return Err(Error::invalid(field, format!("must be at most {RULE_FIELD_BYTES_MAX} bytes without NUL")));
        }
        let Some(rest) = text.strip_prefix('/') else {
            let description = format!("must be JSON pointers such as `/card/number` or `/items/*/price`, not `{text}`");
            return Err(Error::invalid(field, description));
        };
        let step = |part: &str| match part {
            "*" => Step::Every,
            name => Step::Name(name.replace("~1", "/").replace("~0", "~")),
        };
        Ok(Self { text: text.to_owned(), steps: rest.split('/').map(step).collect() })
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// The text without what stands at the fields. None: nothing stands there. An error says why it cannot be known.
pub fn redact(payload: &Bytes, fields: &[Field]) -> Result<Option<Bytes>, String> {
    if payload.is_empty() {
        return Ok(None);
    }
    // Checked whole: what walks it afterwards may trust it, but for its depth.
    serde_json::from_slice::<IgnoredAny>(payload).map_err(|_| "the payload is not JSON".to_owned())?;
    let mut found = Vec::new();
    let paths: Vec<&[Step]> = fields.iter().map(|field| field.steps.as_slice()).collect();
    let mut walk = Walk { text: payload, at: 0, depth: 0, found: &mut found };
    walk.value(&paths).ok_or("the payload is not JSON, or is nested too deep")?;
    if found.is_empty() {
        return Ok(None);
    }
    let mut redacted = Vec::with_capacity(payload.len());
    let mut from = 0;
    for range in found {
        redacted.extend_from_slice(&payload[from..range.start]);
        redacted.extend_from_slice(REPLACEMENT);
        from = range.end;
    }
    redacted.extend_from_slice(&payload[from..]);
    Ok(Some(redacted.into()))
}

/// A walk over a text that is JSON.
struct Walk<'a> {
    text: &'a [u8],
    at: usize,
    depth: usize,
    found: &'a mut Vec<Range<usize>>,
}

impl Walk<'_> {
    /// Goes over one value; `paths` are what is left of the fields that lead here.
    fn value(&mut self, paths: &[&[Step]]) -> Option<()> {
        self.space();
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return None;
        }
        let start = self.at;
        let is_redacted = paths.iter().any(|path| path.is_empty());
        // Within what goes as a whole nothing is looked for.
        let paths = if is_redacted { &[] } else { paths };
        match self.text.get(self.at)? {
            b'{' => self.members(paths)?,
            b'[' => self.elements(paths)?,
            b'"' => self.string()?,
            _ => {
                let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\t' | b'\n' | b'\r');
                let rest = &self.text[self.at..];
                self.at += rest.iter().position(ends).unwrap_or(rest.len());
            }
        }
        if is_redacted {
            self.found.push(start..self.at);
        }
        self.depth -= 1;
        Some(())
    }

    fn members(&mut self, paths: &[&[Step]]) -> Option<()> {
        self.at += 1;
        loop {
            self.space();
            match self.text.get(self.at)? {
                b'}' => break,
                b',' => self.at += 1,
                _ => {
                    let start = self.at;
                    self.string()?;
                    let inner =
                        if paths.is_empty() { Vec::new() } else { below(paths, &name(&self.text[start..self.at])?) };
                    self.space();
                    self.at += 1; // the colon
                    self.value(&inner)?;
                }
            }
        }
        self.at += 1;
        Some(())
    }

    fn elements(&mut self, paths: &[&[Step]]) -> Option<()> {
        self.at += 1;
        let mut index = 0usize;
        loop {
            self.space();
            match self.text.get(self.at)? {
                b']' => break,
                b',' => self.at += 1,
                _ => {
                    let inner = if paths.is_empty() { Vec::new() } else { below(paths, &index.to_string()) };
                    self.value(&inner)?;
                    index += 1;
                }
            }
        }
        self.at += 1;
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            match self.text.get(self.at)? {
                b'\\' => self.at += 2,
                b'"' => break,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        Some(())
    }

    fn space(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }
}

/// What is left of the fields that go on through a member or element.
fn below<'p>(paths: &[&'p [Step]], name: &str) -> Vec<&'p [Step]> {
    let leads = |path: &&'p [Step]| match path.split_first()? {
        (Step::Every, rest) => Some(rest),
        (Step::Name(wanted), rest) => (wanted == name).then_some(rest),
    };
    paths.iter().filter_map(leads).collect()
}

/// The name that a JSON string spells.
fn name(quoted: &[u8]) -> Option<Cow<'_, str>> {
    if quoted.contains(&b'\\') {
        return serde_json::from_slice::<String>(quoted).ok().map(Cow::Owned);
    }
    std::str::from_utf8(quoted.get(1..quoted.len() - 1)?).ok().map(Cow::Borrowed)
}
