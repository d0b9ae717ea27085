//! Processing rules of streams.
//!
//! ```no_run
//! use eventflow::rules::{RuleAction, RuleSpec};
//! # async fn run(client: eventflow::Client) -> eventflow::Result<()> {
//! let paid = RuleSpec::new(RuleAction::Route { stream: "payments".into() }).with_filter("type == \"order.paid\"");
//! let tried = client.rules().test("orders", paid.clone(), 1_000).await?;
//! println!("{} of {} events match", tried.matched, tried.read);
//! client.rules().create("orders", "paid", paid).await?;
//! # Ok(())
//! # }
//! ```

use std::{collections::BTreeMap, time::SystemTime};

use eventflow_proto::v1::{self, test_rule_request::Of};

use crate::{call::request_id, client::Client, connection::Transport, convert::required, error::Result, event::Event};

/// What a rule does with an event that matches.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum RuleAction {
    /// Nothing: it only counts.
    #[default]
    Pass,
    /// No later rule sees the event.
    Drop,
    /// A copy goes to another stream; the event goes on.
    Route {
        /// Stream of the same organization.
        stream: String,
    },
    /// Removes headers, then sets some, for the rules behind it.
    Headers {
        /// By name.
        set: BTreeMap<String, String>,
        /// Names.
        remove: Vec<String>,
    },
    /// Values in the JSON payload become `[redacted]`, for the rules behind it.
    Redact {
        /// JSON pointers, in which `*` is every member or element.
        fields: Vec<String>,
    },
}

/// A rule to be made, or what to change of one; what is `None` stays, or is the default.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct RuleSpec {
    /// For people.
    pub description: Option<String>,
    /// Place in the order, from 1; 0 is the last.
    pub position: Option<u32>,
    /// It is as if it were not there.
    pub disabled: Option<bool>,
    /// Which events; empty: every one.
    pub filter: Option<String>,
    /// What to do with them.
    pub action: Option<RuleAction>,
}

/// A rule of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuleInfo {
    /// Stream name.
    pub stream: String,
    /// Name, unique in the stream.
    pub name: String,
    /// For people.
    pub description: String,
    /// Place in the order, from 1.
    pub position: u32,
    /// It is as if it were not there.
    pub disabled: bool,
    /// Which events; empty: every one.
    pub filter: String,
    /// What to do with them.
    pub action: RuleAction,
    /// Raised with every change.
    pub version: i64,
    /// Database time.
    pub create_time: SystemTime,
    /// Database time.
    pub update_time: SystemTime,
}

/// What rules would have done.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RuleTest {
    /// Events that were read.
    pub read: u32,
    /// Events among them that matched.
    pub matched: u32,
    /// Events that would have been dropped.
    pub dropped: u32,
    /// Events that a rule would have failed on.
    pub failed: u32,
    /// Copies that would have been made.
    pub copies: u32,
    /// The first events that matched, at most 100.
    pub events: Vec<TestedEvent>,
}

/// A stored event, and what rules would have made of it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TestedEvent {
    /// Partition, 0-based.
    pub partition: u32,
    /// Offset within the partition.
    pub offset: i64,
    /// Names of the rules that matched.
    pub matched_rules: Vec<String>,
    /// It would have been dropped.
    pub dropped: bool,
    /// Streams that copies would have gone to.
    pub copied_to: Vec<String>,
    /// Why a rule would have failed; empty: none.
    pub failure: String,
    /// As the rules would have left it; `None` when dropped, or when the answer had no room.
    pub event: Option<Event>,
}

/// How the rules of a stream fare.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RuleStatus {
    /// Consumer group that runs them; empty: there are none.
    pub group: String,
    /// Raised with every change of a rule.
    pub version: i64,
    /// The group is paused.
    pub paused: bool,
    /// Brokers that run them now.
    pub brokers: u32,
    /// Events that they have not seen.
    pub lag_events: i64,
    /// For how long the oldest of them has been there.
    pub lag_seconds: f64,
    /// Events that wait for another attempt.
    pub retries: i64,
    /// Events that were given up on.
    pub dead_letters: i64,
    /// Each rule, in their order.
    pub rules: Vec<RuleCounts>,
}

/// What was counted of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuleCounts {
    /// Rule name.
    pub name: String,
    /// It is switched off.
    pub disabled: bool,
    /// Events that it was asked about.
    pub processed: i64,
    /// Events among them that matched.
    pub matched: i64,
    /// Copies that it has made.
    pub copied: i64,
    /// Attempts that failed on it.
    pub failed: i64,
    /// Why the last of them failed; empty: none has.
    pub last_failure: String,
    /// When that was.
    pub last_failure_time: Option<SystemTime>,
}

impl RuleSpec {
    /// A rule for every event.
    pub fn new(action: RuleAction) -> Self {
        Self { action: Some(action), ..Self::default() }
    }

    /// Only events that match.
    #[must_use]
    pub fn with_filter(mut self, filter: impl Into<String>) -> Self {
        self.filter = Some(filter.into());
        self
    }

    /// Its place in the order, from 1.
    #[must_use]
    pub fn with_position(mut self, position: u32) -> Self {
        self.position = Some(position);
        self
    }

    /// For people.
    #[must_use]
    pub fn with_description(mut self, description: impl Into<String>) -> Self {
        self.description = Some(description.into());
        self
    }

    /// Made switched off.
    #[must_use]
    pub fn switched_off(mut self) -> Self {
        self.disabled = Some(true);
        self
    }
}

/// Processing rules of streams. From [`Client::rules`].
#[derive(Clone, Debug)]
pub struct Rules {
    client: Client,
}

impl Rules {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Makes a rule of a stream.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`, `RULE_EXISTS`, `TOO_MANY_RULES`, `PERMISSION_DENIED`, `INVALID_ARGUMENT`.
    pub async fn create(&self, stream: &str, name: &str, spec: RuleSpec) -> Result<RuleInfo> {
        let (rule, _) = spec.into_wire(stream, name);
        let request = v1::CreateRuleRequest { rule: Some(rule), request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.rules().create_rule(request).await }
        };
        required(self.client.unary(call).await?.rule, "rule")?.try_into()
    }

    /// A rule.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`, `RULE_NOT_FOUND`.
    pub async fn get(&self, stream: &str, name: &str) -> Result<RuleInfo> {
        let request = v1::GetRuleRequest { stream: stream.to_owned(), name: name.to_owned() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.rules().get_rule(request).await }
        };
        required(self.client.unary(call).await?.rule, "rule")?.try_into()
    }

    /// The rules of a stream in their order.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`.
    pub async fn list(&self, stream: &str) -> Result<Vec<RuleInfo>> {
        let request = v1::ListRulesRequest { stream: stream.to_owned() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.rules().list_rules(request).await }
        };
        self.client.unary(call).await?.rules.into_iter().map(RuleInfo::try_from).collect()
    }

    /// Changes what `spec` sets.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`, `RULE_NOT_FOUND`, `PERMISSION_DENIED`, `INVALID_ARGUMENT`.
    pub async fn update(&self, stream: &str, name: &str, spec: RuleSpec) -> Result<RuleInfo> {
        let (rule, paths) = spec.into_wire(stream, name);
        let update_mask = Some(prost_types::FieldMask { paths });
        let request = v1::UpdateRuleRequest { rule: Some(rule), update_mask, request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.rules().update_rule(request).await }
        };
        required(self.client.unary(call).await?.rule, "rule")?.try_into()
    }

    /// Removes a rule.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`, `RULE_NOT_FOUND`.
    pub async fn delete(&self, stream: &str, name: &str) -> Result<()> {
        let (stream, name) = (stream.to_owned(), name.to_owned());
        let request = v1::DeleteRuleRequest { stream, name, request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.rules().delete_rule(request).await }
        };
        self.client.unary(call).await.map(drop)
    }

    /// Switches a rule on.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`, `RULE_NOT_FOUND`.
    pub async fn enable(&self, stream: &str, name: &str) -> Result<RuleInfo> {
        let (stream, name) = (stream.to_owned(), name.to_owned());
        let request = v1::EnableRuleRequest { stream, name, request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.rules().enable_rule(request).await }
        };
        required(self.client.unary(call).await?.rule, "rule")?.try_into()
    }

    /// Switches a rule off.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`, `RULE_NOT_FOUND`.
    pub async fn disable(&self, stream: &str, name: &str) -> Result<RuleInfo> {
        let (stream, name) = (stream.to_owned(), name.to_owned());
        let request = v1::DisableRuleRequest { stream, name, request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.rules().disable_rule(request).await }
        };
        required(self.client.unary(call).await?.rule, "rule")?.try_into()
    }

    /// What a rule that need not exist would have done with the newest stored events, at most 10,000 of them.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`, `INVALID_ARGUMENT`, `DATA_LOSS`.
    pub async fn test(&self, stream: &str, spec: RuleSpec, events: u32) -> Result<RuleTest> {
        let (candidate, _) = spec.into_wire(stream, "");
        self.try_out(stream, Some(Of::Candidate(candidate)), events).await
    }

    /// The same of a rule that exists, or of all that are switched on.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`, `RULE_NOT_FOUND`, `INVALID_ARGUMENT`, `DATA_LOSS`.
    pub async fn test_stored(&self, stream: &str, name: Option<&str>, events: u32) -> Result<RuleTest> {
        self.try_out(stream, name.map(|name| Of::Name(name.to_owned())), events).await
    }

    async fn try_out(&self, stream: &str, of: Option<Of>, events: u32) -> Result<RuleTest> {
        let request = v1::TestRuleRequest { stream: stream.to_owned(), of, events, payload_view: 0 };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.rules().test_rule(request).await }
        };
        Ok(self.client.unary(call).await?.into())
    }

    /// How the rules of a stream fare.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`.
    pub async fn status(&self, stream: &str) -> Result<RuleStatus> {
        let request = v1::GetRuleStatusRequest { stream: stream.to_owned() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.rules().get_rule_status(request).await }
        };
        Ok(self.client.unary(call).await?.into())
    }
}
