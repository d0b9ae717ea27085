//! Processing rules as they are stored: cold rows under row-level security, and what brokers have counted of them.

use crate::domain::filter::Filter;
use crate::domain::ids::{GroupId, GroupName, OrganizationId, RuleId, RuleName, StreamId, StreamName};
use crate::domain::reports::{RuleCounts, RuleDeltas};
use crate::domain::rule::redact::Field;
use crate::domain::rule::{Action, NewRule, Rule, RuleChange};
use crate::domain::{Error, Result};
use crate::store::{Client, Tenant, error::from_postgres};
use std::collections::{BTreeMap, HashSet};
use tokio_postgres::Row;

/// What runs the rules of a stream. The group is `None` when it is gone.
#[derive(Clone, Debug)]
pub struct StoredPipeline {
    pub group: Option<(GroupId, GroupName)>,
    pub version: i64,
}

/// A stream with rules, of whatever organization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipeline {
    pub organization: OrganizationId,
    pub stream_id: StreamId,
    pub stream: StreamName,
    pub group_id: GroupId,
    pub group: GroupName,
    pub version: i64,
    /// When the group's settings were last changed.
    pub settings_at: i64,
}

/// The columns of an action.
struct Columns<'a> {
    kind: &'static str,
    target: &'a str,
    set: String,
    remove: &'a [String],
    fields: Vec<&'a str>,
}

/// The rule of that name.
pub async fn find(tenant: &Tenant, stream: StreamId, name: &RuleName) -> Result<Option<Rule>> {
    let sql = include_str!("sql/rule/find.sql");
    let organization = tenant.organization().0;
    let row = tenant.query_opt(sql, &[&organization, &stream.0, &name.as_str()]).await.map_err(from_postgres)?;
    row.as_ref().map(rule).transpose()
}

/// The rules of a stream in their order.
pub async fn list(tenant: &Tenant, stream: StreamId) -> Result<Vec<Rule>> {
    let sql = include_str!("sql/rule/list.sql");
    let rows = tenant.query(sql, &[&tenant.organization().0, &stream.0]).await.map_err(from_postgres)?;
    rows.iter().map(rule).collect()
}

/// Makes a rule behind all others. `None`: the name is taken. The caller holds the stream's lock, as for every change.
pub async fn create(tenant: &Tenant, stream: StreamId, new: &NewRule) -> Result<Option<RuleId>> {
    let columns = columns(&new.action)?;
    let row = tenant
        .query_opt(
            include_str!("sql/rule/create.sql"),
            &[
                &tenant.organization().0,
                &stream.0,
                &new.name.as_str(),
                &new.description,
                &new.disabled,
                &new.filter.as_ref().map_or("", Filter::as_str),
                &columns.kind,
                &columns.target,
                &columns.set,
                &columns.remove,
                &columns.fields,
            ],
        )
        .await
        .map_err(from_postgres)?;
    Ok(row.map(|row| RuleId(row.get("rule_id"))))
}

/// Changes what `change` names, but for its place. `None`: there is no such rule.
pub async fn update(tenant: &Tenant, stream: StreamId, name: &RuleName, change: &RuleChange) -> Result<Option<RuleId>> {
    let columns = change.action.as_ref().map(columns).transpose()?;
    let columns = columns.as_ref();
    let row = tenant
        .query_opt(
            include_str!("sql/rule/update.sql"),
            &[
                &tenant.organization().0,
                &stream.0,
                &name.as_str(),
                &change.description,
                &change.disabled,
                &change.filter.as_ref().map(|filter| filter.as_ref().map_or("", Filter::as_str)),
                &columns.map(|columns| columns.kind),
                &columns.map(|columns| columns.target),
                &columns.map(|columns| columns.set.as_str()),
                &columns.map(|columns| columns.remove),
                &columns.map(|columns| columns.fields.as_slice()),
            ],
        )
        .await
        .map_err(from_postgres)?;
    Ok(row.map(|row| RuleId(row.get("rule_id"))))
}

/// Gives a rule its place, and numbers all rules of the stream from 1 again. `None` only numbers them.
pub async fn arrange(tenant: &Tenant, stream: StreamId, moved: Option<(RuleId, u32)>) -> Result<()> {
    let sql = include_str!("sql/rule/move.sql");
    let (rule, place) = moved.map(|(rule, place)| (rule.0, i32::try_from(place).unwrap_or(i32::MAX))).unzip();
    tenant.execute(sql, &[&tenant.organization().0, &stream.0, &rule, &place]).await.map(drop).map_err(from_postgres)
}

/// Removes a rule with its counts. False: there is no such rule.
pub async fn delete(tenant: &Tenant, stream: StreamId, name: &RuleName) -> Result<bool> {
    let sql = include_str!("sql/rule/delete.sql");
    let organization = tenant.organization().0;
    let row = tenant.query_opt(sql, &[&organization, &stream.0, &name.as_str()]).await.map_err(from_postgres)?;
    Ok(row.is_some())
}

/// What runs the rules of a stream. `None`: it has none.
pub async fn pipeline(tenant: &Tenant, stream: StreamId) -> Result<Option<StoredPipeline>> {
    let sql = include_str!("sql/rule/pipeline.sql");
    let row = tenant.query_opt(sql, &[&tenant.organization().0, &stream.0]).await.map_err(from_postgres)?;
    let Some(row) = row else { return Ok(None) };
    let group = match row.get::<_, Option<&str>>("consumer_group") {
        Some(name) => {
            let name = GroupName::parse("group.name", name).map_err(Error::internal)?;
            Some((GroupId(row.get("group_id")), name))
        }
        None => None,
    };
    Ok(Some(StoredPipeline { group, version: row.get("version") }))
}

/// Says which group runs the rules of a stream.
pub async fn set_pipeline(tenant: &Tenant, stream: StreamId, group: GroupId) -> Result<()> {
    let sql = include_str!("sql/rule/set_pipeline.sql");
    let arguments: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [&tenant.organization().0, &stream.0, &group.0];
    tenant.execute(sql, &arguments).await.map(drop).map_err(from_postgres)
}

/// Tells every broker that the rules of a stream have changed.
pub async fn raise_version(tenant: &Tenant, stream: StreamId) -> Result<()> {
    let sql = include_str!("sql/rule/raise_version.sql");
    tenant.execute(sql, &[&tenant.organization().0, &stream.0]).await.map(drop).map_err(from_postgres)
}

/// Removes all rules of a stream.
pub async fn delete_pipeline(tenant: &Tenant, stream: StreamId) -> Result<()> {
    let sql = include_str!("sql/rule/delete_pipeline.sql");
    tenant.execute(sql, &[&tenant.organization().0, &stream.0]).await.map(drop).map_err(from_postgres)
}

/// Failed events that a group still has: retries and dead letters.
pub async fn outstanding(tenant: &Tenant, group: GroupId) -> Result<i64> {
    let sql = include_str!("sql/rule/outstanding.sql");
    let row = tenant.query_one(sql, &[&tenant.organization().0, &group.0]).await.map_err(from_postgres)?;
    Ok(row.get("events"))
}

/// What was counted of a stream's rules, in their order.
pub async fn counts(tenant: &Tenant, stream: StreamId) -> Result<Vec<RuleCounts>> {
    let sql = include_str!("sql/rule/counts.sql");
    let rows = tenant.query(sql, &[&tenant.organization().0, &stream.0]).await.map_err(from_postgres)?;
    let counts = rows.iter().map(|row| RuleCounts {
        name: row.get("name"),
        disabled: row.get("disabled"),
        processed: row.get("processed_events"),
        matched: row.get("matched_events"),
        copied: row.get("copied_events"),
        failed: row.get("failed_attempts"),
        last_failure: row.get("last_failure"),
        last_failure_at: row.get("last_failure_at"),
    });
    Ok(counts.collect())
}

/// Adds to what was counted of an organization's rules.
pub async fn count(tenant: &Tenant, deltas: &BTreeMap<RuleId, RuleDeltas>) -> Result<()> {
    let column = |of: fn(&RuleDeltas) -> i64| deltas.values().map(of).collect::<Vec<i64>>();
    let rules: Vec<i64> = deltas.keys().map(|rule| rule.0).collect();
    let failures: Vec<&str> = deltas.values().map(|delta| delta.last_failure.as_str()).collect();
    let (processed, matched) = (column(|delta| delta.processed), column(|delta| delta.matched));
    let (copied, failed) = (column(|delta| delta.copied), column(|delta| delta.failed));
    let sql = include_str!("sql/rule/count.sql");
    let arguments: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
        [&tenant.organization().0, &rules, &processed, &matched, &copied, &failed, &failures];
    tenant.execute(sql, &arguments).await.map(drop).map_err(from_postgres)
}

/// Differs when some pipeline was made, changed or removed.
pub async fn stamp(client: &impl Client) -> Result<String> {
    let row = client.query_one(include_str!("sql/rule/stamp.sql"), &[]).await.map_err(from_postgres)?;
    Ok(row.get("stamp"))
}

/// Every pipeline that can run.
pub async fn pipelines(client: &impl Client) -> Result<Vec<Pipeline>> {
    let rows = client.query(include_str!("sql/rule/pipelines.sql"), &[]).await.map_err(from_postgres)?;
    let pipelines = rows.iter().map(|row| {
        Ok(Pipeline {
            organization: OrganizationId(row.get("organization_id")),
            stream_id: StreamId(row.get("stream_id")),
            stream: StreamName::parse("stream", row.get("stream")).map_err(Error::internal)?,
            group_id: GroupId(row.get("group_id")),
            group: GroupName::parse("group", row.get("consumer_group")).map_err(Error::internal)?,
            version: row.get("version"),
            settings_at: row.get("settings_at"),
        })
    });
    pipelines.collect()
}

/// Which of these idempotency keys events of a stream have, in any of its partitions.
pub async fn known_keys(
    client: &impl Client,
    organization: OrganizationId,
    stream: StreamId,
    keys: &[&str],
) -> Result<HashSet<String>> {
    let sql = include_str!("sql/rule/known_keys.sql");
    let rows = client.query(sql, &[&organization.0, &stream.0, &keys]).await.map_err(from_postgres)?;
    Ok(rows.iter().map(|row| row.get("key")).collect())
}

fn columns(action: &Action) -> Result<Columns<'_>> {
    let none = |kind| Columns { kind, target: "", set: "{}".to_owned(), remove: &[], fields: Vec::new() };
    Ok(match action {
        Action::Pass => none("pass"),
        Action::Drop => none("drop"),
        Action::Route { stream } => Columns { target: stream.as_str(), ..none("route") },
        Action::Headers { set, remove } => {
            Columns { set: serde_json::to_string(set).map_err(Error::internal)?, remove, ..none("headers") }
        }
        Action::Redact { fields } => Columns { fields: fields.iter().map(Field::as_str).collect(), ..none("redact") },
    })
}

fn rule(row: &Row) -> Result<Rule> {
    let action = match row.get("action") {
        "drop" => Action::Drop,
        "route" => Action::Route { stream: StreamName::parse("rule.route.stream", row.get("target"))? },
        "headers" => Action::Headers {
            set: serde_json::from_str(row.get("set_headers")).map_err(Error::internal)?,
            remove: row.get("remove_headers"),
        },
        "redact" => Action::redact("rule.redact.fields", &row.get::<_, Vec<String>>("fields"))?,
        _ => Action::Pass,
    };
    Ok(Rule {
        id: RuleId(row.get("rule_id")),
        stream: StreamName::parse("rule.stream", row.get("stream")).map_err(Error::internal)?,
        name: RuleName::parse("rule.name", row.get("name")).map_err(Error::internal)?,
        description: row.get("description"),
        position: row.get::<_, i32>("position").cast_unsigned(),
        disabled: row.get("disabled"),
        filter: Filter::parse("rule.filter", row.get("filter"))?,
        action,
        version: row.get("version"),
        created_at: row.get("created_at"),
        updated_at: row.get("updated_at"),
    })
}
