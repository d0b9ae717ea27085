//! `eventflow publish`: one event from the command line, or many from a file or standard input.

mod many;
mod one;
mod pace;
mod rows;
mod source;

use std::{io::IsTerminal, path::PathBuf};

use eventflow::Event;

pub use pace::Pace;
pub use rows::Numbers;

use crate::{
    clock,
    failure::{Failure, Result},
    output, parse, target,
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    stream: String,
    /// The event's payload
    #[arg(conflicts_with = "file")]
    payload: Option<String>,
    /// Many events from a file; `-` is standard input
    #[arg(long, short = 'f', value_name = "FILE")]
    file: Option<PathBuf>,
    /// Shape of the file; by its name unless given
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    fields: Fields,
    /// Publish only if this is the next offset of the partition; for a single event, with --partition
    #[arg(long, value_name = "OFFSET", requires = "partition", conflicts_with = "file")]
    expect_offset: Option<i64>,
    /// Publish only if this is the offset of the key's last event, or `none` if it has no event yet; for a single event, with --key, to
    /// a stream made with --track-keys
    #[arg(long, value_name = "OFFSET|none", value_parser = last_offset, requires = "key", conflicts_with_all = ["file", "expect_offset", "partition"])]
    expect_last: Option<Last>,
    /// Events a second, at most
    #[arg(long, value_name = "NUMBER", value_parser = positive)]
    rate: Option<f64>,
    #[command(flatten)]
    target: target::Arguments,
    #[command(flatten)]
    output: output::Arguments,
}

/// Where the parts of an event come from.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Events")]
pub struct Fields {
    /// Key of every event; it chooses the partition
    #[arg(long, short = 'k')]
    key: Option<String>,
    /// Partition of every event, instead of the one that its key chooses
    #[arg(long, short = 'p', value_name = "NUMBER")]
    partition: Option<u32>,
    /// Type of every event, such as order.paid
    #[arg(long = "type", short = 't', value_name = "TYPE")]
    event_type: Option<String>,
    /// Content type of every event; application/json where the payload is JSON, unless given
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// A header of every event
    #[arg(long = "header", short = 'H', value_name = "NAME=VALUE", value_parser = parse::pair)]
    headers: Vec<(String, String)>,
    /// When shared groups get the events, such as 2026-01-31T09:30:00Z; at most 30 days from now
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    deliver_at: Option<std::time::SystemTime>,
    /// The same, counted from now
    #[arg(long, value_name = "AGE", value_parser = parse::age, conflicts_with = "deliver_at")]
    delay: Option<std::time::Duration>,
    /// Idempotency key: of a single event the key itself, of a file the column or JSON field that holds it (several, separated by
    /// commas, are one key together). An event whose key is known is not appended again
    #[arg(long, value_name = "KEY|COLUMN", value_delimiter = ',')]
    idempotency_key: Vec<String>,
    /// Column or JSON field that holds the key
    #[arg(long, value_name = "NAME", conflicts_with = "key")]
    key_column: Option<String>,
    /// Column or JSON field that holds the type
    #[arg(long, value_name = "NAME", conflicts_with = "event_type")]
    type_column: Option<String>,
    /// Column or JSON field that holds the time; without an offset it is UTC
    #[arg(long, value_name = "NAME")]
    time_column: Option<String>,
}

/// What a file of events looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A JSON value a line
    Ndjson,
    /// A row an event, after a line of column names; the payload is the row as a JSON object
    Csv,
    /// A line an event, as it is
    Lines,
}

/// Where the last event of a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Last(Option<i64>);

fn last_offset(text: &str) -> std::result::Result<Last, String> {
    match text.parse() {
        Ok(offset) if offset >= 0 => Ok(Last(Some(offset))),
        _ if text == "none" => Ok(Last(None)),
        _ => Err("must be an offset, or `none`".to_owned()),
    }
}

fn positive(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && f64::is_finite(rate) => Ok(rate),
        _ => Err("must be a number above 0".to_owned()),
    }
}

pub async fn run(arguments: Arguments) -> Result<()> {
    let piped = !std::io::stdin().is_terminal();
    match (&arguments.payload, &arguments.file) {
        (Some(_), _) => one::run(arguments).await,
        (None, Some(_)) => many::run(arguments).await,
        (None, None) if piped => many::run(arguments).await,
        (None, None) => Err(Failure::usage("nothing to publish: give a payload, or --file")),
    }
}

impl Fields {
    /// An event with everything that all events share.
    fn event(&self, payload: impl Into<bytes::Bytes>, json: bool) -> Event {
        let mut event = Event::new(payload);
        if let Some(key) = &self.key {
            event = event.with_key(key);
        }
        if let Some(partition) = self.partition {
            event = event.with_partition(partition);
        }
        if let Some(event_type) = &self.event_type {
            event = event.with_type(event_type);
        }
        if let Some(time) = self.deliver_at.or_else(|| self.delay.map(clock::from_now)) {
            event = event.with_deliver_at(time);
        }
        match &self.content_type {
            Some(content_type) => event = event.with_content_type(content_type),
            None if json => event = event.with_content_type("application/json"),
            None => {}
        }
        self.headers.iter().fold(event, |event, (name, value)| event.with_header(name, value))
    }

    fn uses_columns(&self) -> bool {
        self.key_column.is_some() || self.type_column.is_some() || self.time_column.is_some()
    }

    /// Whether anything is taken from a row.
    fn needs_rows(&self) -> bool {
        self.uses_columns() || !self.idempotency_key.is_empty()
    }
}
