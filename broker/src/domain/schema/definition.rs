//! A JSON Schema that may be kept: parsed once, each rule naming what is wrong and where.

use crate::domain::limits::{SCHEMA_BYTES_MAX, SCHEMA_DEPTH_MAX, SCHEMA_PATTERN_BYTES_MAX, SCHEMA_PATTERNS_MAX};
use crate::domain::schema::cost::too_much;
use crate::domain::schema::parts::{applied, reference, resolve, shelved};
use crate::domain::schema::validator::{Validator, compile};
use crate::domain::{Error, Result};
use serde_json::{Map, Value};

/// The draft that a schema follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draft {
    Four,
    Six,
    Seven,
    September2019,
    December2020,
}

const DRAFTS: [(Draft, &str, &str); 5] = [
    (Draft::Four, "4", "json-schema.org/draft-04/schema"),
    (Draft::Six, "6", "json-schema.org/draft-06/schema"),
    (Draft::Seven, "7", "json-schema.org/draft-07/schema"),
    (Draft::September2019, "2019-09", "json-schema.org/draft/2019-09/schema"),
    (Draft::December2020, "2020-12", "json-schema.org/draft/2020-12/schema"),
];

impl Draft {
    pub fn as_str(self) -> &'static str {
        DRAFTS.iter().find(|(draft, ..)| *draft == self).map_or("", |(_, name, _)| name)
    }

    /// By `$schema`; without one it is the newest.
    fn of(schema: &Value) -> Option<Self> {
        let Some(uri) = schema.get("$schema") else { return Some(Self::December2020) };
        let uri = uri.as_str()?.trim_end_matches('#');
        let uri = uri.strip_prefix("https://").or_else(|| uri.strip_prefix("http://"))?;
        DRAFTS.iter().find(|(.., known)| *known == uri).map(|(draft, ..)| *draft)
    }
}

/// A schema that was found fit.
#[derive(Clone, Debug)]
pub struct Definition {
    pub draft: Draft,
    pub(super) schema: Value,
}

impl Definition {
    /// Parses and checks a definition; `field` is the path that an error names.
    pub fn parse(field: &str, text: &str) -> Result<Self> {
        let refused = |at: &str, why: String| Error::invalid(format!("{field}{at}"), why);
        if text.len() > SCHEMA_BYTES_MAX {
            return Err(refused("", format!("must be at most {SCHEMA_BYTES_MAX} bytes, it has {}", text.len())));
        }
        let schema: Value = serde_json::from_str(text).map_err(|error| refused("", format!("is not JSON: {error}")))?;
        if !schema.is_object() && !schema.is_boolean() {
            return Err(refused("", "must be a JSON object, or `true` or `false`".to_owned()));
        }
        if depth(&schema) > SCHEMA_DEPTH_MAX {
            return Err(refused("", format!("must be nested at most {SCHEMA_DEPTH_MAX} deep")));
        }
        let draft = Draft::of(&schema).ok_or_else(|| {
            let known = DRAFTS.map(|(_, name, _)| name).join(", ");
            refused("/$schema", format!("must be one of the drafts {known}; their own vocabularies are not known"))
        })?;
        let mut check = Check { root: &schema, draft, patterns: 0 };
        check.schema("", &schema).map_err(|(at, why)| refused(&at, why))?;
        if let Some(why) = too_much(&schema) {
            return Err(refused("", why));
        }
        let definition = Self { draft, schema };
        // What is left for the library: keywords of the wrong type, and regular expressions that do not compile.
        compile(&definition).map_err(|(at, why)| refused(&at, why))?;
        Ok(definition)
    }

    /// The compiled form. Only a definition that this broker's library no longer takes fails.
    pub fn compile(&self) -> Result<Validator> {
        compile(self).map_err(|(at, why)| Error::internal(format!("a registered schema does not compile: {at} {why}")))
    }
}

/// A place in the schema, and what is wrong there.
type Wrong = (String, String);

struct Check<'a> {
    root: &'a Value,
    draft: Draft,
    patterns: usize,
}

impl Check<'_> {
    fn schema(&mut self, at: &str, schema: &Value) -> Result<(), Wrong> {
        let Some(object) = schema.as_object() else { return Ok(()) };
        let wrong = |keyword: &str, why: String| (format!("{at}/{keyword}"), why);
        for keyword in ["$dynamicRef", "$recursiveRef"] {
            if object.contains_key(keyword) {
                return Err(wrong(keyword, "is not supported; use `$ref`".to_owned()));
            }
        }
        let base = if self.draft == Draft::Four { "id" } else { "$id" };
        if !at.is_empty() && object.contains_key(base) {
            return Err(wrong(base, "may only stand at the root".to_owned()));
        }
        if let Some(reference) = reference(object) {
            let Some(target) = resolve(self.root, reference) else {
                let why = format!(
                    "refers to `{reference}`; only `#` and `#/…` within the schema are followed, never fetched"
                );
                return Err(wrong("$ref", why));
            };
            if !target.is_object() && !target.is_boolean() {
                return Err(wrong("$ref", format!("refers to `{reference}`, which is no schema")));
            }
        }
        self.patterns(at, object)?;
        for part in applied(object).into_iter().chain(shelved(object)) {
            self.schema(&format!("{at}{}", part.pointer), part.schema)?;
        }
        Ok(())
    }

    fn patterns(&mut self, at: &str, object: &Map<String, Value>) -> Result<(), Wrong> {
        let one = object.get("pattern").and_then(Value::as_str).map(|pattern| ("pattern", pattern));
        let named = object.get("patternProperties").and_then(Value::as_object).into_iter().flatten();
        for (keyword, pattern) in one.into_iter().chain(named.map(|(name, _)| ("patternProperties", name.as_str()))) {
            self.patterns += 1;
            if self.patterns > SCHEMA_PATTERNS_MAX {
                let why = format!("is one regular expression too many: a schema has at most {SCHEMA_PATTERNS_MAX}");
                return Err((format!("{at}/{keyword}"), why));
            }
            if pattern.len() > SCHEMA_PATTERN_BYTES_MAX {
                let why = format!("must be at most {SCHEMA_PATTERN_BYTES_MAX} bytes, it has {}", pattern.len());
                return Err((format!("{at}/{keyword}"), why));
            }
        }
        Ok(())
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or(0),
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(schema: &Value) -> Error {
        Definition::parse("definition", &schema.to_string()).expect_err("refused")
    }

    #[test]
    fn every_draft_is_known_by_its_uri_and_the_newest_without_one() {
        for (draft, _, uri) in DRAFTS {
            let text = json!({"$schema": format!("http://{uri}#"), "type": "object"}).to_string();
            assert_eq!(Definition::parse("definition", &text).expect("fine").draft, draft);
        }
        assert_eq!(Definition::parse("definition", "true").expect("fine").draft.as_str(), "2020-12");
        assert!(refused(&json!({"$schema": "https://example.com/mine"})).message().contains("drafts 4, 6, 7"));
    }

    #[test]
    fn what_is_wrong_is_named_by_its_place() {
        let cases = [
            (json!({"properties": {"a": {"type": "strong"}}}), "definition/properties/a/type", ""),
            (
                json!({"properties": {"a/b": {"pattern": "("}}}),
                "definition/properties/a~1b/pattern",
                "regular expression",
            ),
            (json!({"pattern": "(?=a)b"}), "definition/pattern", "regular expression"),
            (json!({"pattern": "a".repeat(1_025)}), "definition/pattern", "1024 bytes"),
            (json!({"$ref": "https://example.com/a.json"}), "definition/$ref", "never fetched"),
            (json!({"$ref": "file:///etc/passwd"}), "definition/$ref", "never fetched"),
            (json!({"items": {"$ref": "#/$defs/gone"}}), "definition/items/$ref", "#/$defs/gone"),
            (json!({"items": {"$dynamicRef": "#x"}}), "definition/items/$dynamicRef", "not supported"),
            (json!({"$defs": {"a": {"$id": "x"}}}), "definition/$defs/a/$id", "root"),
            (json!([]), "definition", "object"),
        ];
        for (schema, field, why) in cases {
            let error = refused(&schema);
            assert_eq!(error.violations()[0].field, field, "{schema}: {error:?}");
            assert!(error.message().contains(why), "{error:?}");
        }
    }

    #[test]
    fn size_depth_and_regular_expressions_are_bounded() {
        let mut deep = json!({});
        for _ in 0..20 {
            deep = json!({"allOf": [deep]});
        }
        assert!(refused(&deep).message().contains("32 deep"));
        let large = json!({"description": "x".repeat(SCHEMA_BYTES_MAX)});
        assert!(refused(&large).message().contains("65536 bytes"));
        let many: Map<String, Value> = (0..65).map(|n| (format!("p{n}"), json!({"pattern": "a"}))).collect();
        assert!(refused(&json!({"properties": many})).message().contains("at most 64"));
        let heavy = json!({"pattern": "(\\w{100}){100}"});
        assert!(refused(&heavy).message().contains("regular expression"), "{:?}", refused(&heavy));
    }
}
