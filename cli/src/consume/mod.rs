//! `eventflow consume`: read a stream, or join a group of it.

mod group;
mod plain;
mod shared;
mod show;
mod tail;
mod template;

use eventflow::{Position, Record};

use crate::{failure::Result, output::Output, parse, target};
use show::Show;

pub use show::object as record_object;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    stream: String,
    /// Only this partition
    #[arg(long, short = 'p', conflicts_with = "group")]
    partition: Option<u32>,
    /// Where to start: earliest, latest, an age such as 1h, a time, or offset:N
    /// [default: earliest with --exit or for a new group, else latest]
    #[arg(long)]
    from: Option<parse::From>,
    /// The newest so many events first
    #[arg(long, value_name = "NUMBER", conflicts_with_all = ["from", "group"],
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    tail: Option<u32>,
    /// Only events that match, such as 'type starts_with "order." and payload.total > 100'; with --group, for a group that
    /// --create-group makes
    #[arg(long, value_name = "EXPRESSION", conflicts_with = "tail")]
    filter: Option<String>,
    /// End when all that is there has been read
    #[arg(long, short = 'e')]
    exit: bool,
    /// End after so many events
    #[arg(long, short = 'n', value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,
    /// pretty, json, jsonl, payload, or a template such as '%p %o %k %v':
    /// %s stream, %p partition, %o offset, %i id, %t type, %k key, %h headers, %v payload, %T append time
    #[arg(long, short = 'f', default_value = "pretty")]
    format: Show,
    /// Join this consumer group; what was shown is committed, or in a shared group acknowledged
    #[arg(long, short = 'g')]
    group: Option<String>,
    /// Name of this member
    #[arg(long, requires = "group")]
    member: Option<String>,
    /// Make the group when it is missing
    #[arg(long, requires = "group")]
    create_group: bool,
    #[command(flatten)]
    target: target::Arguments,
}

pub async fn run(arguments: Arguments) -> Result<()> {
    let client = arguments.target.connect().await?;
    match &arguments.group {
        Some(group) => group::run(&client, group, &arguments).await,
        None if arguments.tail.is_some() => tail::run(&client, &arguments).await,
        None => plain::run(&client, &arguments).await,
    }
}

impl Arguments {
    fn position(&self) -> Position {
        match self.from {
            Some(from) => from.0,
            None if self.exit => Position::Earliest,
            None => Position::Latest,
        }
    }
}

/// Shows records, and says when there have been enough.
struct Printer<'a> {
    show: &'a Show,
    out: Output,
    left: Option<u64>,
}

impl<'a> Printer<'a> {
    fn new(arguments: &'a Arguments) -> Self {
        let out = Output::new(crate::output::Format::Table);
        Self { show: &arguments.format, out, left: arguments.max }
    }

    /// True: that was the last one.
    fn print(&mut self, record: &Record) -> Result<bool> {
        let bytes = self.show.bytes(record, self.out.paint());
        self.out.write(&bytes)?;
        if let Some(left) = &mut self.left {
            *left -= 1;
            return Ok(*left == 0);
        }
        Ok(false)
    }

    fn flush(&mut self) -> Result<()> {
        self.out.flush()
    }
}

/// `hello/0 @ 42, hello/3 @ 7`.
fn places(stream: &str, positions: &[(u32, i64)]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> =
        positions.iter().take(SHOWN).map(|(partition, offset)| format!("{stream}/{partition} @ {offset}")).collect();
    let text = shown.join(", ");
    match positions.len() {
        0 => "no partition yet".to_owned(),
        count if count > SHOWN => format!("{text} and {} more", count - SHOWN),
        _ => text,
    }
}
