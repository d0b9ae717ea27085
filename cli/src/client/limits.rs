//! `eventflow limits`: what the broker allows.

use serde_json::json;

use crate::{
    failure::Result,
    output::{self, Listing, bytes, count},
    target,
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    target: target::Arguments,
    #[command(flatten)]
    output: output::Arguments,
}

pub async fn run(arguments: Arguments) -> Result<()> {
    let client = arguments.target.connect().await?;
    let limits = client.limits().await?;
    let size = |value: u64| bytes(i64::try_from(value).unwrap_or(i64::MAX));
    let rows = [
        ("event, unless its stream says otherwise", size(limits.event_bytes_default.into())),
        ("event, at most", size(limits.event_bytes_max.into())),
        ("key", size(limits.key_bytes_max.into())),
        ("headers of an event", count(limits.headers_max)),
        ("headers of an event, together", size(limits.headers_bytes_max.into())),
        ("id", size(limits.id_bytes_max.into())),
        ("type", size(limits.type_bytes_max.into())),
        ("events of a request", count(limits.request_events_max)),
        ("request", size(limits.request_bytes_max.into())),
        ("partitions of a stream", count(limits.partitions_max)),
        ("requests in flight of a producer and partition", count(limits.producer_in_flight_max)),
        ("window of a consumer, events", count(limits.window_events_max)),
        ("window of a consumer", size(limits.window_bytes_max)),
    ];
    let object = json!({
        "event_bytes_default": limits.event_bytes_default,
        "event_bytes_max": limits.event_bytes_max,
        "key_bytes_max": limits.key_bytes_max,
        "headers_max": limits.headers_max,
        "headers_bytes_max": limits.headers_bytes_max,
        "id_bytes_max": limits.id_bytes_max,
        "type_bytes_max": limits.type_bytes_max,
        "request_events_max": limits.request_events_max,
        "request_bytes_max": limits.request_bytes_max,
        "partitions_max": limits.partitions_max,
        "producer_in_flight_max": limits.producer_in_flight_max,
        "window_events_max": limits.window_events_max,
        "window_bytes_max": limits.window_bytes_max,
    });
    arguments.output.open().object(&object, |paint| {
        let mut table = Listing::new(&["limit", "#value"]);
        for (name, value) in rows {
            table.add(serde_json::Value::Null, [name.to_owned(), value]);
        }
        table.table(paint)
    })
}
