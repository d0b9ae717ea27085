//! The keywords one by one: what the reader demands, and whether the writer ensures it.

use super::numbers::{bounds, divides};
use super::types::{Types, values};
use super::{ANYTHING, Comparison, PAIRS_MAX, escaped, refers, same, says_nothing};
use serde_json::{Map, Value};
use std::cmp::Ordering;
use std::collections::HashSet;

type Object = Map<String, Value>;

/// Keywords that are compared one by one below.
const UNDERSTOOD: [&str; 28] = [
    "type",
    "enum",
    "const",
    "allOf",
    "anyOf",
    "minimum",
    "exclusiveMinimum",
    "maximum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "pattern",
    "format",
    "minItems",
    "maxItems",
    "uniqueItems",
    "items",
    "prefixItems",
    "additionalItems",
    "minProperties",
    "maxProperties",
    "required",
    "properties",
    "patternProperties",
    "additionalProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
];
/// Keywords that only refuse something together: they must be the same on both sides.
const TOGETHER: [&[&str]; 3] = [
    &["if", "then", "else"],
    &["contains", "minContains", "maxContains"],
    &["contentEncoding", "contentMediaType", "contentSchema"],
];
/// Counts, the types that they are of, and whether a higher one is tighter.
const COUNTS: [(&str, Types, Ordering); 6] = [
    ("minLength", Types::STRING, Ordering::Greater),
    ("maxLength", Types::STRING, Ordering::Less),
    ("minItems", Types::ARRAY, Ordering::Greater),
    ("maxItems", Types::ARRAY, Ordering::Less),
    ("minProperties", Types::OBJECT, Ordering::Greater),
    ("maxProperties", Types::OBJECT, Ordering::Less),
];
const ARRAYS: [&str; 3] = ["prefixItems", "additionalItems", "items"];

impl<'a> Comparison<'a> {
    /// Whatever the reader demands must follow from what the writer demands.
    pub(super) fn everything(&mut self, at: &str, reader: &'a Object, writer: &'a Object) {
        self.pairs += 1;
        if self.pairs > PAIRS_MAX {
            return self.undecided(at, format!("is not reached: the comparison ends after {PAIRS_MAX} steps"));
        }
        let let_through = Types::of(self.draft, writer);
        let concerns = |types: Types| !let_through.and(types).is_empty();
        self.types(at, reader, writer);
        self.combined(at, reader, writer);
        self.counts(at, reader, writer, let_through);
        if concerns(Types::NUMBER) {
            self.numbers(at, reader, writer);
        }
        if concerns(Types::STRING) {
            self.equal(at, reader, writer, &["pattern"]);
            self.equal(at, reader, writer, &["format"]);
        }
        if concerns(Types::ARRAY) {
            self.arrays(at, reader, writer);
        }
        if concerns(Types::OBJECT) {
            self.properties(at, reader, writer);
        }
        for keywords in TOGETHER {
            self.equal(at, reader, writer, keywords);
        }
        let understood = |keyword: &&String| {
            says_nothing(keyword)
                || UNDERSTOOD.contains(&keyword.as_str())
                || TOGETHER.iter().any(|together| together.contains(&keyword.as_str()))
        };
        for keyword in reader.keys().filter(|keyword| !understood(keyword)) {
            self.equal(at, reader, writer, &[keyword.as_str()]);
        }
    }

    /// What is not understood must not have changed.
    fn equal(&mut self, at: &str, reader: &Object, writer: &Object, keywords: &[&str]) {
        let Some(first) = keywords.iter().find(|keyword| reader.contains_key(**keyword)) else { return };
        let unchanged = keywords.iter().all(|keyword| match (reader.get(*keyword), writer.get(*keyword)) {
            (Some(reader), Some(writer)) => same(reader, writer),
            (reader, writer) => reader.is_none() && writer.is_none(),
        });
        if !unchanged {
            let why = "differs, and what that means is not decided; it must stay as it is";
            self.undecided(&format!("{at}/{}", escaped(first)), why);
        }
    }

    fn types(&mut self, at: &str, reader: &Object, writer: &Object) {
        if reader.contains_key("type")
            && !Types::of(self.draft, writer).within(Types::of(self.draft, &only(reader, "type")))
        {
            let named = |schema: &Object| schema.get("type").map_or("anything".to_owned(), Value::to_string);
            let why = format!("is {}, the other lets {} through", named(reader), named(writer));
            self.refuses(&format!("{at}/type"), why);
        }
        for keyword in ["enum", "const"] {
            let reader = only(reader, keyword);
            let Some(accepted) = values(self.draft, &reader) else { continue };
            let accepted: HashSet<String> = accepted.into_iter().map(Value::to_string).collect();
            match values(self.draft, writer) {
                Some(listed) if listed.iter().all(|value| accepted.contains(&value.to_string())) => {}
                Some(_) => self.refuses(&format!("{at}/{keyword}"), "lacks a value that the other accepts"),
                None => self.refuses(&format!("{at}/{keyword}"), "lists values, the other accepts others too"),
            }
        }
    }

    fn combined(&mut self, at: &str, reader: &'a Object, writer: &'a Object) {
        for (index, part) in reader.get("allOf").and_then(Value::as_array).into_iter().flatten().enumerate() {
            let at = format!("{at}/allOf/{index}");
            match self.followed(&at, self.reader, part) {
                Some(Value::Object(part)) => self.objects(&at, part, writer),
                Some(Value::Bool(false)) => self.refuses(&at, "accepts nothing"),
                _ => {}
            }
        }
        let Some(alternatives) = reader.get("anyOf").and_then(Value::as_array) else { return };
        let kept = writer.get("anyOf").is_some_and(|other| same(&reader["anyOf"], other));
        if !kept && !alternatives.iter().any(|alternative| self.tried(at, alternative, writer)) {
            self.undecided(&format!("{at}/anyOf"), "has no alternative that accepts all that the other accepts");
        }
    }

    fn counts(&mut self, at: &str, reader: &Object, writer: &Object, let_through: Types) {
        for (keyword, types, tighter) in COUNTS {
            let Some(demanded) = reader.get(keyword).and_then(Value::as_f64) else { continue };
            // What every value has anyway is no demand.
            if let_through.and(types).is_empty() || (tighter == Ordering::Greater && demanded <= 0.0) {
                continue;
            }
            let ensured = writer.get(keyword).and_then(Value::as_f64);
            if !ensured.is_some_and(|ensured| {
                ensured.partial_cmp(&demanded).is_some_and(|order| order == tighter || order == Ordering::Equal)
            }) {
                let other = ensured.map_or("sets none".to_owned(), |ensured| format!("has {ensured}"));
                self.refuses(&format!("{at}/{keyword}"), format!("is {demanded}, the other {other}"));
            }
        }
    }

    fn numbers(&mut self, at: &str, reader: &Object, writer: &Object) {
        let sides =
            [(["minimum", "exclusiveMinimum"], Ordering::Greater), (["maximum", "exclusiveMaximum"], Ordering::Less)];
        for (keywords, tighter) in sides {
            let ensured = bounds(writer, keywords);
            for demanded in bounds(reader, keywords) {
                let kept: Vec<Option<bool>> = ensured.iter().map(|bound| bound.keeps(&demanded, tighter)).collect();
                let at = format!("{at}/{}", demanded.keyword);
                if kept.contains(&Some(true)) {
                    continue;
                }
                if kept.contains(&None) {
                    self.undecided(&at, "is too large a number to be compared");
                } else {
                    self.refuses(&at, format!("is {}, the other goes beyond it", demanded.value));
                }
            }
        }
        let Some(Value::Number(demanded)) = reader.get("multipleOf") else { return };
        let decided = match writer.get("multipleOf") {
            Some(Value::Number(ensured)) if ensured == demanded => Some(true),
            Some(Value::Number(ensured)) => divides(demanded, ensured),
            _ => Some(false),
        };
        let at = format!("{at}/multipleOf");
        match decided {
            Some(true) => {}
            Some(false) => self.refuses(&at, format!("is {demanded}, the other accepts other numbers")),
            None => self.undecided(&at, "is a fraction, and differs"),
        }
    }

    fn arrays(&mut self, at: &str, reader: &'a Object, writer: &'a Object) {
        if reader.get("uniqueItems") == Some(&Value::Bool(true))
            && writer.get("uniqueItems") != Some(&Value::Bool(true))
        {
            self.refuses(&format!("{at}/uniqueItems"), "is true, the other accepts repeated items");
        }
        self.unevaluated(at, "unevaluatedItems", reader, writer);
        let by_place =
            |schema: &Object| schema.contains_key("prefixItems") || schema.get("items").is_some_and(Value::is_array);
        if by_place(reader) || by_place(writer) {
            self.equal(at, reader, writer, &ARRAYS);
        } else if let Some(items) = reader.get("items") {
            self.schemas(&format!("{at}/items"), items, writer.get("items").unwrap_or(&ANYTHING));
        }
    }

    /// What is unevaluated depends on everything beside it.
    fn unevaluated(&mut self, at: &str, keyword: &str, reader: &Object, writer: &Object) {
        if reader.contains_key(keyword) && !alike(reader, writer) {
            self.undecided(&format!("{at}/{keyword}"), "depends on everything beside it, and something differs");
        }
    }

    fn properties(&mut self, at: &str, reader: &'a Object, writer: &'a Object) {
        let required = |schema: &'a Object| {
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
        };
        for name in required(reader).filter(|name| !required(writer).any(|other| other == *name)) {
            self.refuses(&format!("{at}/required"), format!("demands `{name}`, the other does not"));
        }
        self.equal(at, reader, writer, &["patternProperties"]);
        self.unevaluated(at, "unevaluatedProperties", reader, writer);
        let map = |schema: &'a Object| schema.get("properties").and_then(Value::as_object);
        let rest = |schema: &'a Object| schema.get("additionalProperties").unwrap_or(&ANYTHING);
        for (name, demanded) in map(reader).into_iter().flatten() {
            let at = format!("{at}/properties/{}", escaped(name));
            match map(writer).and_then(|properties| properties.get(name)) {
                Some(ensured) => self.schemas(&at, demanded, ensured),
                // A pattern may match the name: then what is left for the others does not hold for it.
                None if writer.contains_key("patternProperties") => self.schemas(&at, demanded, &ANYTHING),
                None => self.undeclared(&at, demanded, rest(writer)),
            }
        }
        if *rest(reader) == ANYTHING {
            return;
        }
        if writer.contains_key("patternProperties")
            && writer.get("patternProperties") != reader.get("patternProperties")
        {
            let why = "holds for names that the other one's `patternProperties` let through; that is not decided";
            self.undecided(&format!("{at}/additionalProperties"), why);
        }
        for (name, ensured) in map(writer).into_iter().flatten() {
            if map(reader).is_some_and(|properties| properties.contains_key(name)) || *ensured == Value::Bool(false) {
                continue;
            }
            let at = format!("{at}/additionalProperties");
            if *rest(reader) == Value::Bool(false) {
                self.refuses(&at, format!("is false, and `{name}` is no property here as it is in the other"));
            } else {
                self.schemas(&at, rest(reader), ensured);
            }
        }
        self.schemas(&format!("{at}/additionalProperties"), rest(reader), rest(writer));
    }

    /// A property that only the reader declares: until now it could hold whatever the writer allows others to.
    fn undeclared(&mut self, at: &str, demanded: &'a Value, rest: &'a Value) {
        let before = self.problems.len();
        self.schemas(at, demanded, rest);
        if *rest == ANYTHING
            && let Some(problem) = self.problems.get_mut(before)
        {
            problem.description.push_str(
                "; the other does not declare this property, and without `additionalProperties: false` it may hold anything",
            );
        }
    }
}

/// A schema with one of its keywords only.
fn only(schema: &Object, keyword: &str) -> Object {
    schema.get(keyword).map(|value| (keyword.to_owned(), value.clone())).into_iter().collect()
}

/// Whether two objects say the same, titles and the like aside.
fn alike(reader: &Object, writer: &Object) -> bool {
    let demands = |schema: &'_ Object| -> Object {
        let pairs = schema.iter().filter(|(keyword, _)| !says_nothing(keyword));
        pairs.map(|(keyword, value)| (keyword.clone(), value.clone())).collect()
    };
    let reader = demands(reader);
    reader == demands(writer) && !reader.values().any(refers)
}
