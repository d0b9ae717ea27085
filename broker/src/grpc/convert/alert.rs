//! Alerts.

use crate::alerts::{Made, Posted, Removed};
use crate::domain::alert::{
    Alert, AlertChange, AlertState, DeliveryResult, LastDelivery, Measure, NewAlert, check_hold, check_threshold,
};
use crate::domain::ids::{AlertName, GroupName};
use crate::domain::labels::check_description;
use crate::domain::{Error, Result};
use crate::grpc::convert::mask;
use crate::grpc::convert::time::{duration, duration_us, timestamp};
use crate::identity::{Caller, ManageGroups, may};
use eventflow_proto::v1;
use prost::Message;

const UPDATABLE: [&str; 5] = ["description", "measure", "threshold", "hold", "webhook_url"];

/// The alert to be made.
pub fn new_alert(wire: Option<v1::Alert>) -> Result<NewAlert> {
    let wire = wire.ok_or_else(|| Error::invalid("alert", "must be set"))?;
    check_description("alert.description", &wire.description)?;
    Ok(NewAlert {
        group: GroupName::parse("alert.group", &wire.group)?,
        name: AlertName::parse("alert.name", &wire.name)?,
        measure: measure(wire.measure)?,
        threshold: check_threshold("alert.threshold", wire.threshold)?,
        hold_ms: hold_ms(&wire)?,
        description: wire.description,
        webhook_url: wire.webhook_url,
    })
}

/// Which alert is meant.
pub fn which(group: &str, name: &str) -> Result<(GroupName, AlertName)> {
    Ok((GroupName::parse("group", group)?, AlertName::parse("name", name)?))
}

/// What to change, and of which alert.
pub fn alert_change(request: &v1::UpdateAlertRequest) -> Result<((GroupName, AlertName), AlertChange)> {
    let wire = request.alert.as_ref().ok_or_else(|| Error::invalid("alert", "must be set"))?;
    let which = (GroupName::parse("alert.group", &wire.group)?, AlertName::parse("alert.name", &wire.name)?);
    let mut change = AlertChange::default();
    for path in mask::paths(request.update_mask.as_ref(), &UPDATABLE)? {
        match path {
            "description" => {
                check_description("alert.description", &wire.description)?;
                change.description = Some(wire.description.clone());
            }
            "measure" => change.measure = Some(measure(wire.measure)?),
            "threshold" => change.threshold = Some(check_threshold("alert.threshold", wire.threshold)?),
            "hold" => change.hold_ms = Some(hold_ms(wire)?),
            _ => change.webhook_url = Some(wire.webhook_url.clone()),
        }
    }
    Ok((which, change))
}

fn hold_ms(wire: &v1::Alert) -> Result<i64> {
    let hold_us = wire.hold.as_ref().map_or(Ok(0), |hold| duration_us("alert.hold", hold))?;
    check_hold("alert.hold", hold_us)
}

fn measure(wire: i32) -> Result<Measure> {
    match v1::AlertMeasure::try_from(wire) {
        Ok(v1::AlertMeasure::LagEvents) => Ok(Measure::LagEvents),
        Ok(v1::AlertMeasure::LagSeconds) => Ok(Measure::LagSeconds),
        Ok(v1::AlertMeasure::OldestUnackedSeconds) => Ok(Measure::OldestUnackedSeconds),
        Ok(v1::AlertMeasure::DeadLettersPerHour) => Ok(Measure::DeadLettersPerHour),
        Ok(v1::AlertMeasure::Unspecified) | Err(_) => {
            let measures = Measure::ALL.map(Measure::as_str).join(", ");
            Err(Error::invalid("alert.measure", format!("must be one of {measures}")))
        }
    }
}

/// The alert as this caller may see it: paths of webhooks often are secrets.
pub fn shown(caller: &Caller, alert: &Alert) -> v1::Alert {
    let mut wire = v1::Alert::from(alert);
    if !may(caller, ManageGroups, &alert.stream) {
        wire.webhook_url = without_path(&alert.webhook_url);
    }
    wire
}

/// `https://host/…`.
fn without_path(url: &str) -> String {
    let host = url.find("://").map_or(url, |scheme| {
        let end = url[scheme + 3..].find(['/', '?']).map_or(url.len(), |end| scheme + 3 + end);
        &url[..end]
    });
    if host.is_empty() { String::new() } else { format!("{host}/…") }
}

impl From<&Alert> for v1::Alert {
    fn from(alert: &Alert) -> Self {
        let measure = match alert.measure {
            Measure::LagEvents => v1::AlertMeasure::LagEvents,
            Measure::LagSeconds => v1::AlertMeasure::LagSeconds,
            Measure::OldestUnackedSeconds => v1::AlertMeasure::OldestUnackedSeconds,
            Measure::DeadLettersPerHour => v1::AlertMeasure::DeadLettersPerHour,
        };
        let state = match alert.state {
            AlertState::Ok => v1::AlertState::Ok,
            AlertState::Pending => v1::AlertState::Pending,
            AlertState::Firing => v1::AlertState::Firing,
        };
        Self {
            group: alert.group.to_string(),
            name: alert.name.to_string(),
            description: alert.description.clone(),
            measure: measure.into(),
            threshold: alert.threshold,
            hold: Some(duration(alert.hold_ms * 1_000)),
            webhook_url: alert.webhook_url.clone(),
            state: state.into(),
            state_time: Some(timestamp(alert.since)),
            value: alert.value,
            evaluate_time: alert.evaluated_at.map(timestamp),
            last_delivery: alert.last_delivery.as_ref().map(Into::into),
            version: alert.version,
            create_time: Some(timestamp(alert.created_at)),
            update_time: Some(timestamp(alert.updated_at)),
            secret_rotate_time: alert.secret_rotated_at.map(timestamp),
        }
    }
}

impl From<&LastDelivery> for v1::AlertDelivery {
    fn from(delivery: &LastDelivery) -> Self {
        let result = match delivery.result {
            DeliveryResult::Delivered => v1::AlertDeliveryResult::Delivered,
            DeliveryResult::Retrying => v1::AlertDeliveryResult::Retrying,
            DeliveryResult::GivenUp => v1::AlertDeliveryResult::GivenUp,
        };
        Self {
            r#type: delivery.kind.clone(),
            result: result.into(),
            attempts: delivery.attempts,
            http_status: delivery.http_status,
            error: delivery.error.clone(),
            time: Some(timestamp(delivery.at)),
            retry_time: delivery.retry_at.map(timestamp),
        }
    }
}

impl From<&Made> for v1::CreateAlertResponse {
    fn from(made: &Made) -> Self {
        Self { alert: Some((&made.alert).into()), secret: made.secret.clone() }
    }
}

impl From<&Made> for v1::RotateAlertSecretResponse {
    fn from(made: &Made) -> Self {
        Self { alert: Some((&made.alert).into()), secret: made.secret.clone() }
    }
}

impl From<&Alert> for v1::UpdateAlertResponse {
    fn from(alert: &Alert) -> Self {
        Self { alert: Some(alert.into()) }
    }
}

impl From<&Removed> for v1::DeleteAlertResponse {
    fn from(_: &Removed) -> Self {
        Self {}
    }
}

impl From<Posted> for v1::TestAlertResponse {
    fn from(posted: Posted) -> Self {
        let delivered = posted.error.is_empty();
        Self { delivered, http_status: posted.http_status.into(), error: posted.error }
    }
}

/// The answer as it is kept for a repeat: no secret is in any table.
pub fn without_secret<R: Message + for<'a> From<&'a Made>>(made: &Made) -> Vec<u8> {
    R::from(&Made { alert: made.alert.clone(), secret: String::new() }).encode_to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        let good = || v1::Alert { group: "g".into(), name: "a".into(), measure: 1, ..Default::default() };
        let hold = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        assert!(new_alert(Some(v1::Alert { hold: hold(86_400), ..good() })).is_ok());
        for (alert, field) in [
            (v1::Alert { group: String::new(), ..good() }, "alert.group"),
            (v1::Alert { name: "A".into(), ..good() }, "alert.name"),
            (v1::Alert { measure: 0, ..good() }, "alert.measure"),
            (v1::Alert { measure: 9, ..good() }, "alert.measure"),
            (v1::Alert { threshold: -1, ..good() }, "alert.threshold"),
            (v1::Alert { hold: hold(86_401), ..good() }, "alert.hold"),
            (v1::Alert { description: "x".repeat(1_025), ..good() }, "alert.description"),
        ] {
            assert_eq!(new_alert(Some(alert)).expect_err(field).violations()[0].field, field);
        }
    }

    #[test]
    fn of_a_webhook_others_see_the_host() {
        for (url, seen) in [
            ("", ""),
            ("https://a.example", "https://a.example/…"),
            ("https://a.example:8443/T0/secret?x=y", "https://a.example:8443/…"),
            ("https://a.example?secret", "https://a.example/…"),
        ] {
            assert_eq!(without_path(url), seen);
        }
    }
}
