//! How schemas are shown.

use eventflow::{
    FieldViolation, SchemaCompatibility, SchemaEnforcement, SchemaInfo, SchemaPolicy,
    schemas::{CompatibilityReport, HistoryReport, ValidationReport},
};
use serde_json::{Value, json};

use crate::output::{Listing, Paint, count, since};

/// How a schema is named in sentences.
pub(super) fn called(event_type: &str) -> String {
    if event_type.is_empty() { "the schema without a type".to_owned() } else { format!("the schema of `{event_type}`") }
}

pub(super) fn object(schema: &SchemaInfo) -> Value {
    json!({
        "stream": schema.stream,
        "event_type": schema.event_type,
        "version": schema.version,
        "draft": schema.draft,
        "created": since(schema.create_time),
        // What was registered is JSON; it is shown as such.
        "definition": serde_json::from_str::<Value>(&schema.definition).unwrap_or(Value::Null),
    })
}

pub(super) fn listing(schemas: &[SchemaInfo]) -> Listing {
    let mut listing = Listing::new(&["type", "#version", "draft", "#bytes", "created (UTC)"])
        .when_empty("no schemas yet: `eventflow schema register STREAM FILE` registers one");
    for schema in schemas {
        let kind = if schema.event_type.is_empty() { "(any other)".to_owned() } else { schema.event_type.clone() };
        let row = [
            kind,
            schema.version.to_string(),
            schema.draft.clone(),
            count(schema.definition.len() as u64),
            since(schema.create_time),
        ];
        listing.add(object(schema), row);
    }
    listing
}

pub(super) fn check_object(report: &CompatibilityReport, history: Option<&HistoryReport>) -> Value {
    let problems: Vec<Value> = report
        .problems
        .iter()
        .map(|problem| {
            json!({
                "direction": mode(problem.direction),
                "pointer": problem.pointer,
                "description": problem.description,
                "undecided": problem.undecided,
            })
        })
        .collect();
    let history = history.map(|history| {
        let events = history.events.iter().map(|event| {
            json!({
                "partition": event.partition,
                "offset": event.offset,
                "type": event.event_type,
                "violations": violations(&event.violations),
            })
        });
        json!({
            "read": history.read,
            "checked": history.checked,
            "broken": history.broken,
            "events": events.collect::<Vec<_>>(),
        })
    });
    json!({
        "compatible": report.compatible,
        "compatibility": mode(report.compatibility),
        "compared_version": report.compared_version,
        "problems": problems,
        "history": history,
    })
}

pub(super) fn check(report: &CompatibilityReport, history: Option<&HistoryReport>, paint: Paint) -> String {
    let mut text = match (report.compatible, report.compared_version) {
        (true, 0) => "compatible: it is the first version\n".to_owned(),
        (true, version) => format!("compatible with version {version} ({})\n", mode(report.compatibility)),
        (false, version) => format!("not compatible with version {version} ({})\n", mode(report.compatibility)),
    };
    if !report.problems.is_empty() {
        let mut table = Listing::new(&["direction", "place", "problem"]);
        for problem in &report.problems {
            let undecided = if problem.undecided { " (undecided)" } else { "" };
            let direction = format!("{}{undecided}", mode(problem.direction));
            table.add(Value::Null, [direction, place(&problem.pointer), problem.description.clone()]);
        }
        text.push_str(&table.table(paint));
    }
    if let Some(history) = history {
        let (read, checked, broken) = (count(history.read), count(history.checked), count(history.broken));
        text.push_str(&format!("{broken} of {checked} stored events break it ({read} were read)\n"));
        if !history.events.is_empty() {
            let mut table = Listing::new(&["#partition", "#offset", "type", "place", "problem"]);
            for event in &history.events {
                for violation in &event.violations {
                    table.add(
                        Value::Null,
                        [
                            event.partition.to_string(),
                            event.offset.to_string(),
                            event.event_type.clone(),
                            violation.field.clone(),
                            violation.description.clone(),
                        ],
                    );
                }
            }
            text.push_str(&table.table(paint));
        }
    }
    text
}

/// The root of a schema has an empty pointer.
fn place(pointer: &str) -> String {
    if pointer.is_empty() { "(root)".to_owned() } else { pointer.to_owned() }
}

pub(super) fn validation_object(report: &ValidationReport) -> Value {
    json!({
        "valid": report.valid,
        "schema_event_type": report.schema_event_type,
        "schema_version": report.schema_version,
        "violations": violations(&report.violations),
    })
}

pub(super) fn validation(report: &ValidationReport) -> String {
    if report.schema_version == 0 {
        return "no schema applies\n".to_owned();
    }
    if report.valid {
        return format!("fits version {} of {}\n", report.schema_version, called(&report.schema_event_type));
    }
    report.violations.iter().map(|violation| format!("{}: {}\n", violation.field, violation.description)).collect()
}

fn violations(violations: &[FieldViolation]) -> Vec<Value> {
    let object = |violation: &FieldViolation| json!({ "field": violation.field, "description": violation.description });
    violations.iter().map(object).collect()
}

pub(super) fn policy(policy: SchemaPolicy) -> Value {
    json!({ "enforcement": enforcement(policy.enforcement), "compatibility": mode(policy.compatibility) })
}

pub(super) fn policy_words(policy: SchemaPolicy) -> String {
    format!("{}, {} compatibility", enforcement(policy.enforcement), mode(policy.compatibility))
}

fn enforcement(enforcement: SchemaEnforcement) -> &'static str {
    match enforcement {
        SchemaEnforcement::Off => "off",
        SchemaEnforcement::Warn => "warn",
        _ => "reject",
    }
}

fn mode(mode: SchemaCompatibility) -> &'static str {
    match mode {
        SchemaCompatibility::None => "no",
        SchemaCompatibility::Forward => "forward",
        SchemaCompatibility::Full => "full",
        _ => "backward",
    }
}
