//! Schemas.

use eventflow_proto::v1;

use super::{error::violations, required, time_from_wire};
use crate::{
    error::{Error, Result},
    schemas::{
        BrokenEvent, CompatibilityReport, HistoryReport, SchemaCompatibility, SchemaEnforcement, SchemaInfo,
        SchemaPolicy, SchemaProblem, ValidationReport,
    },
};

impl From<SchemaEnforcement> for v1::SchemaEnforcement {
    fn from(enforcement: SchemaEnforcement) -> Self {
        match enforcement {
            SchemaEnforcement::Off => Self::Off,
            SchemaEnforcement::Warn => Self::Warn,
            SchemaEnforcement::Reject => Self::Reject,
        }
    }
}

impl From<v1::SchemaEnforcement> for SchemaEnforcement {
    fn from(enforcement: v1::SchemaEnforcement) -> Self {
        match enforcement {
            v1::SchemaEnforcement::Off => Self::Off,
            v1::SchemaEnforcement::Warn => Self::Warn,
            v1::SchemaEnforcement::Reject | v1::SchemaEnforcement::Unspecified => Self::Reject,
        }
    }
}

impl From<SchemaCompatibility> for v1::SchemaCompatibility {
    fn from(compatibility: SchemaCompatibility) -> Self {
        match compatibility {
            SchemaCompatibility::None => Self::None,
            SchemaCompatibility::Backward => Self::Backward,
            SchemaCompatibility::Forward => Self::Forward,
            SchemaCompatibility::Full => Self::Full,
        }
    }
}

impl From<v1::SchemaCompatibility> for SchemaCompatibility {
    fn from(compatibility: v1::SchemaCompatibility) -> Self {
        match compatibility {
            v1::SchemaCompatibility::None => Self::None,
            v1::SchemaCompatibility::Backward | v1::SchemaCompatibility::Unspecified => Self::Backward,
            v1::SchemaCompatibility::Forward => Self::Forward,
            v1::SchemaCompatibility::Full => Self::Full,
        }
    }
}

impl From<v1::SchemaPolicy> for SchemaPolicy {
    fn from(policy: v1::SchemaPolicy) -> Self {
        Self { enforcement: policy.enforcement().into(), compatibility: policy.compatibility().into() }
    }
}

impl TryFrom<v1::Schema> for SchemaInfo {
    type Error = Error;

    fn try_from(schema: v1::Schema) -> Result<Self> {
        Ok(Self {
            stream: schema.stream,
            event_type: schema.event_type,
            version: schema.version,
            definition: schema.definition,
            draft: schema.draft,
            create_time: time_from_wire(&required(schema.create_time, "schema.create_time")?),
        })
    }
}

impl From<v1::CheckCompatibilityResponse> for CompatibilityReport {
    fn from(answer: v1::CheckCompatibilityResponse) -> Self {
        let problem = |problem: v1::SchemaProblem| SchemaProblem {
            direction: problem.direction().into(),
            pointer: problem.pointer,
            description: problem.description,
            undecided: problem.undecided,
        };
        Self {
            compatible: answer.compatible,
            compared_version: answer.compared_version,
            compatibility: answer.compatibility().into(),
            problems: answer.problems.into_iter().map(problem).collect(),
        }
    }
}

impl From<v1::ValidateEventResponse> for ValidationReport {
    fn from(answer: v1::ValidateEventResponse) -> Self {
        Self {
            valid: answer.valid,
            schema_event_type: answer.schema_event_type,
            schema_version: answer.schema_version,
            violations: violations(answer.violations),
        }
    }
}

impl From<v1::CheckAgainstHistoryResponse> for HistoryReport {
    fn from(answer: v1::CheckAgainstHistoryResponse) -> Self {
        let broken = |event: v1::BrokenEvent| BrokenEvent {
            partition: event.partition,
            offset: event.offset,
            event_type: event.event_type,
            violations: violations(event.violations),
        };
        Self {
            read: answer.read_events,
            checked: answer.checked_events,
            broken: answer.broken_events,
            events: answer.broken.into_iter().map(broken).collect(),
        }
    }
}
