//! `eventflow stream`: make, look at, change and remove streams.

use std::time::Duration;

use eventflow::{Client, Purge, Retention, SchemaEnforcement, StreamSpec};
use futures_util::TryStreamExt;

use super::{schema::Compatibility, stream_named, stream_views as views, sure::be_sure};
use crate::{
    failure::{Failure, Result},
    output::{self, count, note},
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
    /// Make a stream
    Create(Create),
    /// All streams
    List,
    /// One stream: settings, statistics, partitions
    Describe { name: String },
    /// Change description, retention, limits, what schemas do, or labels
    Update(Update),
    /// Remove a stream and its events
    Delete(Delete),
    /// Raise the number of partitions; keys go elsewhere from then on
    AddPartitions(AddPartitions),
    /// Remove events before an offset or a time, or all of them
    Purge(PurgeArguments),
}

#[derive(Debug, clap::Args)]
struct Settings {
    /// For people
    #[arg(long)]
    description: Option<String>,
    /// Events older than this may be removed, such as 7d; 0 keeps them for ever
    #[arg(long, value_name = "AGE", value_parser = parse::age_or_zero)]
    retention: Option<Duration>,
    /// Bytes a partition may hold before its oldest events are removed; 0 is no limit
    #[arg(long, value_name = "BYTES")]
    retention_bytes: Option<u64>,
    /// Largest event, bytes, up to 3 MiB
    #[arg(long, value_name = "BYTES")]
    max_event_bytes: Option<u32>,
    /// What happens to events that their schema refuses [default: reject]
    #[arg(long, value_enum, value_name = "MODE")]
    schema_enforcement: Option<Enforcement>,
    /// What a new version of a schema must keep of the newest one [default: backward]
    #[arg(long, value_enum, value_name = "MODE")]
    schema_compatibility: Option<Compatibility>,
    /// How long idempotency keys of events are kept, such as 7d; 0 keeps them for ever [default: 1d]
    #[arg(long, value_name = "AGE", value_parser = parse::age_or_zero)]
    key_retention: Option<Duration>,
    /// Labels; all of them, when any is given
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = parse::pair)]
    labels: Vec<(String, String)>,
}

/// What happens to events that their schema refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Enforcement {
    /// They are not validated
    Off,
    /// They are appended, and counted
    Warn,
    /// They are refused
    Reject,
}

#[derive(Debug, clap::Args)]
struct Create {
    name: String,
    /// Number of partitions, 1 to 1,024 [default: 8]
    #[arg(long)]
    partitions: Option<u32>,
    /// Keep the last offset of each key, for `publish --expect-last`; such a stream gets no more partitions
    #[arg(long)]
    track_keys: bool,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, clap::Args)]
struct Update {
    name: String,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, clap::Args)]
struct Delete {
    name: String,
    /// Its consumer groups too
    #[arg(long)]
    force: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, clap::Args)]
struct AddPartitions {
    name: String,
    /// The new number of partitions
    #[arg(long)]
    to: u32,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

#[derive(Debug, clap::Args)]
#[group(id = "extent", required = true, multiple = false, args = ["before_offset", "before_time", "everything"])]
struct PurgeArguments {
    name: String,
    /// Only this partition
    #[arg(long)]
    partition: Option<u32>,
    /// Events below this offset; needs --partition
    #[arg(long, value_name = "OFFSET", requires = "partition")]
    before_offset: Option<i64>,
    /// Events appended before this time
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    before_time: Option<std::time::SystemTime>,
    /// All events that are there now
    #[arg(long)]
    everything: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub async fn run(arguments: Arguments) -> Result<()> {
    let Arguments { verb, target, output } = arguments;
    let client = target.connect().await?;
    let mut out = output.open();
    match verb {
        Verb::Create(create) => {
            let mut spec = create.settings.spec(Retention::default());
            if let Some(partitions) = create.partitions {
                spec = spec.partitions(partitions);
            }
            if create.track_keys {
                spec = spec.track_keys();
            }
            let stream = client.streams().create(create.name, spec).await?;
            out.object(&views::object(&stream), |_| format!("created {}\n", views::sentence(&stream)))
        }
        Verb::List => {
            let streams: Vec<_> = client.streams().list().try_collect().await?;
            out.list(&views::listing(&streams))
        }
        Verb::Describe { name } => describe(&client, &name, &mut out).await,
        Verb::Update(update) => change(&client, update, &mut out).await,
        Verb::Delete(delete) => remove(&client, delete).await,
        Verb::AddPartitions(add) => {
            let deed = format!("send keys of `{}` to other partitions", add.name);
            be_sure(add.yes, &deed, &add.name).await?;
            let added = client.streams().add_partitions(&add.name, add.to).await;
            let stream = explained(&client, &add.name, added).await?;
            out.object(&views::object(&stream), |_| format!("{}\n", views::sentence(&stream)))
        }
        Verb::Purge(purge) => remove_events(&client, purge, &mut out).await,
    }
}

async fn describe(client: &Client, name: &str, out: &mut output::Output) -> Result<()> {
    let stream = explained(client, name, client.streams().get(name).await).await?;
    let statistics = client.streams().statistics(name).await?;
    let object = views::object_with(&stream, &statistics);
    out.object(&object, |paint| views::description(&stream, &statistics, paint))
}

async fn change(client: &Client, update: Update, out: &mut output::Output) -> Result<()> {
    let name = update.name;
    let now = explained(client, &name, client.streams().get(&name).await).await?;
    // Retention travels whole: what was not named stays as it is.
    let spec = update.settings.spec(now.retention);
    if spec == StreamSpec::default() {
        return Err(Failure::usage("nothing to change: name a setting, such as --retention 14d"));
    }
    let stream = client.streams().update(&name, spec).await?;
    out.object(&views::object(&stream), |_| format!("{}\n", views::sentence(&stream)))
}

async fn remove(client: &Client, delete: Delete) -> Result<()> {
    let name = &delete.name;
    let with = if delete.force { ", its events and its consumer groups" } else { " and its events" };
    be_sure(delete.yes, &format!("remove the stream `{name}`{with}"), name).await?;
    let removed = if delete.force {
        client.streams().delete_with_groups(name).await
    } else {
        client.streams().delete(name).await
    };
    explained(client, name, removed).await?;
    note(format!("removed stream `{name}`"));
    Ok(())
}

async fn remove_events(client: &Client, purge: PurgeArguments, out: &mut output::Output) -> Result<()> {
    let name = &purge.name;
    let partition = purge.partition;
    let what = match (purge.before_offset, purge.before_time, partition) {
        (Some(offset), _, Some(partition)) => Purge::Below { partition, offset },
        (_, Some(time), _) => Purge::Before { partition, time },
        _ => Purge::Everything { partition },
    };
    be_sure(purge.yes, &format!("remove events of the stream `{name}`"), name).await?;
    let purged = explained(client, name, client.streams().purge(name, what).await).await?;
    let object = serde_json::json!({ "stream": name, "purged_events": purged });
    out.object(&object, |_| format!("removed {} events of `{name}`\n", count(purged)))
}

async fn explained<T>(client: &Client, name: &str, outcome: eventflow::Result<T>) -> Result<T> {
    match outcome {
        Ok(value) => Ok(value),
        Err(error) => Err(stream_named(client, name, error).await),
    }
}

impl Settings {
    fn spec(self, retention_now: Retention) -> StreamSpec {
        let mut spec = StreamSpec::default();
        if let Some(description) = self.description {
            spec = spec.description(description);
        }
        if self.retention.is_some() || self.retention_bytes.is_some() {
            let mut retention = retention_now;
            if let Some(age) = self.retention {
                retention.max_age = (!age.is_zero()).then_some(age);
            }
            if let Some(bytes) = self.retention_bytes {
                retention.max_bytes_per_partition = bytes;
            }
            spec = spec.retention(retention);
        }
        if let Some(bytes) = self.max_event_bytes {
            spec = spec.max_event_bytes(bytes);
        }
        if let Some(enforcement) = self.schema_enforcement {
            spec = spec.schema_enforcement(match enforcement {
                Enforcement::Off => SchemaEnforcement::Off,
                Enforcement::Warn => SchemaEnforcement::Warn,
                Enforcement::Reject => SchemaEnforcement::Reject,
            });
        }
        if let Some(compatibility) = self.schema_compatibility {
            spec = spec.schema_compatibility(compatibility.into());
        }
        if let Some(kept) = self.key_retention {
            spec = spec.key_retention((!kept.is_zero()).then_some(kept));
        }
        if !self.labels.is_empty() {
            spec = spec.labels(self.labels);
        }
        spec
    }
}
