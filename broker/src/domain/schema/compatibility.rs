//! Whether one schema accepts every payload that another one accepts.
//!
//! The answer is found by comparing the two keyword by keyword, from the root down, through references. It is careful: "yes" is
//! a proof, and what the comparison does not understand is a problem that says so. docs/schemas.md lists what it understands;
//! keep that list true.

mod keywords;
mod numbers;
mod types;

use crate::domain::schema::parts::{escaped, reference, reference_stands_alone, resolve};
use crate::domain::schema::{Compatibility, Definition, Draft};
use serde_json::{Map, Value};
use std::collections::HashSet;

/// Problems that are gathered before the comparison ends.
const PROBLEMS_MAX: usize = crate::domain::limits::VIOLATIONS_MAX;
/// Pairs of subschemas that are compared before it gives up: alternatives are tried one after the other.
const PAIRS_MAX: usize = 5_000;

/// In which direction a step fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The new schema refuses what the old one accepts.
    Backward,
    /// The old schema refuses what the new one accepts.
    Forward,
}

/// A place at which one schema may not follow another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub direction: Direction,
    /// JSON pointer into the schema that would refuse.
    pub pointer: String,
    pub description: String,
    /// It could not be decided.
    pub undecided: bool,
}

/// What stands against replacing `old` by `new` under a mode; nothing: it is allowed.
pub fn problems(mode: Compatibility, old: &Definition, new: &Definition) -> Vec<Problem> {
    let backward = || covers(Direction::Backward, new, old);
    let forward = || covers(Direction::Forward, old, new);
    match mode {
        Compatibility::None => Vec::new(),
        Compatibility::Backward => backward(),
        Compatibility::Forward => forward(),
        Compatibility::Full => backward().into_iter().chain(forward()).take(PROBLEMS_MAX).collect(),
    }
}

/// Why `reader` may refuse a payload that `writer` accepts; nothing: it never does.
fn covers(direction: Direction, reader: &Definition, writer: &Definition) -> Vec<Problem> {
    let mut comparison = Comparison {
        direction,
        draft: reader.draft,
        reader: &reader.schema,
        writer: &writer.schema,
        problems: Vec::new(),
        assumed: HashSet::new(),
        pairs: 0,
    };
    if reader.draft == writer.draft {
        comparison.schemas("", &reader.schema, &writer.schema);
    } else {
        let (reader, writer) = (reader.draft.as_str(), writer.draft.as_str());
        comparison
            .undecided("/$schema", format!("is draft {reader}, the other is draft {writer}: they are not compared"));
    }
    comparison.problems
}

struct Comparison<'a> {
    direction: Direction,
    draft: Draft,
    /// The roots, for references.
    reader: &'a Value,
    writer: &'a Value,
    problems: Vec<Problem>,
    /// Pairs that are being compared, or were: a recursion may take them for granted. One that failed has left a problem.
    assumed: HashSet<(*const Value, *const Value)>,
    pairs: usize,
}

/// An absent schema accepts everything.
static ANYTHING: Value = Value::Bool(true);

impl<'a> Comparison<'a> {
    fn refuses(&mut self, at: &str, description: impl Into<String>) {
        self.problem(at, description.into(), false);
    }

    fn undecided(&mut self, at: &str, description: impl Into<String>) {
        self.problem(at, description.into(), true);
    }

    fn problem(&mut self, at: &str, description: String, undecided: bool) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.push(Problem { direction: self.direction, pointer: at.to_owned(), description, undecided });
        }
    }

    /// Compares two subschemas; `at` is the reader's place.
    fn schemas(&mut self, at: &str, reader: &'a Value, writer: &'a Value) {
        if !self.assumed.insert((std::ptr::from_ref(reader), std::ptr::from_ref(writer))) {
            return;
        }
        let (Some(reader), Some(writer)) =
            (self.followed(at, self.reader, reader), self.followed(at, self.writer, writer))
        else {
            return;
        };
        if same(reader, writer) || *writer == Value::Bool(false) {
            return;
        }
        match (reader, writer) {
            (Value::Bool(false), _) => self.refuses(at, "accepts nothing, the other accepts something"),
            (Value::Object(reader), Value::Object(writer)) => self.objects(at, reader, writer),
            (Value::Object(reader), _) => self.objects(at, reader, &NOTHING_SAID),
            _ => {}
        }
    }

    /// What a chain of references leads to. None: it could not be followed, and that was said.
    fn followed(&mut self, at: &str, root: &'a Value, mut schema: &'a Value) -> Option<&'a Value> {
        // A longer chain has come back to itself, which registration refuses.
        for _ in 0..PAIRS_MAX {
            let Some(object) = schema.as_object() else { return Some(schema) };
            let Some(name) = reference(object) else { return Some(schema) };
            let alone = reference_stands_alone(self.draft) || object.keys().all(|keyword| says_nothing(keyword));
            if !alone {
                self.undecided(at, "has keywords beside a `$ref`: move them into the definition that it names");
                return None;
            }
            schema = resolve(root, name)?;
        }
        None
    }

    fn objects(&mut self, at: &str, reader: &'a Map<String, Value>, writer: &'a Map<String, Value>) {
        // Alternatives of the writer: each must be accepted, unless what stands beside them is enough.
        for keyword in ["anyOf", "oneOf"] {
            let alone = writer.keys().all(|key| key == keyword || says_nothing(key));
            if let Some(list) = writer.get(keyword).and_then(Value::as_array).filter(|_| alone) {
                return list.iter().for_each(|alternative| self.alternative(at, reader, alternative));
            }
        }
        self.everything(at, reader, writer);
    }

    /// A reader against one alternative of the writer.
    fn alternative(&mut self, at: &str, reader: &'a Map<String, Value>, alternative: &'a Value) {
        let Some(alternative) = self.followed(at, self.writer, alternative) else { return };
        match alternative {
            Value::Bool(false) => {}
            Value::Object(writer) => self.objects(at, reader, writer),
            _ => self.objects(at, reader, &NOTHING_SAID),
        }
    }

    /// Whether one schema covers another, without keeping why not.
    fn tried(&mut self, at: &str, reader: &'a Value, writer: &'a Map<String, Value>) -> bool {
        let (problems, assumed) = (std::mem::take(&mut self.problems), self.assumed.clone());
        match self.followed(at, self.reader, reader) {
            Some(Value::Object(reader)) => self.everything(at, reader, writer),
            Some(Value::Bool(false)) => self.refuses(at, "accepts nothing"),
            _ => {}
        }
        let covered = self.problems.is_empty();
        self.problems = problems;
        if !covered {
            // What was taken for granted on the way may rest on what has just failed.
            self.assumed = assumed;
        }
        covered
    }
}

static NOTHING_SAID: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);

/// Keywords that refuse nothing.
fn says_nothing(keyword: &str) -> bool {
    const SILENT: [&str; 18] = [
        "$ref",
        "$schema",
        "$id",
        "id",
        "$anchor",
        "$dynamicAnchor",
        "$recursiveAnchor",
        "$comment",
        "$defs",
        "definitions",
        "$vocabulary",
        "title",
        "description",
        "default",
        "examples",
        "deprecated",
        "readOnly",
        "writeOnly",
    ];
    SILENT.contains(&keyword)
}

/// Whether two parts say the same, wherever they stand: a reference does not.
fn same(one: &Value, other: &Value) -> bool {
    one == other && !refers(one)
}

fn refers(schema: &Value) -> bool {
    match schema {
        Value::Object(object) => object.contains_key("$ref") || object.values().any(refers),
        Value::Array(list) => list.iter().any(refers),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
