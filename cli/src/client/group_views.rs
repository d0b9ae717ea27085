//! How consumer groups are shown.

use std::time::Duration;

use eventflow::{
    DeliveryMode, GroupInfo, OnFailure, OnTruncated,
    explain::Explanation,
    groups::{HotKey, Lag, Member, PartitionLag, PartitionSeek},
};
use serde_json::{Value, json};

use crate::output::{Listing, Paint, Style, count, since, span};

pub(super) fn explanation(found: &Explanation) -> Value {
    json!({
        "status": found.status.as_str(),
        "explanation": found.explanation,
        "member": found.member,
        "broker": found.broker,
        "broker_address": found.broker_address,
        "since": found.since.map(since),
        "until": found.until.map(since),
        "attempt": found.attempt,
        "reason": found.reason,
        "error_class": found.error_class,
        "behind_offset": found.behind_offset,
    })
}

/// The answer for people: what, and then what belongs to it.
pub(super) fn explained(found: &Explanation, paint: Paint) -> String {
    let mut text = format!("{}  {}\n", paint.with(Style::Strong, found.status.as_str()), found.explanation);
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            text.push_str(&format!("  {name}: {value}\n"));
        }
    };
    line("member", found.member.clone());
    line("since", found.since.map(since).unwrap_or_default());
    line("until", found.until.map(since).unwrap_or_default());
    line("attempt", if found.attempt == 0 { String::new() } else { found.attempt.to_string() });
    line("last failure", found.reason.clone());
    line("error class", found.error_class.clone());
    text
}

pub(super) fn object(group: &GroupInfo) -> Value {
    json!({
        "name": group.name,
        "stream": group.stream,
        "description": group.description,
        "paused": group.paused,
        "members": group.member_count,
        "generation": group.generation,
        "mode": if group.mode == DeliveryMode::Shared { "shared" } else { "ordered" },
        "key_order": group.key_order,
        "on_failure": on_failure(group),
        "ack_timeout_ms": u64::try_from(group.ack_timeout.as_millis()).unwrap_or(u64::MAX),
        "retry": {
            "initial_ms": u64::try_from(group.retry.initial.as_millis()).unwrap_or(u64::MAX),
            "multiplier": group.retry.multiplier,
            "max_ms": u64::try_from(group.retry.max.as_millis()).unwrap_or(u64::MAX),
            "max_attempts": group.retry.max_attempts,
        },
        "on_truncated": match group.on_truncated {
            OnTruncated::Continue => "continue",
            OnTruncated::Stop => "stop",
        },
        "drain_timeout_ms": u64::try_from(group.drain_timeout.as_millis()).unwrap_or(u64::MAX),
        "filter": group.filter,
        "filter_version": group.filter_version,
        "managed_by": group.managed_by,
        "labels": group.labels,
        "created": since(group.create_time),
        "updated": since(group.update_time),
    })
}

pub(super) fn object_with(group: &GroupInfo, members: &[Member], lag: &Lag) -> Value {
    let mut object = object(group);
    object["members"] = members.iter().map(member_object).collect();
    object["lag"] = lag_object(lag);
    object
}

fn mode(group: &GroupInfo) -> &'static str {
    match group.mode {
        DeliveryMode::Ordered => "ordered",
        DeliveryMode::Shared if group.key_order => "shared, in order by key",
        DeliveryMode::Shared => "shared",
    }
}

fn on_failure(group: &GroupInfo) -> Option<&'static str> {
    group.on_failure.map(|policy| match policy {
        OnFailure::Block => "block",
        OnFailure::Skip => "skip",
        OnFailure::DeadLetter => "dead_letter",
    })
}

/// What becomes of events that fail, in words.
fn failing(group: &GroupInfo) -> String {
    let attempts = count(i64::from(group.retry.max_attempts));
    let waits = format!("up to {attempts} attempts, {} to {} apart", span(group.retry.initial), span(group.retry.max));
    match group.on_failure {
        Some(OnFailure::Block) => format!("tried again in place, {waits}"),
        Some(OnFailure::Skip) => format!("tried again later, {waits}"),
        Some(OnFailure::DeadLetter) => "a dead letter at once".to_owned(),
        None => waits,
    }
}

fn member_object(member: &Member) -> Value {
    json!({
        "name": member.name,
        "broker": member.broker,
        "client": member.client,
        "client_address": member.client_address,
        "partitions": member.partitions,
        "connected": member.connected,
        "joined": since(member.join_time),
    })
}

pub(super) fn lag_object(lag: &Lag) -> Value {
    let partitions: Vec<Value> = lag.partitions.iter().map(partition_object).collect();
    json!({
        "events": lag.events,
        "seconds": lag.seconds,
        "retries": lag.retries,
        "dead_letters": lag.dead_letters,
        "hot_keys": lag.hot_keys.iter().map(hot_key).collect::<Vec<_>>(),
        "partitions": partitions,
    })
}

fn hot_key(hot: &HotKey) -> Value {
    json!({
        "partition": hot.partition,
        "key": hot.key,
        "waiting": hot.waiting,
        "behind_offset": hot.behind_offset,
    })
}

fn partition_object(partition: &PartitionLag) -> Value {
    json!({
        "partition": partition.partition,
        "next_offset": partition.next_offset,
        "floor": partition.floor,
        "head": partition.head,
        "events": partition.events,
        "seconds": partition.seconds,
        "member": partition.member,
        "lease_epoch": partition.lease_epoch,
        "log_epoch": partition.log_epoch,
        "truncated_events": partition.truncated_events,
        "retries": partition.retries,
        "dead_letters": partition.dead_letters,
    })
}

pub(super) fn listing(groups: &[GroupInfo]) -> Listing {
    let mut listing = Listing::new(&["group", "stream", "mode", "#members", "state", "created (UTC)"])
        .when_empty("no groups yet: `eventflow group create NAME --stream STREAM` makes one");
    for group in groups {
        let row = [
            group.name.clone(),
            group.stream.clone(),
            mode(group).to_owned(),
            group.member_count.to_string(),
            state(group).to_owned(),
            since(group.create_time),
        ];
        listing.add(object(group), row);
    }
    listing
}

fn state(group: &GroupInfo) -> &'static str {
    match (group.paused, group.member_count) {
        (true, _) => "paused",
        // Its members are brokers.
        (false, _) if !group.managed_by.is_empty() => "runs rules",
        (false, 0) => "no members",
        (false, _) => "active",
    }
}

/// Seconds of lag, in words.
pub(super) fn behind(seconds: f64) -> String {
    span(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

pub(super) fn description(group: &GroupInfo, members: &[Member], lag: &Lag, paint: Paint) -> String {
    let head = format!("group `{}` of stream `{}`: {}, {}", group.name, group.stream, mode(group), state(group));
    let mut text = format!("{}\n", paint.strong(head));
    if !group.description.is_empty() {
        text.push_str(&format!("  description: {}\n", group.description));
    }
    if !group.filter.is_empty() {
        text.push_str(&format!("  filter: {}\n", group.filter));
    }
    let events = count(lag.events);
    let line = if lag.events == 0 {
        paint.with(Style::Good, "at the head")
    } else {
        format!("{events} events, {}", behind(lag.seconds))
    };
    let failed = format!("{} to be tried again, {} dead letters", count(lag.retries), count(lag.dead_letters));
    let failed = if lag.dead_letters > 0 { paint.with(Style::Bad, failed) } else { failed };
    text.push_str(&format!("  failures: {failed}\n  failed events: {}\n", failing(group)));
    for hot in &lag.hot_keys {
        let waiting = count(hot.waiting);
        let line = format!("`{}`: {waiting} events wait for {}@{}", hot.key, hot.partition, hot.behind_offset);
        text.push_str(&format!("  hot key: {line}\n"));
    }
    text.push_str(&format!("  lag: {line}\n  created: {} UTC\n\n", since(group.create_time)));
    text.push_str(&members_table(members).table(paint));
    text.push('\n');
    text + &partitions_table(lag).table(paint)
}

fn members_table(members: &[Member]) -> Listing {
    let mut table = Listing::new(&["member", "broker", "client", "address", "partitions", "joined (UTC)"])
        .when_empty("nobody consumes this group");
    for member in members {
        let held: Vec<String> = member.partitions.iter().map(u32::to_string).collect();
        let name = if member.connected { member.name.clone() } else { format!("{} (disconnected)", member.name) };
        let row = [
            name,
            member.broker.clone(),
            member.client.clone(),
            member.client_address.clone(),
            held.join(","),
            since(member.join_time),
        ];
        table.add(Value::Null, row);
    }
    table
}

fn partitions_table(lag: &Lag) -> Listing {
    let mut table = Listing::new(&["#partition", "#next", "#head", "#lag", "behind", "member"]);
    for partition in &lag.partitions {
        let row = [
            partition.partition.to_string(),
            partition.next_offset.to_string(),
            partition.head.to_string(),
            count(partition.events),
            behind(partition.seconds),
            partition.member.clone().unwrap_or_else(|| "-".to_owned()),
        ];
        table.add(Value::Null, row);
    }
    table
}

pub(super) fn moves(moves: &[PartitionSeek]) -> Listing {
    let mut listing = Listing::new(&["#partition", "#from", "#to", "#again", "#forgotten retries"]);
    for seek in moves {
        let object = json!({
            "partition": seek.partition,
            "previous_offset": seek.previous_offset,
            "next_offset": seek.next_offset,
            "replayed_events": seek.replayed_events,
            "cleared_retries": seek.cleared_retries,
        });
        let row = [
            seek.partition.to_string(),
            seek.previous_offset.to_string(),
            seek.next_offset.to_string(),
            count(seek.replayed_events),
            count(seek.cleared_retries),
        ];
        listing.add(object, row);
    }
    listing
}
