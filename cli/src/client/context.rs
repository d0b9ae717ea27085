//! `eventflow context`: remember brokers and keys by name.

use std::{io::IsTerminal, path::PathBuf};

use serde_json::json;

use crate::{
    environment,
    failure::{Failure, Result},
    output::{self, Listing, note},
    target::{
        contexts::{Context, Contexts},
        read_key,
    },
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    #[command(flatten)]
    output: output::Arguments,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// All contexts; the current one has a mark
    List,
    /// Make a context the current one
    Use { name: String },
    /// Remember brokers and a key; the key comes from a file, EVENTFLOW_API_KEY or standard input
    Add(Add),
    /// Forget a context
    Remove { name: String },
}

#[derive(Debug, clap::Args)]
struct Add {
    name: String,
    /// Brokers, such as eventflow://host1:50051,host2:50051?tls=on
    #[arg(long)]
    url: String,
    /// File with the API key
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
}

pub fn run(arguments: Arguments) -> Result<()> {
    let mut contexts = Contexts::load()?;
    match arguments.verb {
        Verb::List => arguments.output.open().list(&listing(&contexts)),
        Verb::Use { name } => {
            contexts.make_current(&name)?;
            contexts.save()?;
            note(format!("the current context is `{name}`"));
            Ok(())
        }
        Verb::Add(add) => remember(contexts, add),
        Verb::Remove { name } => {
            contexts.get(&name)?;
            contexts.remove(&name);
            contexts.save()?;
            note(format!("forgot context `{name}`"));
            Ok(())
        }
    }
}

fn remember(mut contexts: Contexts, add: Add) -> Result<()> {
    let target: eventflow::ConnectionString = add.url.parse()?;
    if target.key_in_url() {
        let sentence = "the URL holds an API key, which others can read on the command line";
        return Err(Failure::usage(sentence).hint("put the key into a file and name it with --api-key-file"));
    }
    let key = match &add.api_key_file {
        Some(path) => Some(read_key(path)?),
        None => environment::api_key().or(key_from_input()?),
    };
    if key.is_none() {
        note("no key was given: the context has brokers only");
    }
    contexts.put(&add.name, Context::new(add.url, key));
    if contexts.current_name().is_none() {
        contexts.make_current(&add.name)?;
    }
    let path = contexts.save()?;
    note(format!("context `{}` is in `{}`", add.name, path.display()));
    Ok(())
}

/// A key that was piped in.
fn key_from_input() -> Result<Option<String>> {
    if std::io::stdin().is_terminal() {
        return Ok(None);
    }
    let text = std::io::read_to_string(std::io::stdin())?;
    Ok(text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()))
}

fn listing(contexts: &Contexts) -> Listing {
    let mut listing = Listing::new(&["", "context", "url", "key"])
        .when_empty("no contexts yet: `eventflow context add NAME --url URL` makes one, and so does `eventflow dev`");
    for (name, context) in contexts.iter() {
        let current = contexts.current_name() == Some(name);
        // The public part tells keys apart; the rest is nobody's business.
        let key = context.key().map_or("-".to_owned(), |key| key.chars().take(20).collect::<String>() + "…");
        let object = json!({ "name": name, "url": context.url, "current": current, "key": key });
        let mark = if current { "*" } else { "" };
        listing.add(object, [mark.to_owned(), name.clone(), context.url.clone(), key]);
    }
    listing
}
