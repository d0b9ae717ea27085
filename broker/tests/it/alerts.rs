//! Alerts: when they fire, who is told, and who is not.

mod administration;
mod brokers;
mod guard;
mod measures;
mod webhooks;

use crate::support::{Clients, Ground};
use eventflow_broker::runtime::app::App;
use eventflow_proto::v1::{self, AlertMeasure, AlertState};
use eventflow_testkit::within;
use tonic::Status;

/// Receivers of tests are on this machine and speak no TLS.
pub const LOOSE: [(&str, &str); 2] = [("alerts.allow_http", "true"), ("alerts.allow_private_addresses", "true")];

/// A broker, and the stream `orders` of `acme` with its group `billing`.
pub async fn spine() -> (Ground, App, Clients) {
    let ground = Ground::new().await;
    let app = ground.broker(&LOOSE).await;
    let mut clients = Clients::new(&app, &ground.key("acme").await).await;
    clients.create_stream("orders", 1).await;
    clients.create_group("billing", "orders").await;
    (ground, app, clients)
}

/// An alert of `billing` that fires above a threshold at once.
pub fn alert(name: &str, measure: AlertMeasure, threshold: i64) -> v1::Alert {
    v1::Alert { group: "billing".into(), name: name.into(), measure: measure.into(), threshold, ..Default::default() }
}

/// An alert of `billing` on any lag, with a webhook.
pub fn telling(name: &str, url: &str) -> v1::Alert {
    v1::Alert { webhook_url: url.into(), ..alert(name, AlertMeasure::LagEvents, 0) }
}

pub fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

pub async fn try_create(clients: &mut Clients, alert: v1::Alert) -> Result<v1::CreateAlertResponse, Status> {
    let request = v1::CreateAlertRequest { alert: Some(alert), ..Default::default() };
    Ok(clients.alerts.create_alert(request).await?.into_inner())
}

/// Answers the secret.
pub async fn create(clients: &mut Clients, alert: v1::Alert) -> String {
    try_create(clients, alert).await.expect("made").secret
}

pub async fn try_update(clients: &mut Clients, alert: v1::Alert, paths: &[&str]) -> Result<v1::Alert, Status> {
    let update_mask = Some(prost_types::FieldMask { paths: paths.iter().map(|path| (*path).into()).collect() });
    let request = v1::UpdateAlertRequest { alert: Some(alert), update_mask, ..Default::default() };
    Ok(clients.alerts.update_alert(request).await?.into_inner().alert.expect("an alert"))
}

pub async fn try_get(clients: &mut Clients, name: &str) -> Result<v1::Alert, Status> {
    let request = v1::GetAlertRequest { group: "billing".into(), name: name.into() };
    Ok(clients.alerts.get_alert(request).await?.into_inner().alert.expect("an alert"))
}

pub async fn test(clients: &mut Clients, name: &str) -> Result<v1::TestAlertResponse, Status> {
    let request = v1::TestAlertRequest { group: "billing".into(), name: name.into() };
    Ok(clients.alerts.test_alert(request).await?.into_inner())
}

/// Until the alert is as it is wanted.
pub async fn until(clients: &mut Clients, name: &str, wanted: impl Fn(&v1::Alert) -> bool) -> v1::Alert {
    let look = async {
        let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
        loop {
            // poll
            ticks.tick().await;
            let alert = try_get(clients, name).await.expect("an alert");
            if wanted(&alert) {
                return alert;
            }
        }
    };
    within(&format!("alert `{name}`"), look).await
}

pub async fn until_state(clients: &mut Clients, name: &str, state: AlertState) -> v1::Alert {
    until(clients, name, |alert| alert.state() == state && alert.value.is_some()).await
}

/// Until the alert was evaluated once more.
pub async fn until_evaluated_again(clients: &mut Clients, name: &str) -> v1::Alert {
    let before = try_get(clients, name).await.expect("an alert").evaluate_time;
    until(clients, name, |alert| alert.evaluate_time != before).await
}
