//! `eventflow group`: make, look at, move, pause and remove consumer groups.

use std::time::Duration;

use eventflow::{Client, DeliveryMode, GroupSpec, OnFailure, OnTruncated, Position, RetryPolicy};
use futures_util::TryStreamExt;

use super::{group_named, group_views as views, stream_named, sure::be_sure};
use crate::{
    failure::{Failure, Result},
    output::{self, Output, note},
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
    /// Make a group that reads a stream
    Create(Create),
    /// All groups, or those of one stream
    List {
        /// Only groups of this stream
        #[arg(long)]
        stream: Option<String>,
    },
    /// Change the filter or the description of a group
    Update {
        name: String,
        /// Only events that match from now on; '' is all of them
        #[arg(long, value_name = "EXPRESSION")]
        filter: Option<String>,
        /// For people
        #[arg(long)]
        description: Option<String>,
    },
    /// One group: members, their clients, lag of each partition
    Describe { name: String },
    /// Where an event is, or why no member has it
    Explain {
        name: String,
        /// The event: STREAM/PARTITION@OFFSET, or PARTITION@OFFSET
        event: parse::Place,
    },
    /// Move a group; running members go on from there
    Seek(Seek),
    /// Stop delivery; members stay
    Pause { name: String },
    /// Go on with delivery
    Resume { name: String },
    /// Remove a group and its progress
    Delete(Delete),
}

#[derive(Debug, clap::Args)]
struct Create {
    name: String,
    #[arg(long)]
    stream: String,
    /// Where to start: earliest, latest, an age such as 1h, or a time
    #[arg(long, default_value = "earliest")]
    from: parse::From,
    /// Only events that match, such as 'type starts_with "order." and payload.total > 100'
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,
    /// For people
    #[arg(long)]
    description: Option<String>,
    /// Wait for a seek when events were removed unread, instead of going on
    #[arg(long)]
    stop_when_truncated: bool,
    /// How long a member may finish what it has before a partition moves
    #[arg(long, value_name = "AGE", value_parser = parse::age)]
    drain_timeout: Option<Duration>,
    /// How members share the stream: ordered (a partition has one member) or shared (any member gets any event)
    #[arg(long, value_name = "MODE", default_value = "ordered")]
    mode: Mode,
    /// Keep the order of keys in a shared group: one event of a key at a time, whichever member gets it
    #[arg(long)]
    key_order: bool,
    /// What an ordered group does when an event fails: block, skip or dead-letter [default: block]
    #[arg(long, value_name = "WHAT")]
    on_failure: Option<Failing>,
    /// How long a member has for an event that it settles by itself [default: 30s]
    #[arg(long, value_name = "AGE", value_parser = parse::age)]
    ack_timeout: Option<Duration>,
    /// Failed attempts after which an event is a dead letter [default: 10]
    #[arg(long, value_name = "NUMBER")]
    max_attempts: Option<u32>,
    /// The longest wait before the second attempt; each later one may be twice as long [default: 1s]
    #[arg(long, value_name = "AGE", value_parser = parse::age)]
    retry_initial: Option<Duration>,
    /// The longest wait before any attempt [default: 5m]
    #[arg(long, value_name = "AGE", value_parser = parse::age)]
    retry_max: Option<Duration>,
    /// How much longer each wait may be than the one before [default: 2]
    #[arg(long, value_name = "FACTOR")]
    retry_multiplier: Option<f64>,
    /// Labels
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse::pair)]
    labels: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Mode {
    Ordered,
    Shared,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Failing {
    Block,
    Skip,
    DeadLetter,
}

impl Create {
    /// What becomes of events that fail; None: nothing was said of it.
    fn retry(&self) -> Option<RetryPolicy> {
        let said = self.max_attempts.is_some()
            || self.retry_initial.is_some()
            || self.retry_max.is_some()
            || self.retry_multiplier.is_some();
        let default = RetryPolicy::default();
        let initial = self.retry_initial.unwrap_or(default.initial);
        said.then(|| RetryPolicy {
            initial,
            multiplier: self.retry_multiplier.unwrap_or(default.multiplier),
            max: self.retry_max.unwrap_or(default.max.max(initial)),
            max_attempts: self.max_attempts.unwrap_or(default.max_attempts),
        })
    }
}

#[derive(Debug, clap::Args)]
struct Seek {
    name: String,
    /// Where to: earliest, latest, an age such as 1h, a time, or offset:N
    #[arg(long)]
    to: parse::From,
    /// Only this partition; an offset needs it
    #[arg(long)]
    partition: Option<u32>,
    /// Only show what would move
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, clap::Args)]
struct Delete {
    name: String,
    /// Although it has members
    #[arg(long)]
    force: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub async fn run(arguments: Arguments) -> Result<()> {
    let Arguments { verb, target, output } = arguments;
    let client = target.connect().await?;
    let groups = client.groups();
    let mut out = output.open();
    match verb {
        Verb::Create(create) => make(&client, create, &mut out).await,
        Verb::List { stream } => {
            let list = match stream {
                Some(stream) => groups.list_of_stream(stream),
                None => groups.list(),
            };
            let all: Vec<_> = list.try_collect().await?;
            out.list(&views::listing(&all))
        }
        Verb::Update { name, filter, description } => {
            let mut spec = filter.iter().fold(GroupSpec::default(), |spec, filter| spec.filter(filter));
            if let Some(description) = &description {
                spec = spec.description(description);
            }
            if filter.is_none() && description.is_none() {
                return Err(Failure::usage("nothing to change: name a setting, such as --filter"));
            }
            let group = explained(&client, &name, groups.update(&name, spec).await).await?;
            out.object(&views::object(&group), |_| format!("changed group `{}`\n", group.name))
        }
        Verb::Describe { name } => describe(&client, &name, &mut out).await,
        Verb::Explain { name, event } => explain(&client, &name, &event, &mut out).await,
        Verb::Seek(seek) => go(&client, seek, &mut out).await,
        Verb::Pause { name } => {
            explained(&client, &name, groups.pause(&name).await).await?;
            note(format!("paused group `{name}`"));
            Ok(())
        }
        Verb::Resume { name } => {
            explained(&client, &name, groups.resume(&name).await).await?;
            note(format!("group `{name}` goes on"));
            Ok(())
        }
        Verb::Delete(delete) => remove(&client, delete).await,
    }
}

async fn make(client: &Client, create: Create, out: &mut Output) -> Result<()> {
    let mut spec = GroupSpec::default().mode(match create.mode {
        Mode::Ordered => DeliveryMode::Ordered,
        Mode::Shared => DeliveryMode::Shared,
    });
    if create.key_order {
        spec = spec.key_order();
    }
    if let Some(retry) = create.retry() {
        spec = spec.retry(retry);
    }
    if let Some(on_failure) = create.on_failure {
        spec = spec.on_failure(match on_failure {
            Failing::Block => OnFailure::Block,
            Failing::Skip => OnFailure::Skip,
            Failing::DeadLetter => OnFailure::DeadLetter,
        });
    }
    if let Some(timeout) = create.ack_timeout {
        spec = spec.ack_timeout(timeout);
    }
    if let Some(description) = create.description {
        spec = spec.description(description);
    }
    if let Some(filter) = create.filter {
        spec = spec.filter(filter);
    }
    if create.stop_when_truncated {
        spec = spec.on_truncated(OnTruncated::Stop);
    }
    if let Some(timeout) = create.drain_timeout {
        spec = spec.drain_timeout(timeout);
    }
    if !create.labels.is_empty() {
        spec = spec.labels(create.labels);
    }
    let made = client.groups().create(&create.name, &create.stream, create.from.0, spec).await;
    let group = match made {
        Ok(group) => group,
        Err(error) => return Err(stream_named(client, &create.stream, error).await),
    };
    out.object(&views::object(&group), |_| format!("created group `{}` of stream `{}`\n", group.name, group.stream))
}

async fn describe(client: &Client, name: &str, out: &mut Output) -> Result<()> {
    let groups = client.groups();
    let group = explained(client, name, groups.get(name).await).await?;
    let members = groups.members(name).await?;
    let lag = groups.lag(name).await?;
    let object = views::object_with(&group, &members, &lag);
    out.object(&object, |paint| views::description(&group, &members, &lag, paint))
}

async fn explain(client: &Client, name: &str, event: &parse::Place, out: &mut Output) -> Result<()> {
    let groups = client.groups();
    if let Some(stream) = &event.stream {
        let group = explained(client, name, groups.get(name).await).await?;
        if group.stream != *stream {
            return Err(Failure::usage(format!("the group `{name}` reads `{}`, not `{stream}`", group.stream)));
        }
    }
    let found = explained(client, name, groups.explain(name, event.partition, event.offset).await).await?;
    out.object(&views::explanation(&found), |paint| views::explained(&found, paint))
}

async fn go(client: &Client, seek: Seek, out: &mut Output) -> Result<()> {
    let (name, partition, to) = (&seek.name, seek.partition, seek.to.0);
    if matches!(to, Position::Offset(_)) && partition.is_none() {
        return Err(Failure::usage("an offset is of one partition: add --partition"));
    }
    let groups = client.groups();
    if !seek.dry_run {
        be_sure(seek.yes, &format!("move the group `{name}`"), name).await?;
    }
    let moved = if seek.dry_run {
        groups.preview_seek(name, partition, to).await
    } else {
        groups.seek(name, partition, to).await
    };
    let moved = explained(client, name, moved).await?;
    out.list(&views::moves(&moved))
}

async fn remove(client: &Client, delete: Delete) -> Result<()> {
    let name = &delete.name;
    be_sure(delete.yes, &format!("remove the group `{name}` and its progress"), name).await?;
    let groups = client.groups();
    let removed = if delete.force { groups.delete_with_members(name).await } else { groups.delete(name).await };
    explained(client, name, removed).await?;
    note(format!("removed group `{name}`"));
    Ok(())
}

async fn explained<T>(client: &Client, name: &str, outcome: eventflow::Result<T>) -> Result<T> {
    match outcome {
        Ok(value) => Ok(value),
        Err(error) => Err(group_named(client, name, error).await),
    }
}
