//! Processing rules.

use eventflow_proto::v1::{self, rule::Action};

use super::{event_from_wire, required, time_from_wire};
use crate::{
    error::{Error, Result},
    rules::{RuleAction, RuleCounts, RuleInfo, RuleSpec, RuleStatus, RuleTest, TestedEvent},
};

impl RuleSpec {
    /// The rule, and the paths of the fields that are set.
    pub(crate) fn into_wire(self, stream: &str, name: &str) -> (v1::Rule, Vec<String>) {
        let set = [
            ("description", self.description.is_some()),
            ("position", self.position.is_some()),
            ("disabled", self.disabled.is_some()),
            ("filter", self.filter.is_some()),
            ("action", self.action.is_some()),
        ];
        let paths = set.iter().filter(|(_, set)| *set).map(|(path, _)| (*path).to_owned()).collect();
        let rule = v1::Rule {
            stream: stream.to_owned(),
            name: name.to_owned(),
            description: self.description.unwrap_or_default(),
            position: self.position.unwrap_or_default(),
            disabled: self.disabled.unwrap_or_default(),
            filter: self.filter.unwrap_or_default(),
            action: self.action.map(Into::into),
            ..v1::Rule::default()
        };
        (rule, paths)
    }
}

impl From<RuleAction> for Action {
    fn from(action: RuleAction) -> Self {
        match action {
            RuleAction::Pass => Self::Pass(v1::RulePass {}),
            RuleAction::Drop => Self::Drop(v1::RuleDrop {}),
            RuleAction::Route { stream } => Self::Route(v1::RuleRoute { stream }),
            RuleAction::Headers { set, remove } => Self::Headers(v1::RuleHeaders { set, remove }),
            RuleAction::Redact { fields } => Self::Redact(v1::RuleRedact { fields }),
        }
    }
}

impl TryFrom<v1::Rule> for RuleInfo {
    type Error = Error;

    fn try_from(rule: v1::Rule) -> Result<Self> {
        Ok(Self {
            stream: rule.stream,
            name: rule.name,
            description: rule.description,
            position: rule.position,
            disabled: rule.disabled,
            filter: rule.filter,
            action: match required(rule.action, "rule.action")? {
                Action::Pass(_) => RuleAction::Pass,
                Action::Drop(_) => RuleAction::Drop,
                Action::Route(route) => RuleAction::Route { stream: route.stream },
                Action::Headers(headers) => RuleAction::Headers { set: headers.set, remove: headers.remove },
                Action::Redact(redact) => RuleAction::Redact { fields: redact.fields },
            },
            version: rule.version,
            create_time: time_from_wire(&required(rule.create_time, "rule.create_time")?),
            update_time: time_from_wire(&required(rule.update_time, "rule.update_time")?),
        })
    }
}

impl From<v1::TestRuleResponse> for RuleTest {
    fn from(report: v1::TestRuleResponse) -> Self {
        let events = report.events.into_iter().map(|tested| TestedEvent {
            partition: tested.partition,
            offset: tested.offset,
            matched_rules: tested.matched_rules,
            dropped: tested.dropped,
            copied_to: tested.copied_to,
            failure: tested.failure,
            event: tested.event.map(event_from_wire),
        });
        Self {
            read: report.read_events,
            matched: report.matched_events,
            dropped: report.dropped_events,
            failed: report.failed_events,
            copies: report.copies,
            events: events.collect(),
        }
    }
}

impl From<v1::GetRuleStatusResponse> for RuleStatus {
    fn from(status: v1::GetRuleStatusResponse) -> Self {
        let rules = status.rules.into_iter().map(|rule| RuleCounts {
            name: rule.name,
            disabled: rule.disabled,
            processed: rule.processed_events,
            matched: rule.matched_events,
            copied: rule.copied_events,
            failed: rule.failed_attempts,
            last_failure: rule.last_failure,
            last_failure_time: rule.last_failure_time.as_ref().map(time_from_wire),
        });
        Self {
            group: status.group,
            version: status.version,
            paused: status.paused,
            brokers: status.brokers,
            lag_events: status.lag_events,
            lag_seconds: status.lag_seconds,
            retries: status.retries,
            dead_letters: status.dead_letters,
            rules: rules.collect(),
        }
    }
}
