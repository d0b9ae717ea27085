//! `eventflow schema`: register, look at, compare and try the schemas of a stream.

use std::{io::Read, path::PathBuf};

use eventflow::{Client, Event, SchemaCompatibility};
use futures_util::TryStreamExt;

use super::{schema_views as views, stream_named};
use crate::{
    failure::{Exit, Failure, Result},
    output::{self, Output},
    target,
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
    /// Register a JSON Schema for an event type, or for all types that have none of their own
    Register(Candidate),
    /// The newest schemas of a stream, or all versions of one
    List {
        stream: String,
        /// All versions of the schema of this event type
        #[arg(long = "type", short = 't', value_name = "TYPE")]
        event_type: Option<String>,
    },
    /// One schema, as it was registered
    Show {
        stream: String,
        /// Event type; without it, the schema for all types that have none of their own
        #[arg(long = "type", short = 't', value_name = "TYPE", default_value = "")]
        event_type: String,
        /// Version [default: the newest]
        #[arg(long)]
        version: Option<u32>,
    },
    /// Would it be registered, and would stored events fit? Exit code 5 when not
    Check {
        #[command(flatten)]
        candidate: Candidate,
        /// The mode to check by, instead of the stream's
        #[arg(long, value_enum)]
        compatibility: Option<Compatibility>,
        /// Also validate so many of the newest stored events, up to 10,000
        #[arg(long, value_name = "EVENTS")]
        history: Option<u32>,
    },
    /// Does a payload fit its schema? Nothing is published; exit code 1 when not
    Validate {
        stream: String,
        /// The payload; without it, the file
        #[arg(conflicts_with = "file", required_unless_present = "file")]
        payload: Option<String>,
        /// A file with one payload; `-` is standard input
        #[arg(long, short = 'f', value_name = "FILE")]
        file: Option<PathBuf>,
        /// Type of the event
        #[arg(long = "type", short = 't', value_name = "TYPE", default_value = "")]
        event_type: String,
    },
}

#[derive(Debug, clap::Args)]
struct Candidate {
    stream: String,
    /// A file with a JSON Schema; `-` is standard input
    file: PathBuf,
    /// Event type; without it, the schema applies to all types that have none of their own
    #[arg(long = "type", short = 't', value_name = "TYPE", default_value = "")]
    event_type: String,
}

/// What a new version must keep of the newest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Compatibility {
    /// Nothing
    None,
    /// It accepts all that the newest one accepts
    Backward,
    /// The newest one accepts all that it accepts
    Forward,
    /// Both
    Full,
}

impl From<Compatibility> for SchemaCompatibility {
    fn from(compatibility: Compatibility) -> Self {
        match compatibility {
            Compatibility::None => Self::None,
            Compatibility::Backward => Self::Backward,
            Compatibility::Forward => Self::Forward,
            Compatibility::Full => Self::Full,
        }
    }
}

pub async fn run(arguments: Arguments) -> Result<()> {
    let Arguments { verb, target, output } = arguments;
    let client = target.connect().await?;
    let mut out = output.open();
    match verb {
        Verb::Register(candidate) => register(&client, candidate, &mut out).await,
        Verb::List { stream, event_type } => {
            let list = match event_type {
                Some(event_type) => client.schemas().versions(&stream, event_type),
                None => client.schemas().list(&stream),
            };
            let schemas: Vec<_> = explained(&client, &stream, list.try_collect().await).await?;
            out.list(&views::listing(&schemas))
        }
        Verb::Show { stream, event_type, version } => {
            let schema = client.schemas().get(&stream, &event_type, version).await;
            let schema = explained(&client, &stream, schema).await?;
            out.object(&views::object(&schema), |_| format!("{}\n", schema.definition.trim_end()))
        }
        Verb::Check { candidate, compatibility, history } => {
            check(&client, candidate, compatibility.map(Into::into), history, &mut out).await
        }
        Verb::Validate { stream, payload, file, event_type } => {
            let payload = match (payload, file) {
                (Some(payload), _) => payload,
                (None, Some(file)) => read(&file)?,
                (None, None) => return Err(Failure::usage("give a payload, or --file")),
            };
            validate(&client, &stream, Event::new(payload).with_type(event_type), &mut out).await
        }
    }
}

async fn register(client: &Client, candidate: Candidate, out: &mut Output) -> Result<()> {
    let Candidate { stream, file, event_type } = candidate;
    let registered = client.schemas().register(&stream, &event_type, &read(&file)?).await;
    let schema = explained(client, &stream, registered).await?;
    out.object(&views::object(&schema), |_| {
        format!("version {} of {} of `{stream}`\n", schema.version, views::called(&schema.event_type))
    })
}

async fn check(
    client: &Client,
    candidate: Candidate,
    compatibility: Option<SchemaCompatibility>,
    history: Option<u32>,
    out: &mut Output,
) -> Result<()> {
    let Candidate { stream, file, event_type } = candidate;
    let definition = read(&file)?;
    let checked = client.schemas().check(&stream, &event_type, &definition, compatibility).await;
    let checked = explained(client, &stream, checked).await?;
    let history = match history {
        Some(events) => Some(client.schemas().check_against_history(&stream, &event_type, &definition, events).await?),
        None => None,
    };
    let object = views::check_object(&checked, history.as_ref());
    out.object(&object, |paint| views::check(&checked, history.as_ref(), paint))?;
    if !checked.compatible {
        let sentence = format!("it cannot follow version {}", checked.compared_version);
        return Err(Failure::new(Exit::Conflict, "SCHEMA_INCOMPATIBLE", sentence));
    }
    match history {
        Some(history) if history.broken > 0 => {
            let sentence = format!("{} of {} stored events do not fit", history.broken, history.checked);
            Err(Failure::new(Exit::Conflict, "SCHEMA_VIOLATION", sentence))
        }
        _ => Ok(()),
    }
}

async fn validate(client: &Client, stream: &str, event: Event, out: &mut Output) -> Result<()> {
    let report = explained(client, stream, client.schemas().validate(stream, event).await).await?;
    out.object(&views::validation_object(&report), |_| views::validation(&report))?;
    if report.valid {
        return Ok(());
    }
    let sentence = format!("the payload does not fit {}", views::called(&report.schema_event_type));
    Err(Failure::new(Exit::Error, "SCHEMA_VIOLATION", sentence))
}

fn read(path: &PathBuf) -> Result<String> {
    let text = if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    text.map_err(|error| Failure::file("read", path, &error))
}

async fn explained<T>(client: &Client, stream: &str, outcome: eventflow::Result<T>) -> Result<T> {
    match outcome {
        Ok(value) => Ok(value),
        Err(error) => Err(stream_named(client, stream, error).await),
    }
}
