//! Filters: a small expression over an event's type, key, headers and JSON payload. Parsed once, when it is set; asked for each
//! event. docs/filters.md is the guide.
//!
//! ```text
//! type starts_with "order." and payload.total > 100 and not (header["test"] == "yes")
//! ```
//!
//! Bounded in every direction: length, depth and terms when it is parsed; each term looks at an event once, and a payload is parsed
//! at most once. What is missing is `null`, and nothing an event holds is an error.

mod parse;
mod value;

use crate::domain::event_view::EventView;
use crate::domain::{Error, Result, limits};
use parse::{Expression, Operand, Operator, Parser};
use std::sync::Arc;
use value::{Payload, Seen};

/// A filter that was parsed. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Filter {
    text: Arc<str>,
    expression: Arc<Expression>,
}

impl PartialEq for Filter {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Filter {
    /// Parses a filter; `field` is the path that an error names. Nothing but spaces is no filter.
    pub fn parse(field: &str, text: &str) -> Result<Option<Self>> {
        if text.trim().is_empty() {
            return Ok(None);
        }
        let max = limits::FILTER_BYTES_MAX;
        if text.len() > max {
            return Err(Error::invalid(field, format!("must be at most {max} bytes, it has {}", text.len())));
        }
        match Parser::new(text).whole() {
            Ok(expression) => Ok(Some(Self { text: text.into(), expression: Arc::new(expression) })),
            Err(wrong) => {
                let column = text[..wrong.at].chars().count() + 1;
                let error = Error::invalid(field, format!("is no filter at character {column}: {}", wrong.why));
                Err(error.fact("position", column))
            }
        }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn matches(&self, event: &EventView<'_>) -> bool {
        holds(&self.expression, event, &Payload::new(event.payload))
    }
}

fn holds(expression: &Expression, event: &EventView<'_>, payload: &Payload<'_>) -> bool {
    match expression {
        Expression::All(parts) => parts.iter().all(|part| holds(part, event, payload)),
        Expression::Any(parts) => parts.iter().any(|part| holds(part, event, payload)),
        Expression::Not(part) => !holds(part, event, payload),
        Expression::Compare(left, operator, right) => {
            compare(look(left, event, payload), *operator, look(right, event, payload))
        }
        Expression::In(operand, literals) => {
            let value = look(operand, event, payload);
            literals.iter().any(|literal| look(literal, event, payload).equals(value))
        }
        Expression::Exists(operand) => !matches!(look(operand, event, payload), Seen::Nothing),
    }
}

fn look<'a>(operand: &'a Operand, event: &EventView<'a>, payload: &'a Payload<'_>) -> Seen<'a> {
    match operand {
        Operand::Type => Seen::Text(event.kind),
        Operand::Key => event.key.map_or(Seen::Nothing, Seen::Text),
        Operand::ContentType => Seen::Text(event.content_type),
        Operand::Header(name) => event.header(name).map_or(Seen::Nothing, Seen::Text),
        Operand::Payload(path) => payload.at(path),
        Operand::Text(text) => Seen::Text(text),
        Operand::Number(number) => Seen::Number(*number),
        Operand::Flag(flag) => Seen::Flag(*flag),
        Operand::Null => Seen::Nothing,
    }
}

fn compare(left: Seen<'_>, operator: Operator, right: Seen<'_>) -> bool {
    let text = |test: fn(&str, &str) -> bool| match (left, right) {
        (Seen::Text(left), Seen::Text(right)) => test(left, right),
        _ => false,
    };
    match operator {
        Operator::Equal => left.equals(right),
        Operator::Unequal => !left.equals(right),
        Operator::Less => left.order(right).is_some_and(std::cmp::Ordering::is_lt),
        Operator::AtMost => left.order(right).is_some_and(std::cmp::Ordering::is_le),
        Operator::Greater => left.order(right).is_some_and(std::cmp::Ordering::is_gt),
        Operator::AtLeast => left.order(right).is_some_and(std::cmp::Ordering::is_ge),
        Operator::StartsWith => text(|left, right| left.starts_with(right)),
        Operator::EndsWith => text(|left, right| left.ends_with(right)),
        Operator::Contains => text(|left, right| left.contains(right)),
    }
}

#[cfg(test)]
mod tests;
