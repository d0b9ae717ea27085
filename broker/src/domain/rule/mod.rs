//! Processing rules: what becomes of copies of a stream's events. docs/rules.md is the guide.
//!
//! The rules of a stream are asked in their order, about each event. What a rule changes, those behind it see; a copy is the event
//! as it is at that place. What is in the stream never changes. Pure: [`apply`](apply::apply) decides, `rules` carries out.

pub mod apply;
pub mod redact;
#[cfg(test)]
mod tests;

use crate::domain::filter::Filter;
use crate::domain::ids::{RuleId, RuleName, StreamName};
use crate::domain::limits::{HEADER_NAME_BYTES_MAX, HEADERS_BYTES_MAX, RULE_ITEMS_MAX, RULES_MAX};
use crate::domain::{Applied, Error, Reason, Result};
use redact::Field;
use std::collections::BTreeMap;

/// Headers of this beginning are the broker's: they say where a copy comes from, and how far it has come.
pub const OWN_HEADERS: &str = "eventflow-";
/// Idempotency keys of this beginning are the broker's: they name the event and the rule that a copy is of.
pub const OWN_KEYS: &str = "eventflow/";

/// A rule of a stream.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub id: RuleId,
    pub stream: StreamName,
    pub name: RuleName,
    pub description: String,
    /// Its place in the order, from 1.
    pub position: u32,
    pub disabled: bool,
    /// None: every event matches.
    pub filter: Option<Filter>,
    pub action: Action,
    pub version: i64,
    /// Microseconds since 1970, database time.
    pub created_at: i64,
    pub updated_at: i64,
}

/// What a rule does with an event that matches.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Action {
    /// Nothing: it only counts.
    #[default]
    Pass,
    /// No later rule sees the event.
    Drop,
    /// A copy goes to another stream; the event goes on.
    Route { stream: StreamName },
    /// Removes headers, then sets some.
    Headers { set: BTreeMap<String, String>, remove: Vec<String> },
    /// Fields of the JSON payload become the text `[redacted]`.
    Redact { fields: Vec<Field> },
}

/// A rule to be made. Position 0 is the last.
#[derive(Clone, Debug)]
pub struct NewRule {
    pub stream: StreamName,
    pub name: RuleName,
    pub description: String,
    pub position: u32,
    pub disabled: bool,
    pub filter: Option<Filter>,
    pub action: Action,
}

/// What to change of a rule; `None` stays.
#[derive(Clone, Debug, Default)]
pub struct RuleChange {
    pub description: Option<String>,
    pub position: Option<u32>,
    pub disabled: Option<bool>,
    /// `Some(None)` takes it away.
    pub filter: Option<Option<Filter>>,
    pub action: Option<Action>,
}

impl Action {
    /// Headers to be set and removed.
    pub fn headers(field: &str, set: BTreeMap<String, String>, remove: Vec<String>) -> Result<Self> {
        let count = set.len() + remove.len();
        if count == 0 || count > RULE_ITEMS_MAX {
            return Err(Error::invalid(
                field,
                format!("must set or remove 1 to {RULE_ITEMS_MAX} headers, not {count}"),
            ));
        }
        for name in set.keys().chain(&remove) {
            if name.is_empty() || name.len() > HEADER_NAME_BYTES_MAX || name.contains('\0') {
                return Err(Error::invalid(field, format!("must name headers of 1 to {HEADER_NAME_BYTES_MAX} bytes")));
            }
            if name.starts_with(OWN_HEADERS) {
                return Err(Error::invalid(field, format!("must not name `{name}`: `{OWN_HEADERS}` is the broker's")));
            }
        }
        if set.values().any(|value| value.len() > HEADERS_BYTES_MAX || value.contains('\0')) {
            return Err(Error::invalid(
                field,
                format!("must have values of at most {HEADERS_BYTES_MAX} bytes without NUL"),
            ));
        }
        Ok(Self::Headers { set, remove })
    }

    /// Fields to be redacted, as JSON pointers.
    pub fn redact(field: &str, pointers: &[String]) -> Result<Self> {
        if pointers.is_empty() || pointers.len() > RULE_ITEMS_MAX {
            let count = pointers.len();
            return Err(Error::invalid(field, format!("must name 1 to {RULE_ITEMS_MAX} fields, not {count}")));
        }
        let fields = pointers.iter().map(|pointer| Field::parse(field, pointer)).collect::<Result<_>>()?;
        Ok(Self::Redact { fields })
    }

    /// The stream that copies go to.
    pub fn target(&self) -> Option<&StreamName> {
        match self {
            Self::Route { stream } => Some(stream),
            _ => None,
        }
    }
}

/// A rule that routes into its own stream would never end.
pub fn check_target(field: &str, stream: &StreamName, action: &Action) -> Result<()> {
    match action.target() {
        Some(target) if target == stream => {
            Err(Error::invalid(field, "must not be the rule's own stream: its copies would be copied again"))
        }
        _ => Ok(()),
    }
}

/// No such rule.
pub fn rule_not_found(stream: &StreamName, name: &RuleName) -> Error {
    let message = format!("stream `{stream}` has no rule `{name}`; list its rules to see what there is");
    Error::new(Reason::RuleNotFound, message).fact("stream", stream).fact("rule", name)
}

/// The name is taken.
pub fn rule_exists(stream: &StreamName, name: &RuleName) -> Error {
    let message = format!("stream `{stream}` has a rule `{name}`; choose another name, or update it");
    Error::new(Reason::RuleExists, message).fact("stream", stream).fact("rule", name).applied(Applied::No)
}

/// The stream has as many as it may.
pub fn too_many_rules(stream: &StreamName) -> Error {
    let message = format!("stream `{stream}` has {RULES_MAX} rules, which is as many as allowed; delete one first");
    Error::new(Reason::TooManyRules, message).fact("rules_max", RULES_MAX).applied(Applied::No)
}

/// The group belongs to the rules of its stream.
pub fn group_managed(group: &str, stream: &str) -> Error {
    let message = format!(
        "consumer group `{group}` runs the rules of stream `{stream}`; no member can join it, and it goes with the last rule"
    );
    Error::new(Reason::ConsumerGroupManaged, message).fact("group", group).fact("stream", stream).applied(Applied::No)
}
