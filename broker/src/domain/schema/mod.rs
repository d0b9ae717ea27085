//! Schemas of events: what they are, what a stream does with them, what their errors are.
//!
//! [`Definition`] is a JSON Schema that has been found fit: bounded in size, depth, regular expressions and in the work that a
//! payload can cause, and without references to anything outside. [`compatibility`] decides whether one may follow another;
//! [`Validator`] checks payloads. All of it is pure.

pub mod compatibility;
mod cost;
mod definition;
mod parts;
mod validator;

pub use definition::{Definition, Draft};
pub use validator::{Fault, Validator};

use crate::domain::ids::StreamName;
use crate::domain::{Applied, Error, Reason, Result, limits};
use compatibility::Problem;

/// What happens to an event that its schema refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforcement {
    Off,
    Warn,
    Reject,
}

impl Enforcement {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Warn => "warn",
            Self::Reject => "reject",
        }
    }

    /// The reverse of [`Enforcement::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Off, Self::Warn, Self::Reject].into_iter().find(|known| known.as_str() == text)
    }
}

/// What a new version must keep of the newest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compatibility {
    None,
    /// The new version accepts what the newest one accepts.
    Backward,
    /// The newest version accepts what the new one accepts.
    Forward,
    Full,
}

impl Compatibility {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Backward => "backward",
            Self::Forward => "forward",
            Self::Full => "full",
        }
    }

    /// The reverse of [`Compatibility::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Backward, Self::Forward, Self::Full].into_iter().find(|known| known.as_str() == text)
    }
}

/// What the schemas of a stream do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    pub enforcement: Enforcement,
    pub compatibility: Compatibility,
}

impl Default for Policy {
    fn default() -> Self {
        Self { enforcement: Enforcement::Reject, compatibility: Compatibility::Backward }
    }
}

/// One version of the schema of an event type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// Empty: every type that has no schema of its own.
    pub event_type: String,
    pub version: i32,
    pub definition: String,
    /// Microseconds since 1970, database time.
    pub created_at: i64,
}

/// What a list shows.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Only this event type.
    pub event_type: Option<String>,
    pub newest_only: bool,
}

/// The event type of a schema, checked.
pub fn event_type(field: &str, text: &str) -> Result<()> {
    let max = limits::TYPE_BYTES_MAX;
    if text.len() > max || text.contains('\0') {
        return Err(Error::invalid(field, format!("must be at most {max} bytes without NUL, it has {}", text.len())));
    }
    Ok(())
}

/// How a schema is named in sentences.
pub fn called(event_type: &str) -> String {
    if event_type.is_empty() { "the schema without a type".to_owned() } else { format!("the schema of `{event_type}`") }
}

/// No such schema.
pub fn schema_not_found(stream: &StreamName, event_type: &str, version: i32) -> Error {
    let version = if version == 0 { String::new() } else { format!(", version {version},") };
    let message = format!("{}{version} does not exist in stream `{stream}`; list its schemas", called(event_type));
    Error::new(Reason::SchemaNotFound, message).fact("stream", stream).applied(Applied::No)
}

/// The step to a new version is not allowed, or cannot be decided. A few of the problems are named: a status has little room.
pub fn schema_incompatible(event_type: &str, version: i32, mode: Compatibility, problems: &[Problem]) -> Error {
    const NAMED: usize = 8;
    let first = problems.first().map(|problem| format!(": `{}` {}", problem.pointer, problem.description));
    let message = format!(
        "version {version} of {} cannot be followed by this under `{}`{}; `CheckCompatibility` names all {} problems",
        called(event_type),
        mode.as_str(),
        first.unwrap_or_default(),
        problems.len()
    );
    let error = Error::new(Reason::SchemaIncompatible, message)
        .fact("compared_version", version)
        .fact("compatibility", mode.as_str())
        .applied(Applied::No);
    problems.iter().take(NAMED).fold(error, |error, problem| {
        error.violation(format!("definition{}", problem.pointer), problem.description.clone())
    })
}

/// The stream has as many schemas as it may.
pub fn too_many_schemas(what: &str, max: usize) -> Error {
    let message = format!("a stream has at most {max} {what}; nothing was applied");
    Error::new(Reason::TooManySchemas, message).fact("max", max).applied(Applied::No)
}
