//! Processing rules.

use crate::domain::event::{DELIVER_AT, Event, parse_headers};
use crate::domain::filter::Filter;
use crate::domain::ids::{RuleId, RuleName, StreamName};
use crate::domain::labels::check_description;
use crate::domain::limits::{RULE_TEST_EVENTS_DEFAULT, RULE_TEST_EVENTS_MAX};
use crate::domain::reports::{RuleCounts, RuleStatus};
use crate::domain::rule::redact::Field;
use crate::domain::rule::{Action, NewRule, Rule, RuleChange};
use crate::domain::{Error, Result};
use crate::grpc::convert::event::view;
use crate::grpc::convert::mask;
use crate::grpc::convert::time::timestamp;
use crate::rules::{Removed, Trial, TrialOf, TrialReport, Tried};
use eventflow_proto::v1::{self, PayloadView, rule, test_rule_request::Of};

const UPDATABLE: [&str; 5] = ["description", "position", "disabled", "filter", "action"];

/// The rule to be made.
pub fn new_rule(wire: Option<v1::Rule>) -> Result<NewRule> {
    let wire = wire.ok_or_else(|| Error::invalid("rule", "must be set"))?;
    check_description("rule.description", &wire.description)?;
    Ok(NewRule {
        stream: StreamName::parse("rule.stream", &wire.stream)?,
        name: RuleName::parse("rule.name", &wire.name)?,
        position: wire.position,
        disabled: wire.disabled,
        filter: Filter::parse("rule.filter", &wire.filter)?,
        action: action("rule", wire.action)?,
        description: wire.description,
    })
}

/// Which rule is meant.
pub fn which(stream: &str, name: &str) -> Result<(StreamName, RuleName)> {
    Ok((StreamName::parse("stream", stream)?, RuleName::parse("name", name)?))
}

/// What to change, and of which rule.
pub fn rule_change(request: &v1::UpdateRuleRequest) -> Result<((StreamName, RuleName), RuleChange)> {
    let wire = request.rule.as_ref().ok_or_else(|| Error::invalid("rule", "must be set"))?;
    let which = (StreamName::parse("rule.stream", &wire.stream)?, RuleName::parse("rule.name", &wire.name)?);
    let mut change = RuleChange::default();
    for path in mask::paths(request.update_mask.as_ref(), &UPDATABLE)? {
        match path {
            "description" => {
                check_description("rule.description", &wire.description)?;
                change.description = Some(wire.description.clone());
            }
            // 0 is the last.
            "position" => change.position = Some(if wire.position == 0 { u32::MAX } else { wire.position }),
            "disabled" => change.disabled = Some(wire.disabled),
            "filter" => change.filter = Some(Filter::parse("rule.filter", &wire.filter)?),
            _ => change.action = Some(action("rule", wire.action.clone())?),
        }
    }
    Ok((which, change))
}

fn action(field: &str, wire: Option<rule::Action>) -> Result<Action> {
    match wire {
        None | Some(rule::Action::Pass(_)) => Ok(Action::Pass),
        Some(rule::Action::Drop(_)) => Ok(Action::Drop),
        Some(rule::Action::Route(route)) => {
            Ok(Action::Route { stream: StreamName::parse(&format!("{field}.route.stream"), &route.stream)? })
        }
        Some(rule::Action::Headers(headers)) => {
            Action::headers(&format!("{field}.headers"), headers.set, headers.remove)
        }
        Some(rule::Action::Redact(redact)) => Action::redact(&format!("{field}.redact.fields"), &redact.fields),
    }
}

/// What to try. A candidate needs no name.
pub fn trial(request: v1::TestRuleRequest) -> Result<Trial> {
    let stream = StreamName::parse("stream", &request.stream)?;
    let events = match request.events {
        0 => RULE_TEST_EVENTS_DEFAULT,
        events if events > RULE_TEST_EVENTS_MAX => {
            return Err(Error::invalid("events", format!("must be 1 to {RULE_TEST_EVENTS_MAX}, it is {events}")));
        }
        events => events,
    };
    let of = match request.of {
        None => TrialOf::All,
        Some(Of::Name(name)) => TrialOf::Stored(RuleName::parse("name", &name)?),
        Some(Of::Candidate(wire)) => {
            let name = if wire.name.is_empty() { "candidate" } else { &wire.name };
            TrialOf::Candidate(Box::new(Rule {
                id: RuleId(0),
                stream: stream.clone(),
                name: RuleName::parse("candidate.name", name)?,
                description: String::new(),
                position: 1,
                disabled: false,
                filter: Filter::parse("candidate.filter", &wire.filter)?,
                action: action("candidate", wire.action)?,
                version: 0,
                created_at: 0,
                updated_at: 0,
            }))
        }
    };
    Ok(Trial { stream, of, events })
}

/// What was found.
pub fn trial_report(report: TrialReport, payloads: PayloadView) -> v1::TestRuleResponse {
    let TrialReport { rules, read, matched, dropped, failed, copies, shown, .. } = report;
    v1::TestRuleResponse {
        read_events: read,
        matched_events: matched,
        dropped_events: dropped,
        failed_events: failed,
        copies,
        events: shown.into_iter().map(|tried| tested(&rules, tried, payloads)).collect(),
    }
}

fn tested(rules: &[Rule], tried: Tried, payloads: PayloadView) -> v1::TestedEvent {
    let name = |index: &usize| rules.get(*index).map_or(String::new(), |rule| rule.name.to_string());
    let Tried { partition, offset, processed, result } = tried;
    v1::TestedEvent {
        partition,
        offset,
        matched_rules: processed.matched.iter().map(name).collect(),
        dropped: processed.dropped,
        copied_to: processed.copies.iter().map(|copy| copy.stream.to_string()).collect(),
        failure: processed.failure.map_or(String::new(), |failure| failure.reason),
        event: result.map(|event| view(wire_event(event), payloads)),
    }
}

fn wire_event(event: Event) -> v1::Event {
    let mut headers = event.headers.as_deref().map(parse_headers).unwrap_or_default();
    let deliver_at = headers.remove(DELIVER_AT).and_then(|at| at.parse().ok()).map(timestamp);
    v1::Event {
        deliver_at,
        id: event.id,
        r#type: event.kind,
        key: event.key,
        headers: headers.into_iter().map(|(name, value)| v1::Header { name, value }).collect(),
        content_type: event.content_type,
        time: event.time_us.map(timestamp),
        payload: (!event.payload.is_empty()).then_some(v1::event::Payload::Data(event.payload)),
        idempotency_key: None,
    }
}

impl From<&Rule> for v1::Rule {
    fn from(rule: &Rule) -> Self {
        let action = match &rule.action {
            Action::Pass => rule::Action::Pass(v1::RulePass {}),
            Action::Drop => rule::Action::Drop(v1::RuleDrop {}),
            Action::Route { stream } => rule::Action::Route(v1::RuleRoute { stream: stream.to_string() }),
            Action::Headers { set, remove } => {
                rule::Action::Headers(v1::RuleHeaders { set: set.clone(), remove: remove.clone() })
            }
            Action::Redact { fields } => {
                let fields = fields.iter().map(Field::as_str).map(str::to_owned).collect();
                rule::Action::Redact(v1::RuleRedact { fields })
            }
        };
        Self {
            stream: rule.stream.to_string(),
            name: rule.name.to_string(),
            description: rule.description.clone(),
            position: rule.position,
            disabled: rule.disabled,
            filter: rule.filter.as_ref().map_or("", Filter::as_str).to_owned(),
            action: Some(action),
            version: rule.version,
            create_time: Some(timestamp(rule.created_at)),
            update_time: Some(timestamp(rule.updated_at)),
        }
    }
}

impl From<&Rule> for v1::CreateRuleResponse {
    fn from(rule: &Rule) -> Self {
        Self { rule: Some(rule.into()) }
    }
}

impl From<&Rule> for v1::UpdateRuleResponse {
    fn from(rule: &Rule) -> Self {
        Self { rule: Some(rule.into()) }
    }
}

impl From<&Rule> for v1::EnableRuleResponse {
    fn from(rule: &Rule) -> Self {
        Self { rule: Some(rule.into()) }
    }
}

impl From<&Rule> for v1::DisableRuleResponse {
    fn from(rule: &Rule) -> Self {
        Self { rule: Some(rule.into()) }
    }
}

impl From<&Removed> for v1::DeleteRuleResponse {
    fn from(_: &Removed) -> Self {
        Self {}
    }
}

impl From<RuleStatus> for v1::GetRuleStatusResponse {
    fn from(status: RuleStatus) -> Self {
        Self {
            group: status.group.unwrap_or_default(),
            version: status.version,
            paused: status.paused,
            brokers: status.brokers,
            lag_events: status.lag_events,
            lag_seconds: status.lag_seconds,
            retries: status.retries,
            dead_letters: status.dead_letters,
            rules: status.rules.into_iter().map(counts).collect(),
        }
    }
}

fn counts(counts: RuleCounts) -> v1::RuleStatus {
    v1::RuleStatus {
        name: counts.name,
        disabled: counts.disabled,
        processed_events: counts.processed,
        matched_events: counts.matched,
        copied_events: counts.copied,
        failed_attempts: counts.failed,
        last_failure: counts.last_failure,
        last_failure_time: counts.last_failure_at.map(timestamp),
    }
}
