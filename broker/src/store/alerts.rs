//! Alerts as they are stored, their evaluation, and notifications that wait for a webhook.

use crate::domain::alert::{Alert, AlertChange, AlertState, DeliveryResult, LastDelivery, Measure, NewAlert};
use crate::domain::ids::{AlertId, AlertName, GroupId, GroupName, OrganizationId, StreamName};
use crate::domain::reports::FiringAlerts;
use crate::domain::{Error, Result};
use crate::store::{Client, Tenant, error::from_postgres};
use tokio_postgres::Row;
use uuid::Uuid;

/// The alert of that name.
pub async fn find(tenant: &Tenant, group: GroupId, name: &AlertName) -> Result<Option<Alert>> {
    let sql = include_str!("sql/alert/find.sql");
    let organization = tenant.organization().0;
    let row = tenant.query_opt(sql, &[&organization, &group.0, &name.as_str()]).await.map_err(from_postgres)?;
    row.as_ref().map(alert).transpose()
}

/// At most `limit` alerts by group and name, from behind `after`; those of one group, or all.
pub async fn list(tenant: &Tenant, group: Option<GroupId>, after: &str, limit: u32) -> Result<Vec<Alert>> {
    let sql = include_str!("sql/alert/list.sql");
    let group = group.map(|group| group.0);
    let rows = tenant
        .query(sql, &[&tenant.organization().0, &group, &after, &i64::from(limit)])
        .await
        .map_err(from_postgres)?;
    rows.iter().map(alert).collect()
}

/// Holds the group, so that it stays, and its alerts are made one after the other. False: it is gone.
pub async fn hold_group(tenant: &Tenant, group: GroupId) -> Result<bool> {
    let sql = include_str!("sql/alert/hold_group.sql");
    let row = tenant.query_opt(sql, &[&tenant.organization().0, &group.0]).await.map_err(from_postgres)?;
    Ok(row.is_some())
}

/// Makes an alert. `None`: the name is taken.
pub async fn create(tenant: &Tenant, group: GroupId, new: &NewAlert) -> Result<Option<AlertId>> {
    let row = tenant
        .query_opt(
            include_str!("sql/alert/create.sql"),
            &[
                &tenant.organization().0,
                &group.0,
                &new.name.as_str(),
                &new.description,
                &new.measure.as_str(),
                &new.threshold,
                &new.hold_ms,
                &new.webhook_url,
            ],
        )
        .await
        .map_err(from_postgres)?;
    Ok(row.map(|row| AlertId(row.get("alert_id"))))
}

/// How many alerts the group has, and its organization. Makers in different groups who race may pass the limit by one.
pub async fn count(tenant: &Tenant, group: GroupId) -> Result<(i64, i64)> {
    let sql = include_str!("sql/alert/count.sql");
    let row = tenant.query_one(sql, &[&tenant.organization().0, &group.0]).await.map_err(from_postgres)?;
    Ok((row.get("of_group"), row.get("of_organization")))
}

/// Changes what `change` names. `None`: there is no such alert.
pub async fn update(
    tenant: &Tenant,
    group: GroupId,
    name: &AlertName,
    change: &AlertChange,
) -> Result<Option<AlertId>> {
    let row = tenant
        .query_opt(
            include_str!("sql/alert/update.sql"),
            &[
                &tenant.organization().0,
                &group.0,
                &name.as_str(),
                &change.description,
                &change.measure.map(Measure::as_str),
                &change.threshold,
                &change.hold_ms,
                &change.webhook_url,
            ],
        )
        .await
        .map_err(from_postgres)?;
    Ok(row.map(|row| AlertId(row.get("alert_id"))))
}

/// Drops notifications that wait.
pub async fn drop_deliveries(tenant: &Tenant, alert: AlertId) -> Result<()> {
    let sql = include_str!("sql/alert/drop_deliveries.sql");
    tenant.execute(sql, &[&tenant.organization().0, &alert.0]).await.map(drop).map_err(from_postgres)
}

/// Another secret. False: there is no such alert.
pub async fn rotate(tenant: &Tenant, group: GroupId, name: &AlertName) -> Result<bool> {
    let sql = include_str!("sql/alert/rotate.sql");
    let organization = tenant.organization().0;
    let row = tenant.query_opt(sql, &[&organization, &group.0, &name.as_str()]).await.map_err(from_postgres)?;
    Ok(row.is_some())
}

/// Removes an alert with its notifications. False: there is no such alert.
pub async fn delete(tenant: &Tenant, group: GroupId, name: &AlertName) -> Result<bool> {
    let sql = include_str!("sql/alert/delete.sql");
    let organization = tenant.organization().0;
    let row = tenant.query_opt(sql, &[&organization, &group.0, &name.as_str()]).await.map_err(from_postgres)?;
    Ok(row.is_some())
}

/// What a test of the alert sends under this id.
pub async fn test_body(tenant: &Tenant, alert: AlertId, id: Uuid) -> Result<String> {
    let sql = include_str!("sql/alert/test_body.sql");
    let row = tenant.query_one(sql, &[&tenant.organization().0, &alert.0, &id]).await.map_err(from_postgres)?;
    Ok(row.get("body"))
}

/// What one call of the evaluation did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evaluated {
    pub evaluated: u64,
    pub fired: u64,
    pub resolved: u64,
    pub failed: u64,
    /// Why the last one failed; empty: none has.
    pub failure: String,
    /// Something may be left.
    pub more: bool,
}

/// What one call of the evaluation may take, and what it leaves.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    pub groups_max: i32,
    /// After this no further group is begun.
    pub budget_ms: i64,
    /// Until an alert is due again.
    pub interval_ms: i64,
    /// Notifications of one alert that wait.
    pub waiting_max: i32,
}

/// Evaluates alerts of any organization that are due and that no other broker is at.
pub async fn evaluate(db: &impl Client, round: Round) -> Result<Evaluated> {
    let sql = include_str!("sql/alert/evaluate.sql");
    let Round { groups_max, budget_ms, interval_ms, waiting_max } = round;
    let row = db.query_one(sql, &[&groups_max, &budget_ms, &interval_ms, &waiting_max]).await.map_err(from_postgres)?;
    let count = |column| u64::from(row.get::<_, i32>(column).unsigned_abs());
    Ok(Evaluated {
        evaluated: count("evaluated"),
        fired: count("fired"),
        resolved: count("resolved"),
        failed: count("failed"),
        failure: row.get("failure"),
        more: row.get("more"),
    })
}

/// A notification that this broker is to deliver, for as long as its lease.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub id: Uuid,
    pub organization: OrganizationId,
    pub alert: AlertId,
    /// Its number, from 1.
    pub attempt: i32,
    pub body: String,
    pub url: String,
    pub secret_version: i32,
    /// How long ago the secret was rotated, in seconds. `None`: never.
    pub secret_age_s: Option<f64>,
}

/// Takes notifications that are due: the oldest of each alert, at most `each` of an organization at a time.
pub async fn take(db: &impl Client, limit: i32, each: i32, lease_ms: i64) -> Result<Vec<Delivery>> {
    let rows =
        db.query(include_str!("sql/alert/take.sql"), &[&limit, &each, &lease_ms]).await.map_err(from_postgres)?;
    let deliveries = rows.iter().map(|row| Delivery {
        id: row.get("delivery_id"),
        organization: OrganizationId(row.get("organization_id")),
        alert: AlertId(row.get("alert_id")),
        attempt: row.get("attempts"),
        body: row.get("body"),
        url: row.get("url"),
        secret_version: row.get("secret_version"),
        secret_age_s: row.get("secret_age_s"),
    });
    Ok(deliveries.collect())
}

/// What came of an attempt, and how long it is to the next one.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    pub result: DeliveryResult,
    pub http_status: u16,
    pub error: &'a str,
    pub delay_ms: i64,
}

/// Writes down what came of an attempt. False: the notification is gone, or another broker has taken it meanwhile.
pub async fn report(db: &impl Client, delivery: &Delivery, report: &Report<'_>) -> Result<bool> {
    let row = db
        .query_one(
            include_str!("sql/alert/report.sql"),
            &[
                &delivery.organization.0,
                &delivery.alert.0,
                &delivery.id,
                &delivery.attempt,
                &report.result.as_str(),
                &i32::from(report.http_status),
                &report.error,
                &report.delay_ms,
            ],
        )
        .await
        .map_err(from_postgres)?;
    Ok(row.get("kept"))
}

/// Groups of any organization with alerts that fire, at most so many.
pub async fn firing(db: &impl Client, limit: i32) -> Result<Vec<FiringAlerts>> {
    let rows = db.query(include_str!("sql/alert/firing.sql"), &[&limit]).await.map_err(from_postgres)?;
    let firing = rows.iter().map(|row| FiringAlerts {
        organization: row.get("organization"),
        stream: row.get("stream"),
        group: row.get("consumer_group"),
        alerts: row.get("alerts"),
    });
    Ok(firing.collect())
}

fn alert(row: &Row) -> Result<Alert> {
    let measure = Measure::parse(row.get("measure"));
    Ok(Alert {
        id: AlertId(row.get("alert_id")),
        stream: StreamName::parse("alert.stream", row.get("stream")).map_err(Error::internal)?,
        group: GroupName::parse("alert.group", row.get("consumer_group")).map_err(Error::internal)?,
        name: AlertName::parse("alert.name", row.get("name")).map_err(Error::internal)?,
        description: row.get("description"),
        measure: measure.ok_or_else(|| Error::internal("a measure that this broker does not know"))?,
        threshold: row.get("threshold"),
        hold_ms: row.get("hold_ms"),
        webhook_url: row.get("webhook_url"),
        secret_version: row.get("secret_version"),
        secret_rotated_at: row.get("secret_rotated_at"),
        state: AlertState::parse(row.get("state")),
        since: row.get("since"),
        value: row.get("value"),
        evaluated_at: row.get("evaluated_at"),
        last_delivery: last_delivery(row),
        version: row.get("version"),
        created_at: row.get("created_at"),
        updated_at: row.get("updated_at"),
    })
}

fn last_delivery(row: &Row) -> Option<LastDelivery> {
    Some(LastDelivery {
        kind: row.get::<_, Option<String>>("delivery_type")?,
        result: DeliveryResult::parse(row.get("delivery_result")),
        attempts: row.get::<_, i32>("delivery_attempts").unsigned_abs(),
        http_status: row.get::<_, i32>("delivery_status").unsigned_abs(),
        error: row.get("delivery_error"),
        at: row.get::<_, Option<i64>>("delivery_at")?,
        retry_at: row.get("delivery_retry_at"),
    })
}
