//! How rules are shown.

use eventflow::rules::{RuleAction, RuleInfo, RuleStatus, RuleTest, TestedEvent};
use serde_json::{Value, json};

use crate::output::{Listing, Paint, count, since};

pub(super) fn object(rule: &RuleInfo) -> Value {
    let action = match &rule.action {
        RuleAction::Pass => json!({"pass": {}}),
        RuleAction::Drop => json!({"drop": {}}),
        RuleAction::Route { stream } => json!({"route": {"stream": stream}}),
        RuleAction::Headers { set, remove } => json!({"headers": {"set": set, "remove": remove}}),
        RuleAction::Redact { fields } => json!({"redact": {"fields": fields}}),
        _ => Value::Null,
    };
    json!({
        "stream": rule.stream,
        "name": rule.name,
        "description": rule.description,
        "position": rule.position,
        "disabled": rule.disabled,
        "filter": rule.filter,
        "action": action,
        "version": rule.version,
        "created": since(rule.create_time),
        "updated": since(rule.update_time),
    })
}

/// What a rule does, in words.
fn action(rule: &RuleInfo) -> String {
    match &rule.action {
        RuleAction::Pass => "counts".to_owned(),
        RuleAction::Drop => "drops".to_owned(),
        RuleAction::Route { stream } => format!("copies to `{stream}`"),
        RuleAction::Headers { set, remove } => {
            let set = set.iter().map(|(name, value)| format!("sets {name}={value}"));
            let removed = remove.iter().map(|name| format!("removes {name}"));
            removed.chain(set).collect::<Vec<_>>().join(", ")
        }
        RuleAction::Redact { fields } => format!("redacts {}", fields.join(", ")),
        _ => "does what this version does not know".to_owned(),
    }
}

fn which(rule: &RuleInfo) -> String {
    if rule.filter.is_empty() { "every event".to_owned() } else { rule.filter.clone() }
}

pub(super) fn listing(rules: &[RuleInfo]) -> Listing {
    let mut listing = Listing::new(&["#place", "rule", "state", "events", "what it does"])
        .when_empty("no rules yet: `eventflow rule create STREAM NAME --route STREAM` makes one");
    for rule in rules {
        let state = if rule.disabled { "off" } else { "on" };
        let row = [rule.position.to_string(), rule.name.clone(), state.to_owned(), which(rule), action(rule)];
        listing.add(object(rule), row);
    }
    listing
}

pub(super) fn text(rule: &RuleInfo, paint: Paint) -> String {
    listing(std::slice::from_ref(rule)).table(paint)
}

pub(super) fn status_object(status: &RuleStatus) -> Value {
    let rules = status.rules.iter().map(|rule| {
        json!({
            "name": rule.name,
            "disabled": rule.disabled,
            "processed": rule.processed,
            "matched": rule.matched,
            "copied": rule.copied,
            "failed": rule.failed,
            "last_failure": rule.last_failure,
            "last_failure_time": rule.last_failure_time.map(since),
        })
    });
    json!({
        "group": status.group,
        "version": status.version,
        "paused": status.paused,
        "brokers": status.brokers,
        "lag_events": status.lag_events,
        "lag_seconds": status.lag_seconds,
        "retries": status.retries,
        "dead_letters": status.dead_letters,
        "rules": rules.collect::<Vec<_>>(),
    })
}

pub(super) fn status(status: &RuleStatus, paint: Paint) -> String {
    if status.group.is_empty() {
        return "the stream has no rules\n".to_owned();
    }
    let paused = if status.paused { ", paused" } else { "" };
    let mut text = format!(
        "group `{}`{paused}, {} brokers; {} events behind ({:.1} s), {} retries, {} dead letters\n",
        status.group,
        status.brokers,
        count(status.lag_events),
        status.lag_seconds,
        count(status.retries),
        count(status.dead_letters),
    );
    let mut table =
        Listing::new(&["rule", "state", "#processed", "#matched", "#copied", "#failed attempts", "last failure"]);
    for rule in &status.rules {
        let row = [
            rule.name.clone(),
            if rule.disabled { "off" } else { "on" }.to_owned(),
            count(rule.processed),
            count(rule.matched),
            count(rule.copied),
            count(rule.failed),
            rule.last_failure.clone(),
        ];
        table.add(Value::Null, row);
    }
    text.push_str(&table.table(paint));
    text
}

pub(super) fn test_object(report: &RuleTest) -> Value {
    let events = report.events.iter().map(|tested| {
        json!({
            "partition": tested.partition,
            "offset": tested.offset,
            "matched_rules": tested.matched_rules,
            "dropped": tested.dropped,
            "copied_to": tested.copied_to,
            "failure": tested.failure,
            "event": tested.event.as_ref().map(|event| json!({
                "type": event.event_type(),
                "key": event.key(),
                "headers": event.headers().iter().map(|header| (header.name.clone(), header.value.clone().into()))
                    .collect::<serde_json::Map<String, Value>>(),
                "payload": String::from_utf8_lossy(event.payload()),
            })),
        })
    });
    json!({
        "read": report.read,
        "matched": report.matched,
        "dropped": report.dropped,
        "failed": report.failed,
        "copies": report.copies,
        "events": events.collect::<Vec<_>>(),
    })
}

pub(super) fn test(report: &RuleTest, paint: Paint) -> String {
    let mut text = format!(
        "{} of {} stored events match; {} would be dropped, {} would fail, {} copies would be made\n",
        count(report.matched),
        count(report.read),
        count(report.dropped),
        count(report.failed),
        count(report.copies),
    );
    if !report.events.is_empty() {
        let mut table = Listing::new(&["#partition", "#offset", "rules", "becomes", "payload"]);
        for tested in &report.events {
            let payload = tested.event.as_ref().map(|event| String::from_utf8_lossy(event.payload()).into_owned());
            let row = [
                tested.partition.to_string(),
                tested.offset.to_string(),
                tested.matched_rules.join(", "),
                becomes(tested),
                payload.unwrap_or_default().chars().take(80).collect(),
            ];
            table.add(Value::Null, row);
        }
        text.push_str(&table.table(paint));
    }
    text
}

fn becomes(tested: &TestedEvent) -> String {
    match (&tested.failure, tested.dropped, tested.copied_to.as_slice()) {
        (failure, ..) if !failure.is_empty() => format!("a failure: {failure}"),
        (_, true, []) => "dropped".to_owned(),
        (_, true, streams) => format!("copied to {}, then dropped", streams.join(", ")),
        (_, false, []) => String::new(),
        (_, false, streams) => format!("copied to {}", streams.join(", ")),
    }
}
