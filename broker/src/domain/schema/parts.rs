//! Where the parts of a schema stand: its subschemas, and where in a payload each of them looks.

use crate::domain::schema::Draft;
use serde_json::{Map, Value};

/// How a subschema's place in a payload lies relative to its parent's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The same value.
    Here,
    /// The property of that name.
    Property(String),
    /// Some property.
    AnyProperty,
    /// Some item of an array.
    Item,
}

/// A subschema of a schema object.
pub(super) struct Part<'a> {
    /// Its place in the schema, relative to the object.
    pub(super) pointer: String,
    pub(super) step: Step,
    pub(super) schema: &'a Value,
}

/// Keywords that hold one subschema, and where it looks.
const ONE: [(&str, Step); 12] = [
    ("not", Step::Here),
    ("if", Step::Here),
    ("then", Step::Here),
    ("else", Step::Here),
    ("additionalProperties", Step::AnyProperty),
    ("unevaluatedProperties", Step::AnyProperty),
    ("propertyNames", Step::AnyProperty),
    ("items", Step::Item),
    ("additionalItems", Step::Item),
    ("unevaluatedItems", Step::Item),
    ("contains", Step::Item),
    ("contentSchema", Step::Here),
];
/// Keywords that hold a list of subschemas.
const LISTS: [(&str, Step); 5] = [
    ("allOf", Step::Here),
    ("anyOf", Step::Here),
    ("oneOf", Step::Here),
    ("prefixItems", Step::Item),
    ("items", Step::Item),
];
/// Keywords that hold subschemas by name, and apply them.
const MAPS: [(&str, Step); 3] =
    [("patternProperties", Step::AnyProperty), ("dependentSchemas", Step::Here), ("dependencies", Step::Here)];
/// Keywords that keep subschemas by name for references.
const SHELVES: [&str; 2] = ["$defs", "definitions"];

/// The subschemas that an object applies to payloads; references are not among them.
pub(super) fn applied(object: &Map<String, Value>) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    for (keyword, step) in &ONE {
        if let Some(schema) = object.get(*keyword).filter(|value| is_schema(value)) {
            parts.push(Part { pointer: format!("/{keyword}"), step: step.clone(), schema });
        }
    }
    for (keyword, step) in &LISTS {
        let list = object.get(*keyword).and_then(Value::as_array);
        for (index, schema) in list.into_iter().flatten().enumerate().filter(|(_, schema)| is_schema(schema)) {
            parts.push(Part { pointer: format!("/{keyword}/{index}"), step: step.clone(), schema });
        }
    }
    for (keyword, step) in &MAPS {
        parts.extend(named(object, keyword).map(|(pointer, _, schema)| Part { pointer, step: step.clone(), schema }));
    }
    let properties = named(object, "properties");
    parts.extend(properties.map(|(pointer, name, schema)| Part {
        pointer,
        step: Step::Property(name.to_owned()),
        schema,
    }));
    parts
}

/// The subschemas that an object keeps for references.
pub(super) fn shelved(object: &Map<String, Value>) -> Vec<Part<'_>> {
    let shelves = SHELVES.iter().flat_map(|keyword| named(object, keyword));
    shelves.map(|(pointer, _, schema)| Part { pointer, step: Step::Here, schema }).collect()
}

fn named<'a>(object: &'a Map<String, Value>, keyword: &str) -> impl Iterator<Item = (String, &'a str, &'a Value)> {
    let map = object.get(keyword).and_then(Value::as_object);
    let prefix = format!("/{keyword}/");
    map.into_iter()
        .flatten()
        .filter(|(_, schema)| is_schema(schema))
        .map(move |(name, schema)| (format!("{prefix}{}", escaped(name)), name.as_str(), schema))
}

fn is_schema(value: &Value) -> bool {
    value.is_object() || value.is_boolean()
}

/// A name as a token of a JSON pointer.
pub(super) fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// The reference of an object, when it has one.
pub(super) fn reference(object: &Map<String, Value>) -> Option<&str> {
    object.get("$ref").and_then(Value::as_str)
}

/// What a local reference names: `#` or `#/…`. None: it is not local, or nothing is there.
pub(super) fn resolve<'a>(root: &'a Value, reference: &str) -> Option<&'a Value> {
    let fragment = reference.strip_prefix('#')?;
    if fragment.is_empty() {
        return Some(root);
    }
    root.pointer(&unquoted(fragment)?)
}

/// A fragment without percent-encoding.
fn unquoted(fragment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            bytes.push((digit(rest.next()?)? * 16 + digit(rest.next()?)?) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Whether what stands beside a reference is looked at.
pub(super) fn reference_stands_alone(draft: Draft) -> bool {
    matches!(draft, Draft::Four | Draft::Six | Draft::Seven)
}
