//! `eventflow poll` and `eventflow ack`: consuming call by call, for scripts. What is between two calls is on the command line.

use std::time::Duration;

use eventflow::{
    Failure as Failed,
    polling::{Handle, Outcome, Polled, PolledEvent, Poller, Refused},
};
use serde_json::{Value, json};

use super::group_named;
use crate::{
    consume::record_object,
    failure::{Exit, Failure, Result},
    output::{self, Listing, Paint, Style},
    parse, target,
};

#[derive(Debug, clap::Args)]
pub struct Poll {
    /// Group to join; with --cursor the session is in it already
    #[arg(required_unless_present = "cursor", conflicts_with = "cursor")]
    group: Option<String>,
    /// Go on behind this answer
    #[arg(long)]
    cursor: Option<String>,
    /// Member name; made up unless given
    #[arg(long, conflicts_with = "cursor")]
    member: Option<String>,
    /// Events of one answer at most [default: 100]
    #[arg(long, value_name = "NUMBER", conflicts_with = "cursor")]
    max: Option<u32>,
    /// How long to wait when there is nothing, up to 20s
    #[arg(long, value_name = "AGE", value_parser = parse::age_or_zero, default_value = "10s")]
    wait: Duration,
    #[command(flatten)]
    target: target::Arguments,
    #[command(flatten)]
    output: output::Arguments,
}

#[derive(Debug, clap::Args)]
pub struct Ack {
    /// The session, as `eventflow poll` names it
    session: String,
    /// Events, as `eventflow poll` names them, such as 0@1024#7
    events: Vec<Handle>,
    /// The attempt failed, for this reason: they are tried again
    #[arg(long, value_name = "REASON")]
    fail: Option<String>,
    /// Kind of failure, such as timeout
    #[arg(long, requires = "fail", value_name = "CLASS")]
    class: Option<String>,
    /// Try again after this time, instead of the group's back-off
    #[arg(long, requires = "fail", value_name = "AGE", value_parser = parse::age_or_zero, conflicts_with = "give_up")]
    after: Option<Duration>,
    /// Trying again is of no use: they are dead letters
    #[arg(long, requires = "fail")]
    give_up: bool,
    /// They take this much longer
    #[arg(long, value_name = "AGE", value_parser = parse::age, conflicts_with = "fail")]
    extend: Option<Duration>,
    /// Leave the group afterwards: what is not settled goes to others at once, uncounted
    #[arg(long)]
    leave: bool,
    #[command(flatten)]
    target: target::Arguments,
    #[command(flatten)]
    output: output::Arguments,
}

pub async fn poll(arguments: Poll) -> Result<()> {
    let client = arguments.target.connect().await?;
    let joined = match (&arguments.group, &arguments.cursor) {
        (_, Some(cursor)) => client.resume_poll(cursor, arguments.wait).await,
        (group, None) => {
            let mut builder = client.poll(group.as_deref().unwrap_or_default()).wait(arguments.wait);
            if let Some(member) = &arguments.member {
                builder = builder.member(member);
            }
            if let Some(max) = arguments.max {
                builder = builder.max_events(max);
            }
            builder.join().await
        }
    };
    let mut poller = match joined {
        Ok(poller) => poller,
        Err(error) => return Err(group_named(&client, arguments.group.as_deref().unwrap_or_default(), error).await),
    };
    let polled = poller.next().await?;
    arguments.output.open().object(&answer(&poller, &polled), |paint| for_people(&poller, &polled, paint))
}

fn answer(poller: &Poller, polled: &Polled) -> Value {
    let event = |event: &PolledEvent| {
        let mut object = record_object(&event.record);
        if let Some(fields) = object.as_object_mut() {
            // Of which stream, the group knows.
            fields.remove("stream");
        }
        object["handle"] = event.handle().to_string().into();
        object["attempt"] = event.attempt.into();
        object["last_reason"] = event.last_reason.clone().into();
        object["redriven"] = event.redriven.into();
        object
    };
    json!({
        "session": poller.session(),
        "cursor": poller.cursor(),
        "member": poller.member(),
        "shared": polled.shared,
        "ack_timeout_ms": u64::try_from(polled.ack_timeout.as_millis()).unwrap_or(u64::MAX),
        "events": polled.events.iter().map(event).collect::<Vec<_>>(),
        "void_partitions": polled.void_partitions,
    })
}

fn for_people(poller: &Poller, polled: &Polled, paint: Paint) -> String {
    let mut table = Listing::new(&["event", "attempt", "key", "type", "payload"]).when_empty("nothing to do");
    for event in &polled.events {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().take(60).filter(|c| !c.is_control()).collect();
        let row = [
            event.handle().to_string(),
            event.attempt.to_string(),
            event.key().unwrap_or("-").to_owned(),
            event.record.event().event_type().to_owned(),
            text(event.payload()),
        ];
        table.add(Value::Null, row);
    }
    let mut text = table.table(paint);
    for partition in &polled.void_partitions {
        text.push_str(&format!("what was polled of partition {partition} before is void\n"));
    }
    let next = format!("session: {}\ncursor: {}\n", poller.session(), poller.cursor());
    text + &paint.with(Style::Faint, next)
}

pub async fn ack(arguments: Ack) -> Result<()> {
    if arguments.events.is_empty() && !arguments.leave {
        return Err(Failure::usage("nothing to settle: name events, or --leave"));
    }
    let outcome = arguments.outcome();
    let client = arguments.target.connect().await?;
    let outcomes = arguments.events.iter().map(|event| (*event, outcome.clone()));
    let refused =
        if arguments.events.is_empty() { Vec::new() } else { client.acknowledge(&arguments.session, outcomes).await? };
    if arguments.leave {
        client.leave_poll(&arguments.session).await?;
    }
    let said = arguments.events.len();
    let object = json!({ "outcomes": said, "refused": refused.iter().map(refusal).collect::<Vec<_>>() });
    let wrong: i64 = refused.iter().map(|refused| refused.last_offset - refused.offset + 1).sum();
    arguments.output.open().object(&object, |_| match (wrong, arguments.leave) {
        (0, false) => format!("settled {said}\n"),
        (0, true) => format!("settled {said}, and left\n"),
        _ => String::new(),
    })?;
    match refused.into_iter().next() {
        None => Ok(()),
        Some(first) => {
            let place = format!("{}@{}", first.partition, first.offset);
            let sentence = format!("{wrong} of {said} outcomes changed nothing; {place}: {}", first.error);
            Err(Failure::new(Exit::Conflict, first.error.reason(), sentence))
        }
    }
}

fn refusal(refused: &Refused) -> Value {
    json!({
        "partition": refused.partition,
        "offset": refused.offset,
        "last_offset": refused.last_offset,
        "reason": refused.error.reason(),
    })
}

impl Ack {
    fn outcome(&self) -> Outcome {
        if let Some(by) = self.extend {
            return Outcome::Extend(Some(by));
        }
        let Some(reason) = &self.fail else { return Outcome::Ack };
        let mut failed = if self.give_up { Failed::give_up(reason) } else { Failed::retry(reason) };
        if let Some(class) = &self.class {
            failed = failed.class(class);
        }
        if let Some(after) = self.after {
            failed = failed.after(after);
        }
        Outcome::Fail(failed)
    }
}
