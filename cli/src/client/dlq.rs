//! `eventflow dlq`: the events that a group gave up on.

use eventflow::dead_letters::{DeadLetter, Handled, Which};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use super::{dlq_edit, dlq_edit::visible, dlq_redrives, group_named, sure::be_sure};
use crate::{
    failure::{Failure, Result},
    output::{self, Listing, Output, Style, count, note, since, span},
    parse, target,
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    target: target::Arguments,
    #[command(flatten)]
    output: output::Arguments,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// The newest dead letters of a group
    List {
        group: String,
        #[command(flatten)]
        which: Narrowed,
        /// At most so many
        #[arg(long, short = 'n', value_name = "NUMBER", default_value_t = 100)]
        max: usize,
    },
    /// One dead letter: its payload, what happened at each attempt, and what was edited
    Show { group: String, id: String },
    /// Change payload or headers of one, for its redrive; the original is kept
    Edit(dlq_edit::Change),
    /// Give dead letters back to their group, to be delivered again
    Redrive {
        group: String,
        /// These; without any, say --all or narrow them
        ids: Vec<String>,
        #[command(flatten)]
        which: Narrowed,
        /// All of them
        #[arg(long)]
        all: bool,
        /// So many a second; 0 is all at once
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        rate: u32,
        /// Only say how many there are
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// How far redrives of a group have come, the newest first
    Redrives { group: String },
    /// Stop a redrive: what no member has been given yet is a dead letter again
    Cancel {
        group: String,
        /// Of the redrive, as `dlq redrives` shows it
        id: String,
    },
    /// Remove dead letters for good
    Discard {
        group: String,
        /// These; without any, say --all or narrow them
        ids: Vec<String>,
        #[command(flatten)]
        which: Narrowed,
        /// All of them
        #[arg(long)]
        all: bool,
        /// Only say how many there are
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Narrowed {
    /// Only this error class
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Only those whose reason contains this
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only those of the last so long, such as 1h
    #[arg(long, value_name = "AGE", value_parser = parse::age)]
    within: Option<std::time::Duration>,
}

impl Narrowed {
    fn is_set(&self) -> bool {
        self.class.is_some() || self.reason.is_some() || self.within.is_some()
    }

    fn which(self) -> Which {
        let mut which = Which::default();
        if let Some(class) = self.class {
            which = which.error_class(class);
        }
        if let Some(reason) = self.reason {
            which = which.reason_contains(reason);
        }
        if let Some(within) = self.within {
            which = which.from(crate::clock::ago(within));
        }
        which
    }

    /// Everything only when it is asked for.
    fn chosen(self, ids: Vec<String>, all: bool) -> Result<Which> {
        if ids.is_empty() && !all && !self.is_set() {
            return Err(Failure::usage(
                "which ones? Name ids, narrow them with --class, --reason or --within, or say --all",
            ));
        }
        Ok(self.which().ids(ids))
    }
}

pub async fn run(arguments: Arguments) -> Result<()> {
    let Arguments { verb, target, output } = arguments;
    let client = target.connect().await?;
    let mut out = output.open();
    let explained = async |group: &str, error: eventflow::Error| group_named(&client, group, error).await;
    match verb {
        Verb::List { group, which, max } => {
            let list = client.dead_letters(&group).list(which.which()).take(max).try_collect::<Vec<_>>().await;
            match list {
                Ok(letters) => out.list(&listing(&letters)),
                Err(error) => Err(explained(&group, error).await),
            }
        }
        Verb::Show { group, id } => match client.dead_letters(&group).get(id).await {
            Ok(letter) => out.object(&object(&letter), |paint| description(&letter, paint)),
            Err(error) => Err(explained(&group, error).await),
        },
        Verb::Edit(change) => dlq_edit::run(&client, &change, &mut out).await,
        Verb::Redrive { group, ids, which, all, rate, dry_run, yes } => {
            let which = which.chosen(ids, all)?;
            let letters = client.dead_letters(&group);
            if dry_run {
                let counted = letters.preview_redrive(which).await;
                return tell(&mut out, "would be redriven", counted.map_err(Failure::from)?);
            }
            be_sure(yes, &format!("give dead letters back to the group `{group}`"), &group).await?;
            match letters.redrive(which, rate).await {
                Ok(done) => tell(&mut out, "redriven", done),
                Err(error) => Err(explained(&group, error).await),
            }
        }
        Verb::Redrives { group } => match client.dead_letters(&group).redrives().await {
            Ok(redrives) => out.list(&dlq_redrives::listing(&redrives)),
            Err(error) => Err(explained(&group, error).await),
        },
        Verb::Cancel { group, id } => match client.dead_letters(&group).cancel_redrive(id).await {
            Ok(redrive) => out.object(&dlq_redrives::object(&redrive), |_| dlq_redrives::cancelled(&redrive)),
            Err(error) => Err(explained(&group, error).await),
        },
        Verb::Discard { group, ids, which, all, dry_run, yes } => {
            let which = which.chosen(ids, all)?;
            let letters = client.dead_letters(&group);
            if dry_run {
                let counted = letters.preview_discard(which).await;
                return tell(&mut out, "would be discarded", counted.map_err(Failure::from)?);
            }
            be_sure(yes, &format!("remove dead letters of the group `{group}` for good"), &group).await?;
            match letters.discard(which).await {
                Ok(done) => tell(&mut out, "discarded", done),
                Err(error) => Err(explained(&group, error).await),
            }
        }
    }
}

fn tell(out: &mut Output, what: &str, handled: Handled) -> Result<()> {
    if handled.more {
        note("there are more: run it again");
    }
    let object = json!({
        "dead_letters": handled.dead_letters,
        "more": handled.more,
        "redrive_id": handled.redrive_id,
    });
    let redrive = handled.redrive_id.map(|id| format!(" (redrive {id})")).unwrap_or_default();
    out.object(&object, |_| format!("{} dead letters {what}{redrive}\n", count(handled.dead_letters)))
}

fn listing(letters: &[DeadLetter]) -> Listing {
    let mut listing =
        Listing::new(&["id", "event", "#attempts", "class", "reason", "given up (UTC)"]).when_empty("no dead letters");
    for letter in letters {
        let record = &letter.record;
        let row = [
            letter.id.clone(),
            format!("{}@{}", record.partition(), record.offset()),
            letter.attempts.to_string(),
            letter.error_class.clone(),
            letter.reason.chars().take(60).collect(),
            since(letter.dead_time),
        ];
        listing.add(object(letter), row);
    }
    listing
}

fn object(letter: &DeadLetter) -> Value {
    let record = &letter.record;
    let attempt = |attempt: &eventflow::dead_letters::FailedAttempt| {
        json!({
            "attempt": attempt.attempt,
            "time": since(attempt.time),
            "member": attempt.member,
            "reason": attempt.reason,
            "error_class": attempt.error_class,
            "duration_ms": u64::try_from(attempt.duration.as_millis()).unwrap_or(u64::MAX),
            "trace_id": attempt.trace_id,
        })
    };
    json!({
        "id": letter.id,
        "partition": record.partition(),
        "offset": record.offset(),
        "event_id": record.id(),
        "key": record.key(),
        "type": record.event().event_type(),
        "payload": String::from_utf8_lossy(record.payload()),
        "attempts": letter.attempts,
        "reason": letter.reason,
        "error_class": letter.error_class,
        "given_up": since(letter.dead_time),
        "history": letter.history.iter().map(attempt).collect::<Vec<_>>(),
        "edit": letter.edit.as_ref().map(dlq_edit::object),
    })
}

fn description(letter: &DeadLetter, paint: output::Paint) -> String {
    let record = &letter.record;
    let head = format!("event {} of partition {}, offset {}", record.id(), record.partition(), record.offset());
    let mut text = format!("{}\n", paint.strong(head));
    if let Some(key) = record.key() {
        text.push_str(&format!("  key: {}\n", visible(key)));
    }
    if !record.event().event_type().is_empty() {
        text.push_str(&format!("  type: {}\n", visible(record.event().event_type())));
    }
    for header in record.event().headers() {
        text.push_str(&format!("  {}: {}\n", visible(&header.name), visible(&header.value)));
    }
    let why = format!("after {} attempts: {}", letter.attempts, visible(&letter.reason));
    text.push_str(&format!("  given up {} UTC {}\n", since(letter.dead_time), paint.with(Style::Bad, why)));
    for attempt in &letter.history {
        text.push_str(&format!(
            "  attempt {} at {} UTC with {} for {}: {}{}\n",
            attempt.attempt,
            since(attempt.time),
            attempt.member,
            span(attempt.duration),
            if attempt.error_class.is_empty() {
                String::new()
            } else {
                format!("[{}] ", visible(&attempt.error_class))
            },
            visible(&attempt.reason),
        ));
        if !attempt.trace_id.is_empty() {
            text.push_str(&format!("    in trace {}\n", visible(&attempt.trace_id)));
        }
    }
    if let Some(edit) = &letter.edit {
        text.push_str(&dlq_edit::description(edit, record.event(), paint));
    }
    text.push_str(&format!("\n{}\n", visible(&String::from_utf8_lossy(record.payload()))));
    text
}
