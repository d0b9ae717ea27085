//! `eventflow audit`: who did what, for admins.

use std::time::SystemTime;

use eventflow::audit::{AuditEvent, AuditFilter, AuditResult};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use crate::{
    clock,
    failure::Result,
    output::{self, Listing, since},
    parse, target,
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Only what this user (an address), key (`key:` and its id) or `operator` did
    #[arg(long)]
    actor: Option<String>,
    /// Only this, such as `DeleteStream` or `Login`
    #[arg(long)]
    action: Option<String>,
    /// Only what was done to this, such as `stream:orders`
    #[arg(long)]
    object: Option<String>,
    /// Only what had this result
    #[arg(long, value_enum)]
    result: Option<ResultName>,
    /// From this time on, such as `2026-01-31T09:30:00Z` or `2h` for two hours ago
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<SystemTime>,
    /// Before this time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<SystemTime>,
    /// At most so many, the newest
    #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 100)]
    max: usize,
    #[command(flatten)]
    target: target::Arguments,
    #[command(flatten)]
    output: output::Arguments,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ResultName {
    /// It was done
    Done,
    /// They may not
    Refused,
    /// They could not show who they are
    Failed,
}

/// A time, or how long ago.
fn moment(text: &str) -> Result<SystemTime, String> {
    parse::age(text).map(clock::ago).or_else(|_| parse::time(text))
}

pub async fn run(arguments: Arguments) -> Result<()> {
    let Arguments { actor, action, object, result, since, until, max, target, output } = arguments;
    let result = result.map(|name| match name {
        ResultName::Done => AuditResult::Done,
        ResultName::Refused => AuditResult::Refused,
        ResultName::Failed => AuditResult::Failed,
    });
    let filter = AuditFilter { actor, action, object, result, since, until };
    let found: Vec<_> = target.connect().await?.audit().list(filter).take(max).try_collect().await?;
    output.open().list(&listing(&found))
}

fn word(result: AuditResult) -> &'static str {
    match result {
        AuditResult::Done => "done",
        AuditResult::Refused => "refused",
        AuditResult::Failed => "failed",
        _ => "unknown",
    }
}

/// Who it was, as people know them.
fn who(event: &AuditEvent) -> String {
    match (event.actor_email.as_str(), event.actor.as_str()) {
        ("", "") => "-".to_owned(),
        ("", actor) => actor.to_owned(),
        (email, _) => email.to_owned(),
    }
}

fn object(event: &AuditEvent) -> Value {
    json!({
        "id": event.id,
        "time": since(event.time),
        "actor": event.actor,
        "actor_email": event.actor_email,
        "action": event.action,
        "object": event.object,
        "detail": event.detail,
        "result": word(event.result),
        "reason": event.reason,
        "address": event.address,
        "request_id": event.request_id,
        "times": event.times,
    })
}

fn listing(events: &[AuditEvent]) -> Listing {
    let columns = ["time (UTC)", "who", "what", "to what", "result", "times", "from", "detail"];
    let mut listing = Listing::new(&columns).when_empty("no entries");
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    for event in events {
        let row = [
            since(event.time),
            who(event),
            event.action.clone(),
            or_dash(&event.object),
            word(event.result).to_owned(),
            event.times.to_string(),
            or_dash(&event.address),
            or_dash(if event.detail.is_empty() { &event.reason } else { &event.detail }),
        ];
        listing.add(object(event), row);
    }
    listing
}
