//! How the state of a deployment is shown.

use std::time::Duration;

use eventflow_broker::{
    runtime::app::VERSION,
    store::{migrate::SCHEMA_NEEDED, status::BrokerStatus},
};
use serde_json::{Value, json};

use super::status::Status;
use crate::output::{Listing, Paint, bytes, count, span};

pub(super) fn object(status: &Status) -> Value {
    let server = &status.server;
    let brokers = status.brokers.iter().map(|broker| {
        json!({
            "name": broker.name, "address": broker.address, "version": broker.version,
            "alive": alive(broker), "uptime_seconds": broker.uptime_seconds,
            "lease_seconds_left": broker.lease_seconds_left,
            "members": broker.members, "partitions": broker.partitions,
        })
    });
    let groups = status.groups.iter().map(|group| {
        json!({
            "organization": group.organization, "group": group.group, "stream": group.stream,
            "paused": group.paused, "members": group.members,
            "lag_events": group.lag_events, "lag_seconds": group.lag_seconds,
        })
    });
    let settings = status.settings.iter();
    let settings = settings.map(|setting| (setting.name.clone(), json!(format!("{}{}", setting.value, setting.unit))));
    json!({
        "database": status.place,
        "postgres_version": server.server_version,
        "database_bytes": server.database_bytes,
        "schema_version": server.schema_version,
        "log_epoch": server.log_epoch,
        "organizations": server.organizations,
        "streams": server.streams,
        "consumer_groups": server.consumer_groups,
        "brokers": brokers.collect::<Value>(),
        "slowest_groups": groups.collect::<Value>(),
        "settings": settings.collect::<serde_json::Map<_, _>>(),
    })
}

fn alive(broker: &BrokerStatus) -> bool {
    broker.lease_seconds_left > 0.0
}

pub(super) fn text(status: &Status, paint: Paint) -> String {
    let server = &status.server;
    let mut text = format!(
        "{}\n  Postgres {}, {}, schema version {} (this command needs {SCHEMA_NEEDED}), log epoch {}\n  \
         {} organizations, {} streams, {} consumer groups; this command is version {VERSION}\n\n",
        paint.strong(&status.place),
        server.server_version,
        bytes(server.database_bytes),
        server.schema_version,
        server.log_epoch,
        count(server.organizations),
        count(server.streams),
        count(server.consumer_groups),
    );
    text.push_str(&brokers(status).table(paint));
    text.push('\n');
    text.push_str(&groups(status).table(paint));
    text.push('\n');
    text + &settings(status).table(paint)
}

fn brokers(status: &Status) -> Listing {
    let mut table = Listing::new(&["broker", "address", "version", "up", "lease", "#members", "#partitions"])
        .when_empty("no broker runs on this database");
    for broker in &status.brokers {
        let seconds = |seconds: f64| span(Duration::try_from_secs_f64(seconds).unwrap_or_default());
        let lease = if alive(broker) {
            format!("{} left", seconds(broker.lease_seconds_left))
        } else {
            format!("ended {} ago", seconds(-broker.lease_seconds_left))
        };
        let row = [
            broker.name.clone(),
            broker.address.clone(),
            broker.version.clone(),
            seconds(broker.uptime_seconds),
            lease,
            count(broker.members),
            count(broker.partitions),
        ];
        table.add(Value::Null, row);
    }
    table
}

fn groups(status: &Status) -> Listing {
    let mut table = Listing::new(&["slowest group", "stream", "organization", "#lag", "behind", "#members"])
        .when_empty("no consumer groups yet");
    for group in &status.groups {
        let state = if group.paused { " (paused)" } else { "" };
        let row = [
            format!("{}{state}", group.group),
            group.stream.clone(),
            group.organization.clone(),
            count(group.lag_events),
            span(Duration::try_from_secs_f64(group.lag_seconds).unwrap_or_default()),
            count(group.members),
        ];
        table.add(Value::Null, row);
    }
    table
}

fn settings(status: &Status) -> Listing {
    let mut table = Listing::new(&["Postgres setting", "value", "set by"]);
    for setting in &status.settings {
        let value = match (setting.value.as_str(), setting.unit.as_str()) {
            ("", _) => "(empty)".to_owned(),
            (value, "") => value.to_owned(),
            (value, unit) => format!("{value} × {unit}"),
        };
        table.add(Value::Null, [setting.name.clone(), value, setting.source.clone()]);
    }
    table
}
