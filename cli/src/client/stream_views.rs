//! How streams are shown.

use eventflow::{
    Retention, StreamInfo,
    streams::{PartitionStatistics, StreamStatistics},
};
use serde_json::{Value, json};

use super::schema_views::{policy, policy_words};
use crate::output::{Listing, Paint, bytes, count, since, span};

pub(super) fn object(stream: &StreamInfo) -> Value {
    json!({
        "name": stream.name,
        "uid": stream.uid,
        "description": stream.description,
        "partitions": stream.partitions,
        "retention_seconds": stream.retention.max_age.map(|age| age.as_secs()),
        "retention_bytes_per_partition": stream.retention.max_bytes_per_partition,
        "max_event_bytes": stream.max_event_bytes,
        "labels": stream.labels,
        "schema_policy": policy(stream.schema_policy),
        "key_retention_seconds": stream.key_retention.map(|kept| kept.as_secs()),
        "track_keys": stream.track_keys,
        "routing_version": stream.routing_version,
        "created": since(stream.create_time),
        "updated": since(stream.update_time),
    })
}

pub(super) fn object_with(stream: &StreamInfo, statistics: &StreamStatistics) -> Value {
    let mut object = object(stream);
    object["events"] = json!(statistics.events);
    object["bytes"] = json!(statistics.bytes);
    object["partition_statistics"] = statistics.partitions.iter().map(partition_object).collect();
    object
}

fn partition_object(partition: &PartitionStatistics) -> Value {
    json!({
        "partition": partition.partition,
        "floor": partition.floor,
        "head": partition.head,
        "events": partition.events,
        "bytes": partition.bytes,
        "last_append": partition.last_append_time.map(since),
    })
}

pub(super) fn sentence(stream: &StreamInfo) -> String {
    format!("stream `{}`: {}, keeps events {}", stream.name, partitions(stream.partitions), retention(stream.retention))
}

fn partitions(number: u32) -> String {
    if number == 1 { "1 partition".to_owned() } else { format!("{number} partitions") }
}

fn retention(retention: Retention) -> String {
    let age = retention.max_age.map_or("for ever".to_owned(), |age| format!("for {}", span(age)));
    match retention.max_bytes_per_partition {
        0 => age,
        limit => {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            format!("{age}, at most {} a partition", bytes(limit))
        }
    }
}

pub(super) fn listing(streams: &[StreamInfo]) -> Listing {
    let mut listing = Listing::new(&["stream", "#partitions", "retention", "created (UTC)", "description"])
        .when_empty("no streams yet: `eventflow stream create NAME` makes one");
    for stream in streams {
        let row = [
            stream.name.clone(),
            stream.partitions.to_string(),
            retention(stream.retention).replace("for ", ""),
            since(stream.create_time),
            stream.description.clone(),
        ];
        listing.add(object(stream), row);
    }
    listing
}

pub(super) fn description(stream: &StreamInfo, statistics: &StreamStatistics, paint: Paint) -> String {
    let labels: Vec<String> = stream.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let max_event = i64::from(stream.max_event_bytes);
    let facts = [
        ("description", stream.description.clone()),
        ("events", format!("{} ({})", count(statistics.events), bytes(statistics.bytes))),
        ("retention", retention(stream.retention)),
        ("largest event", bytes(max_event)),
        ("schemas", policy_words(stream.schema_policy)),
        ("idempotency keys", stream.key_retention.map_or("for ever".to_owned(), |kept| format!("for {}", span(kept)))),
        ("keys", if stream.track_keys { "the last offset of each is kept".to_owned() } else { String::new() }),
        ("labels", labels.join(", ")),
        ("created", format!("{} UTC", since(stream.create_time))),
        ("uid", stream.uid.clone()),
    ];
    let mut text = format!("{}\n", paint.strong(sentence(stream)));
    for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        text.push_str(&format!("  {name}: {value}\n"));
    }
    let mut table = Listing::new(&["#partition", "#floor", "#head", "#events", "#bytes", "last append (UTC)"]);
    for partition in &statistics.partitions {
        let row = [
            partition.partition.to_string(),
            partition.floor.to_string(),
            partition.head.to_string(),
            count(partition.events),
            bytes(partition.bytes),
            partition.last_append_time.map_or("-".to_owned(), since),
        ];
        table.add(Value::Null, row);
    }
    text.push('\n');
    text + &table.table(paint)
}
