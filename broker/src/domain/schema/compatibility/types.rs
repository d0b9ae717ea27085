//! Which JSON types a schema lets through, as far as `type`, `enum` and `const` say.

use crate::domain::schema::Draft;
use serde_json::{Map, Value};

/// A set of types. Whole numbers and others are told apart: `integer` is a part of `number`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Types(u8);

impl Types {
    pub(super) const STRING: Types = Types(1);
    pub(super) const NUMBER: Types = Types(2 | 4);
    pub(super) const ARRAY: Types = Types(8);
    pub(super) const OBJECT: Types = Types(16);
    const WHOLE: Types = Types(2);
    const BOOLEAN: Types = Types(32);
    const NULL: Types = Types(64);
    const ALL: Types = Types(127);

    /// What an object lets through.
    pub(super) fn of(draft: Draft, schema: &Map<String, Value>) -> Self {
        let mut types = Self::ALL;
        if let Some(named) = schema.get("type") {
            types = types.and(Self::named(named));
        }
        if let Some(values) = values(draft, schema) {
            types = types.and(Self(values.iter().map(|value| Self::of_value(value).0).fold(0, |all, one| all | one)));
        }
        types
    }

    fn named(value: &Value) -> Self {
        match value {
            Value::String(name) => match name.as_str() {
                "string" => Self::STRING,
                "number" => Self::NUMBER,
                "integer" => Self::WHOLE,
                "array" => Self::ARRAY,
                "object" => Self::OBJECT,
                "boolean" => Self::BOOLEAN,
                "null" => Self::NULL,
                _ => Self::ALL,
            },
            Value::Array(names) => Self(names.iter().map(|name| Self::named(name).0).fold(0, |all, one| all | one)),
            _ => Self::ALL,
        }
    }

    fn of_value(value: &Value) -> Self {
        match value {
            Value::Null => Self::NULL,
            Value::Bool(_) => Self::BOOLEAN,
            // `1.0` is an integer in all drafts but one: both are possible.
            Value::Number(number) if number.is_f64() => Self::NUMBER,
            Value::Number(_) => Self::WHOLE,
            Value::String(_) => Self::STRING,
            Value::Array(_) => Self::ARRAY,
            Value::Object(_) => Self::OBJECT,
        }
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}

/// The values that a schema lists, when it lets through no others.
pub(super) fn values(draft: Draft, schema: &Map<String, Value>) -> Option<Vec<&Value>> {
    // Draft 4 does not know `const`.
    if let Some(value) = schema.get("const").filter(|_| draft != Draft::Four) {
        return Some(vec![value]);
    }
    schema.get("enum").and_then(Value::as_array).map(|values| values.iter().collect())
}
