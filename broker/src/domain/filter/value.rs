//! What a filter sees of an event: texts, numbers, flags, and nothing.

use serde_json::Value;
use std::cell::OnceCell;
use std::cmp::Ordering;

/// A value that an operand stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seen<'a> {
    /// Absent, or JSON's null.
    Nothing,
    Flag(bool),
    Number(f64),
    Text(&'a str),
    /// An object or an array: it is there, and equals nothing.
    Whole,
}

impl Seen<'_> {
    pub(super) fn equals(self, other: Seen<'_>) -> bool {
        match (self, other) {
            (Seen::Nothing, Seen::Nothing) => true,
            (Seen::Flag(one), Seen::Flag(other)) => one == other,
            (Seen::Number(one), Seen::Number(other)) => one == other,
            (Seen::Text(one), Seen::Text(other)) => one == other,
            _ => false,
        }
    }

    /// Numbers by size, texts by their bytes; anything else has no order.
    pub(super) fn order(self, other: Seen<'_>) -> Option<Ordering> {
        match (self, other) {
            (Seen::Number(one), Seen::Number(other)) => one.partial_cmp(&other),
            (Seen::Text(one), Seen::Text(other)) => Some(one.cmp(other)),
            _ => None,
        }
    }
}

/// A step into a JSON value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Name(String),
    Index(usize),
}

/// A payload that is parsed when it is first asked for. One that is not JSON holds nothing.
pub(super) struct Payload<'a> {
    bytes: &'a [u8],
    value: OnceCell<Value>,
}

impl<'a> Payload<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, value: OnceCell::new() }
    }

    pub(super) fn at(&self, path: &[Step]) -> Seen<'_> {
        let mut value = self.value.get_or_init(|| serde_json::from_slice(self.bytes).unwrap_or(Value::Null));
        for step in path {
            let found = match step {
                Step::Name(name) => value.as_object().and_then(|object| object.get(name)),
                Step::Index(index) => value.as_array().and_then(|list| list.get(*index)),
            };
            let Some(found) = found else { return Seen::Nothing };
            value = found;
        }
        match value {
            Value::Null => Seen::Nothing,
            Value::Bool(flag) => Seen::Flag(*flag),
            Value::Number(number) => number.as_f64().map_or(Seen::Whole, Seen::Number),
            Value::String(text) => Seen::Text(text),
            Value::Array(_) | Value::Object(_) => Seen::Whole,
        }
    }
}
