//! Rules: made, listed, changed, deleted, and how they fare.
//!
//! Changes of a stream's rules take turns under its row lock. The first rule makes the group that runs them, at the end of the
//! log; the last one takes it along, unless events of it failed and are still there.

use crate::catalogue::{Answer, Once, existing};
use crate::domain::audit::Target;
use crate::domain::group::{DeliveryMode, OnTruncated};
use crate::domain::group_settings::{NewGroup, Start};
use crate::domain::ids::{GroupId, GroupName, RuleName, StreamId, StreamName};
use crate::domain::limits::{ACK_TIMEOUT_MS_DEFAULT, DRAIN_MS_DEFAULT, NAME_BYTES_MAX, RULES_MAX};
use crate::domain::reports::RuleStatus;
use crate::domain::retry::{OnFailure, RetryPolicy};
use crate::domain::rule::{NewRule, Rule, RuleChange, check_target, rule_exists, rule_not_found, too_many_rules};
use crate::domain::stream::stream_not_found;
use crate::domain::{Error, Result};
use crate::identity::{Describe, Granted};
use crate::rules::{Author, Rules};
use crate::store::{Tenant, consumer_groups, rules as stored, streams};

/// Longest wait between two attempts of an event that rules fail on: behind it its partition waits.
const RETRY_MAX_MS: i64 = 60_000;

/// A rule that is gone, and the group, when it went too.
#[derive(Debug)]
pub struct Removed {
    group: Option<GroupId>,
}

impl Rules {
    /// Makes a rule.
    pub async fn create(&self, author: &Author, once: &Once<Rule>, new: &NewRule) -> Result<Answer<Rule>> {
        check_target("rule.route.stream", &new.stream, &new.action)?;
        author.check(&new.stream, &new.action)?;
        let target = |_: &Rule| Target::rule(&new.stream, &new.name);
        let answer = self.store.change(author.manage.actor(), once, target, |tenant| async move {
            let stream = lock(&tenant, &new.stream).await?;
            self.ensure_pipeline(&tenant, stream, &new.stream).await?;
            let made = stored::create(&tenant, stream, new).await?;
            let made = made.ok_or_else(|| rule_exists(&new.stream, &new.name))?;
            if stored::list(&tenant, stream).await?.len() > RULES_MAX {
                return Err(too_many_rules(&new.stream));
            }
            if new.position > 0 {
                stored::arrange(&tenant, stream, Some((made, new.position))).await?;
            }
            changed(&tenant, stream, &new.stream, &new.name).await
        });
        let answer = answer.await?;
        self.changed.notify_one();
        Ok(answer)
    }

    /// The rule as it is now.
    pub async fn get(&self, granted: &Granted<Describe>, stream: &StreamName, name: &RuleName) -> Result<Rule> {
        let get = |tenant: Tenant| async move {
            let id = existing(&tenant, granted, stream).await?.id;
            stored::find(&tenant, id, name).await?.ok_or_else(|| rule_not_found(stream, name))
        };
        self.store.tenant(granted.organization(), get).await
    }

    /// The rules of a stream in their order.
    pub async fn list(&self, granted: &Granted<Describe>, stream: &StreamName) -> Result<Vec<Rule>> {
        let list = |tenant: Tenant| async move {
            let id = existing(&tenant, granted, stream).await?.id;
            stored::list(&tenant, id).await
        };
        self.store.tenant(granted.organization(), list).await
    }

    /// Changes what `change` names.
    pub async fn update(
        &self,
        author: &Author,
        once: &Once<Rule>,
        (stream, name): (&StreamName, &RuleName),
        change: &RuleChange,
    ) -> Result<Answer<Rule>> {
        author.manage.check(stream)?;
        let target = |_: &Rule| Target::rule(stream, name);
        let answer = self.store.change(author.manage.actor(), once, target, |tenant| async move {
            let id = lock(&tenant, stream).await?;
            let updated = stored::update(&tenant, id, name, change).await?;
            let updated = updated.ok_or_else(|| rule_not_found(stream, name))?;
            if let Some(position) = change.position {
                stored::arrange(&tenant, id, Some((updated, position))).await?;
            }
            self.ensure_pipeline(&tenant, id, stream).await?;
            let rule = changed(&tenant, id, stream, name).await?;
            // Whatever was changed of it: whoever does so answers for what it does from now on.
            check_target("rule.route.stream", stream, &rule.action)?;
            author.check(stream, &rule.action)?;
            Ok(rule)
        });
        let answer = answer.await?;
        self.changed.notify_one();
        Ok(answer)
    }

    /// Removes a rule.
    pub async fn delete(
        &self,
        author: &Author,
        once: &Once<Removed>,
        (stream, name): (&StreamName, &RuleName),
    ) -> Result<Answer<Removed>> {
        author.manage.check(stream)?;
        let target = |_: &Removed| Target::rule(stream, name);
        let answer = self.store.change(author.manage.actor(), once, target, |tenant| async move {
            let id = lock(&tenant, stream).await?;
            if !stored::delete(&tenant, id, name).await? {
                return Err(rule_not_found(stream, name));
            }
            if !stored::list(&tenant, id).await?.is_empty() {
                stored::arrange(&tenant, id, None).await?;
                stored::raise_version(&tenant, id).await?;
                return Ok(Removed { group: None });
            }
            let group = stored::pipeline(&tenant, id).await?.and_then(|pipeline| pipeline.group);
            stored::delete_pipeline(&tenant, id).await?;
            let Some((group, name)) = group else { return Ok(Removed { group: None }) };
            if stored::outstanding(&tenant, group).await? == 0 {
                consumer_groups::delete(&tenant, &name).await?;
            }
            Ok(Removed { group: Some(group) })
        });
        let answer = answer.await?;
        if let Some(group) = answer.fresh().and_then(|removed| removed.group) {
            self.catalogue.group_changed(group);
        }
        self.changed.notify_one();
        Ok(answer)
    }

    /// How the rules of a stream fare.
    pub async fn status(&self, granted: &Granted<Describe>, stream: &StreamName) -> Result<RuleStatus> {
        let status = |tenant: Tenant| async move {
            let id = existing(&tenant, granted, stream).await?.id;
            let mut status = RuleStatus { rules: stored::counts(&tenant, id).await?, ..RuleStatus::default() };
            let Some(pipeline) = stored::pipeline(&tenant, id).await? else { return Ok(status) };
            status.version = pipeline.version;
            let Some((group, name)) = pipeline.group else { return Ok(status) };
            if let Some(found) = consumer_groups::find(&tenant, &name).await? {
                (status.paused, status.brokers) = (found.paused, found.member_count);
            }
            for partition in consumer_groups::lag(&tenant, group).await? {
                status.lag_events += partition.lag_events;
                status.lag_seconds = status.lag_seconds.max(partition.lag_seconds);
            }
            for partition in consumer_groups::outcome_counts(&tenant, group).await? {
                status.retries += partition.retries;
                status.dead_letters += partition.dead_letters;
            }
            status.group = Some(name.to_string());
            Ok(status)
        };
        self.store.tenant(granted.organization(), status).await
    }

    /// Makes the group that runs the rules of a stream, unless it is there.
    async fn ensure_pipeline(&self, tenant: &Tenant, id: StreamId, stream: &StreamName) -> Result<()> {
        if stored::pipeline(tenant, id).await?.is_some_and(|pipeline| pipeline.group.is_some()) {
            return Ok(());
        }
        let group = self.catalogue.create_managed(tenant, id, &group_of(id, stream)?).await?;
        stored::set_pipeline(tenant, id, group).await
    }
}

async fn lock(tenant: &Tenant, stream: &StreamName) -> Result<StreamId> {
    streams::lock(tenant, stream).await?.ok_or_else(|| stream_not_found(stream.as_str()))
}

/// The rule after a change, which every broker is told of.
async fn changed(tenant: &Tenant, id: StreamId, stream: &StreamName, name: &RuleName) -> Result<Rule> {
    stored::raise_version(tenant, id).await?;
    stored::find(tenant, id, name).await?.ok_or_else(|| rule_not_found(stream, name))
}

/// The group that runs the rules of a stream: in the order of the log, from its end on.
fn group_of(id: StreamId, stream: &StreamName) -> Result<NewGroup> {
    let name = format!("rules.{stream}");
    let name = if name.len() <= NAME_BYTES_MAX { name } else { format!("rules.{}", id.0) };
    Ok(NewGroup {
        name: GroupName::parse("group.name", &name).map_err(Error::internal)?,
        stream: stream.clone(),
        description: format!("runs the rules of stream {stream}"),
        mode: DeliveryMode::Ordered,
        key_order: false,
        ack_timeout_ms: ACK_TIMEOUT_MS_DEFAULT,
        retry: RetryPolicy { max_ms: RETRY_MAX_MS, ..RetryPolicy::default() },
        on_failure: OnFailure::Block,
        on_truncated: OnTruncated::Continue,
        drain_ms: DRAIN_MS_DEFAULT,
        filter: None,
        labels: Default::default(),
        start: Start::Latest,
    })
}
