//! How alerts are shown.

use eventflow::alerts::{AlertDelivery, AlertInfo, AlertState, AlertTest, DeliveryResult, Measure};
use serde_json::{Value, json};

use crate::output::{Listing, Paint, count, since, span};

fn measure(alert: &AlertInfo) -> &'static str {
    match alert.measure {
        Measure::LagEvents => "lag_events",
        Measure::LagSeconds => "lag_seconds",
        Measure::OldestUnackedSeconds => "oldest_unacked_seconds",
        Measure::DeadLettersPerHour => "dead_letters_per_hour",
        _ => "unknown",
    }
}

fn state(alert: &AlertInfo) -> &'static str {
    match alert.state {
        AlertState::Ok => "ok",
        AlertState::Pending => "pending",
        AlertState::Firing => "firing",
        _ => "unknown",
    }
}

fn result(delivery: &AlertDelivery) -> &'static str {
    match delivery.result {
        DeliveryResult::Delivered => "delivered",
        DeliveryResult::Retrying => "retrying",
        DeliveryResult::GivenUp => "given up",
        _ => "unknown",
    }
}

pub(super) fn object(alert: &AlertInfo) -> Value {
    json!({
        "group": alert.group,
        "name": alert.name,
        "description": alert.description,
        "measure": measure(alert),
        "threshold": alert.threshold,
        "for_seconds": alert.hold.as_secs_f64(),
        "webhook_url": alert.webhook_url,
        "state": state(alert),
        "since": since(alert.state_time),
        "value": alert.value,
        "evaluated": alert.evaluate_time.map(since),
        "last_delivery": alert.last_delivery.as_ref().map(|delivery| json!({
            "type": delivery.kind,
            "result": result(delivery),
            "attempts": delivery.attempts,
            "http_status": delivery.http_status,
            "error": delivery.error,
            "time": since(delivery.time),
            "retry": delivery.retry_time.map(since),
        })),
        "version": alert.version,
        "created": since(alert.create_time),
        "updated": since(alert.update_time),
        "secret_rotated": alert.secret_rotate_time.map(since),
    })
}

/// `lag_events > 1,000 for 2 min`.
fn condition(alert: &AlertInfo) -> String {
    let hold = if alert.hold.is_zero() { String::new() } else { format!(" for {}", span(alert.hold)) };
    format!("{} > {}{hold}", measure(alert), count(alert.threshold))
}

fn value(alert: &AlertInfo) -> String {
    match alert.value {
        None => "-".to_owned(),
        Some(value) if value.fract() == 0.0 => count(value as i64),
        Some(value) => format!("{value:.1}"),
    }
}

/// What came of telling the webhook.
fn told(alert: &AlertInfo) -> String {
    match &alert.last_delivery {
        None if alert.webhook_url.is_empty() => "-".to_owned(),
        None => "nothing yet".to_owned(),
        Some(delivery) if delivery.error.is_empty() => format!("{} {}", delivery.kind, result(delivery)),
        Some(delivery) => {
            let attempts = delivery.attempts;
            format!("{} {} after {attempts}: {}", delivery.kind, result(delivery), delivery.error)
        }
    }
}

pub(super) fn listing(alerts: &[AlertInfo]) -> Listing {
    let mut listing = Listing::new(&["group", "alert", "state", "since (UTC)", "#value", "fires when", "webhook"])
        .when_empty("no alerts yet: `eventflow alert create GROUP NAME --measure lag-seconds --above 60` makes one");
    for alert in alerts {
        let row = [
            alert.group.clone(),
            alert.name.clone(),
            state(alert).to_owned(),
            since(alert.state_time),
            value(alert),
            condition(alert),
            told(alert),
        ];
        listing.add(object(alert), row);
    }
    listing
}

pub(super) fn text(alert: &AlertInfo, paint: Paint) -> String {
    let mut text = listing(std::slice::from_ref(alert)).table(paint);
    if !alert.webhook_url.is_empty() {
        text.push_str(&format!("\ntells {}\n", alert.webhook_url));
    }
    if !alert.description.is_empty() {
        text.push_str(&format!("\n{}\n", alert.description));
    }
    text
}

pub(super) fn test(test: &AlertTest) -> String {
    if test.delivered { format!("delivered: status {}\n", test.http_status) } else { String::new() }
}
