//! Schemas.

use crate::catalogue::Page;
use crate::domain::event::Event;
use crate::domain::ids::StreamName;
use crate::domain::limits::{HISTORY_EVENTS_DEFAULT, HISTORY_EVENTS_MAX};
use crate::domain::schema::compatibility::{Direction, Problem};
use crate::domain::schema::{Compatibility, Definition, Enforcement, Fault, Listed, Policy, Schema, event_type};
use crate::domain::{Error, Result};
use crate::grpc::convert::event::events;
use crate::grpc::convert::time::timestamp;
use crate::schemas::{Candidate, Checked, HistoryCheck, HistoryReport, Registered, Validated};
use eventflow_proto::v1::{self, SchemaCompatibility, SchemaEnforcement};

/// What a stream's schemas shall do.
pub fn schema_policy(wire: &v1::Stream) -> Result<Policy> {
    let policy = wire.schema_policy.unwrap_or_default();
    let enforcement = match SchemaEnforcement::try_from(policy.enforcement) {
        Ok(SchemaEnforcement::Unspecified) => Policy::default().enforcement,
        Ok(SchemaEnforcement::Off) => Enforcement::Off,
        Ok(SchemaEnforcement::Warn) => Enforcement::Warn,
        Ok(SchemaEnforcement::Reject) => Enforcement::Reject,
        Err(_) => return Err(Error::invalid("stream.schema_policy.enforcement", "is not one that this broker knows")),
    };
    let compatibility = compatibility("stream.schema_policy.compatibility", policy.compatibility)?;
    Ok(Policy { enforcement, compatibility: compatibility.unwrap_or(Policy::default().compatibility) })
}

/// The policy of a stream.
pub fn policy(policy: Policy) -> v1::SchemaPolicy {
    let enforcement = match policy.enforcement {
        Enforcement::Off => SchemaEnforcement::Off,
        Enforcement::Warn => SchemaEnforcement::Warn,
        Enforcement::Reject => SchemaEnforcement::Reject,
    };
    v1::SchemaPolicy { enforcement: enforcement.into(), compatibility: mode(policy.compatibility).into() }
}

fn compatibility(field: &str, wire: i32) -> Result<Option<Compatibility>> {
    match SchemaCompatibility::try_from(wire) {
        Ok(SchemaCompatibility::Unspecified) => Ok(None),
        Ok(SchemaCompatibility::None) => Ok(Some(Compatibility::None)),
        Ok(SchemaCompatibility::Backward) => Ok(Some(Compatibility::Backward)),
        Ok(SchemaCompatibility::Forward) => Ok(Some(Compatibility::Forward)),
        Ok(SchemaCompatibility::Full) => Ok(Some(Compatibility::Full)),
        Err(_) => Err(Error::invalid(field, "is not one that this broker knows")),
    }
}

fn mode(mode: Compatibility) -> SchemaCompatibility {
    match mode {
        Compatibility::None => SchemaCompatibility::None,
        Compatibility::Backward => SchemaCompatibility::Backward,
        Compatibility::Forward => SchemaCompatibility::Forward,
        Compatibility::Full => SchemaCompatibility::Full,
    }
}

fn candidate(stream: &str, kind: String, text: String) -> Result<Candidate> {
    event_type("event_type", &kind)?;
    let definition = Definition::parse("definition", &text)?;
    Ok(Candidate { stream: StreamName::parse("stream", stream)?, event_type: kind, text, definition })
}

/// The schema to be registered.
pub fn new_schema(wire: v1::RegisterSchemaRequest) -> Result<Candidate> {
    candidate(&wire.stream, wire.event_type, wire.definition)
}

/// A candidate, and the mode to check it by.
pub fn check(wire: v1::CheckCompatibilityRequest) -> Result<(Candidate, Option<Compatibility>)> {
    let mode = compatibility("compatibility", wire.compatibility)?;
    Ok((candidate(&wire.stream, wire.event_type, wire.definition)?, mode))
}

/// A candidate, and how far to look.
pub fn history(wire: v1::CheckAgainstHistoryRequest) -> Result<HistoryCheck> {
    let events = match wire.events {
        0 => HISTORY_EVENTS_DEFAULT,
        events if events > HISTORY_EVENTS_MAX => {
            return Err(Error::invalid("events", format!("must be 1 to {HISTORY_EVENTS_MAX}, it is {events}")));
        }
        events => events,
    };
    Ok(HistoryCheck { candidate: candidate(&wire.stream, wire.event_type, wire.definition)?, events })
}

/// Which schema is meant; version 0 is the newest.
pub fn which(wire: &v1::GetSchemaRequest) -> Result<(StreamName, i32)> {
    event_type("event_type", &wire.event_type)?;
    let version = i32::try_from(wire.version).map_err(|_| Error::invalid("version", "is not one that a schema has"))?;
    Ok((StreamName::parse("stream", &wire.stream)?, version))
}

/// What a list shall show.
pub fn listed(wire: &v1::ListSchemasRequest) -> Result<Listed> {
    event_type("event_type", wire.event_type.as_deref().unwrap_or_default())?;
    Ok(Listed { event_type: wire.event_type.clone(), newest_only: wire.newest_only })
}

/// The event to be validated, in its canonical form.
pub fn event(wire: Option<v1::Event>) -> Result<Event> {
    let wire = wire.ok_or_else(|| Error::invalid("event", "must be set"))?;
    events(vec![wire], None)?.pop().ok_or_else(|| Error::invalid("event", "must be set"))
}

/// A schema of a stream.
pub fn schema(stream: &str, schema: &Schema) -> v1::Schema {
    v1::Schema {
        stream: stream.to_owned(),
        event_type: schema.event_type.clone(),
        version: schema.version.unsigned_abs(),
        // What is registered has been parsed before.
        draft: Definition::parse("definition", &schema.definition)
            .map_or(String::new(), |definition| definition.draft.as_str().to_owned()),
        definition: schema.definition.clone(),
        create_time: Some(timestamp(schema.created_at)),
    }
}

/// A page of a stream's schemas.
pub fn page(stream: &str, page: Page<Schema>) -> v1::ListSchemasResponse {
    v1::ListSchemasResponse {
        schemas: page.items.iter().map(|found| schema(stream, found)).collect(),
        next_page_token: page.next_page_token,
    }
}

impl From<&Registered> for v1::RegisterSchemaResponse {
    fn from(registered: &Registered) -> Self {
        Self { schema: Some(schema(registered.stream.as_str(), &registered.schema)) }
    }
}

impl From<Checked> for v1::CheckCompatibilityResponse {
    fn from(checked: Checked) -> Self {
        Self {
            compatible: checked.problems.is_empty(),
            compared_version: checked.compared_version.unsigned_abs(),
            compatibility: mode(checked.mode).into(),
            problems: checked.problems.into_iter().map(problem).collect(),
        }
    }
}

fn problem(problem: Problem) -> v1::SchemaProblem {
    let direction = match problem.direction {
        Direction::Backward => SchemaCompatibility::Backward,
        Direction::Forward => SchemaCompatibility::Forward,
    };
    v1::SchemaProblem {
        direction: direction.into(),
        pointer: problem.pointer,
        description: problem.description,
        undecided: problem.undecided,
    }
}

impl From<Validated> for v1::ValidateEventResponse {
    fn from(validated: Validated) -> Self {
        let (schema_event_type, version) = validated.by.unwrap_or_default();
        Self {
            valid: validated.faults.is_empty(),
            schema_event_type,
            schema_version: version.unsigned_abs(),
            violations: validated.faults.into_iter().map(|fault| violation("event.payload", fault)).collect(),
        }
    }
}

impl From<HistoryReport> for v1::CheckAgainstHistoryResponse {
    fn from(report: HistoryReport) -> Self {
        let broken = report.named.into_iter().map(|broken| v1::BrokenEvent {
            partition: broken.partition,
            offset: broken.offset,
            event_type: broken.event_type,
            violations: broken.faults.into_iter().map(|fault| violation("payload", fault)).collect(),
        });
        Self {
            read_events: report.read,
            checked_events: report.checked,
            broken_events: report.broken,
            broken: broken.collect(),
        }
    }
}

fn violation(payload: &str, fault: Fault) -> v1::FieldViolation {
    v1::FieldViolation { field: format!("{payload}{}", fault.pointer), description: fault.description }
}
