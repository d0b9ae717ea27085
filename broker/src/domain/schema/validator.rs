//! The compiled form of a schema: checks payloads.

use crate::domain::limits::VIOLATIONS_MAX;
use crate::domain::schema::definition::{Definition, Draft};
use jsonschema::{PatternOptions, ValidationOptions};
use serde_json::Value;

/// Compiled size of one regular expression, and of its cache of states, in bytes.
const PATTERN_SIZE_MAX: usize = 256 * 1024;

/// A compiled schema. It reads no file and no network, and its regular expressions take linear time.
#[derive(Debug)]
pub struct Validator(jsonschema::Validator);

/// One thing that is wrong with a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// JSON pointer into the payload; empty is the whole.
    pub pointer: String,
    pub description: String,
}

impl Validator {
    /// Everything that is wrong with a payload, at most `VIOLATIONS_MAX`. What is not JSON is wrong as a whole.
    pub fn faults(&self, payload: &[u8]) -> Vec<Fault> {
        let value: Value = match serde_json::from_slice(payload) {
            Ok(value) => value,
            Err(error) => {
                let description = format!("is not JSON, as its schema demands: {error}");
                return vec![Fault { pointer: String::new(), description }];
            }
        };
        if self.0.is_valid(&value) {
            return Vec::new();
        }
        // Values are not repeated in messages: a payload is nobody's business but its reader's.
        let fault = |error: jsonschema::ValidationError<'_>| Fault {
            pointer: error.instance_path().as_str().to_owned(),
            description: error.masked_with("the value").to_string(),
        };
        self.0.iter_errors(&value).take(VIOLATIONS_MAX).map(fault).collect()
    }
}

/// Compiles a definition, or says where it cannot be and why.
pub(super) fn compile(definition: &Definition) -> Result<Validator, (String, String)> {
    let patterns = PatternOptions::regex().size_limit(PATTERN_SIZE_MAX).dfa_size_limit(PATTERN_SIZE_MAX);
    let options: ValidationOptions<'_> = jsonschema::options()
        .with_draft(match definition.draft {
            Draft::Four => jsonschema::Draft::Draft4,
            Draft::Six => jsonschema::Draft::Draft6,
            Draft::Seven => jsonschema::Draft::Draft7,
            Draft::September2019 => jsonschema::Draft::Draft201909,
            Draft::December2020 => jsonschema::Draft::Draft202012,
        })
        .with_pattern_options(patterns)
        .offline()
        .should_validate_formats(true)
        // To compile a regular expression of a payload's choice costs what nobody has bounded.
        .with_format("regex", |_: &str| true);
    options.build(&definition.schema).map(Validator).map_err(|error| {
        let at = error.instance_path().as_str().to_owned();
        let why = error.masked_with("the value").to_string();
        if why.ends_with("is not a \"regex\"") {
            let why = "is no regular expression, or one that needs look-around, back-references, or too much memory";
            return (at, why.to_owned());
        }
        (at, format!("is not a valid schema: {why}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(schema: Value, payload: &str) -> Vec<(String, String)> {
        let definition = Definition::parse("definition", &schema.to_string()).expect("a schema");
        let faults = definition.compile().expect("compiles").faults(payload.as_bytes());
        faults.into_iter().map(|fault| (fault.pointer, fault.description)).collect()
    }

    #[test]
    fn every_violation_has_its_pointer_and_no_value() {
        let schema = json!({
            "type": "object", "required": ["id"],
            "properties": {"total": {"type": "number"}, "lines": {"items": {"required": ["sku"]}}},
        });
        let found = faults(schema, r#"{"total": "secret", "lines": [{"sku": 1}, {}]}"#);
        let pointers: Vec<&str> = found.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(pointers.len(), 3, "{found:?}");
        for pointer in ["", "/total", "/lines/1"] {
            assert!(pointers.contains(&pointer), "{found:?}");
        }
        assert!(found.iter().all(|(_, description)| !description.contains("secret")), "{found:?}");
    }

    #[test]
    fn formats_are_checked_and_what_is_not_json_is_wrong_as_a_whole() {
        let schema = json!({"properties": {"at": {"format": "date-time"}}});
        assert_eq!(faults(schema.clone(), r#"{"at": "2026-01-31T09:30:00Z"}"#), []);
        assert_eq!(faults(schema.clone(), r#"{"at": "yesterday"}"#)[0].0, "/at");
        for payload in ["", "not json", "{\"a\":1} x"] {
            assert!(faults(schema.clone(), payload)[0].1.contains("not JSON"), "{payload}");
        }
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert!(faults(json!({}), &deep)[0].1.contains("recursion limit"));
    }

    #[test]
    fn a_payload_with_thousands_of_violations_names_a_hundred() {
        let payload = format!("[{}]", vec!["1"; 5_000].join(","));
        assert_eq!(faults(json!({"items": {"type": "string"}}), &payload).len(), VIOLATIONS_MAX);
    }
}
