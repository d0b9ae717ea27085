//! Alerts.

use eventflow_proto::v1;

use super::{duration_from_wire, duration_to_wire, required, time_from_wire};
use crate::{
    alerts::{AlertDelivery, AlertInfo, AlertSpec, AlertState, DeliveryResult, Measure},
    error::{Error, Result},
};

impl AlertSpec {
    /// The alert, and the paths of the fields that are set.
    pub(crate) fn into_wire(self, group: &str, name: &str) -> (v1::Alert, Vec<String>) {
        let set = [
            ("description", self.description.is_some()),
            ("measure", self.measure.is_some()),
            ("threshold", self.threshold.is_some()),
            ("hold", self.hold.is_some()),
            ("webhook_url", self.webhook_url.is_some()),
        ];
        let paths = set.iter().filter(|(_, set)| *set).map(|(path, _)| (*path).to_owned()).collect();
        let alert = v1::Alert {
            group: group.to_owned(),
            name: name.to_owned(),
            description: self.description.unwrap_or_default(),
            measure: self.measure.map_or(v1::AlertMeasure::Unspecified, Into::into).into(),
            threshold: self.threshold.unwrap_or_default(),
            hold: self.hold.map(duration_to_wire),
            webhook_url: self.webhook_url.unwrap_or_default(),
            ..v1::Alert::default()
        };
        (alert, paths)
    }
}

impl From<Measure> for v1::AlertMeasure {
    fn from(measure: Measure) -> Self {
        match measure {
            Measure::LagEvents => Self::LagEvents,
            Measure::LagSeconds => Self::LagSeconds,
            Measure::OldestUnackedSeconds => Self::OldestUnackedSeconds,
            Measure::DeadLettersPerHour => Self::DeadLettersPerHour,
            Measure::Unknown => Self::Unspecified,
        }
    }
}

impl TryFrom<v1::Alert> for AlertInfo {
    type Error = Error;

    fn try_from(alert: v1::Alert) -> Result<Self> {
        let measure = match alert.measure() {
            v1::AlertMeasure::LagEvents => Measure::LagEvents,
            v1::AlertMeasure::LagSeconds => Measure::LagSeconds,
            v1::AlertMeasure::OldestUnackedSeconds => Measure::OldestUnackedSeconds,
            v1::AlertMeasure::DeadLettersPerHour => Measure::DeadLettersPerHour,
            v1::AlertMeasure::Unspecified => Measure::Unknown,
        };
        let state = match alert.state() {
            v1::AlertState::Ok => AlertState::Ok,
            v1::AlertState::Pending => AlertState::Pending,
            v1::AlertState::Firing => AlertState::Firing,
            v1::AlertState::Unspecified => AlertState::Unknown,
        };
        Ok(Self {
            group: alert.group,
            name: alert.name,
            description: alert.description,
            measure,
            threshold: alert.threshold,
            hold: alert.hold.as_ref().map(duration_from_wire).unwrap_or_default(),
            webhook_url: alert.webhook_url,
            state,
            state_time: time_from_wire(&required(alert.state_time, "alert.state_time")?),
            value: alert.value,
            evaluate_time: alert.evaluate_time.as_ref().map(time_from_wire),
            last_delivery: alert.last_delivery.map(TryInto::try_into).transpose()?,
            version: alert.version,
            create_time: time_from_wire(&required(alert.create_time, "alert.create_time")?),
            update_time: time_from_wire(&required(alert.update_time, "alert.update_time")?),
            secret_rotate_time: alert.secret_rotate_time.as_ref().map(time_from_wire),
        })
    }
}

impl TryFrom<v1::AlertDelivery> for AlertDelivery {
    type Error = Error;

    fn try_from(delivery: v1::AlertDelivery) -> Result<Self> {
        let result = match delivery.result() {
            v1::AlertDeliveryResult::Delivered => DeliveryResult::Delivered,
            v1::AlertDeliveryResult::Retrying => DeliveryResult::Retrying,
            v1::AlertDeliveryResult::GivenUp => DeliveryResult::GivenUp,
            v1::AlertDeliveryResult::Unspecified => DeliveryResult::Unknown,
        };
        Ok(Self {
            kind: delivery.r#type,
            result,
            attempts: delivery.attempts,
            http_status: delivery.http_status,
            error: delivery.error,
            time: time_from_wire(&required(delivery.time, "alert.last_delivery.time")?),
            retry_time: delivery.retry_time.as_ref().map(time_from_wire),
        })
    }
}
