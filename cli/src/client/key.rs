//! `eventflow key`: make, list, rotate and revoke API keys.

use std::time::Duration;

use eventflow::api_keys::{KeyInfo, KeySpec, NewKey};
use futures_util::TryStreamExt;
use serde_json::{Value, json};

use super::{scopes, sure::be_sure};
use crate::{
    clock,
    failure::{Exit, Failure, Result},
    output::{self, Listing, Output, note, since},
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
    /// Make a key; it is shown once
    Create(Create),
    /// Keys that may be used: what they may do, who made them, when they were used last
    List {
        /// Also those that were revoked or have expired
        #[arg(long)]
        all: bool,
    },
    /// Make a key that takes the place of another one, which ends after an overlap; it is shown once
    Rotate(Rotate),
    /// End a key and its open streams, everywhere within five seconds
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
struct Create {
    /// What the key is for
    #[arg(long, default_value = "")]
    description: String,
    #[command(flatten)]
    scopes: scopes::Arguments,
    /// When the key ends by itself, such as 90d [default: never]
    #[arg(long, value_name = "AGE", value_parser = parse::age)]
    expires_in: Option<Duration>,
    /// Make a key that begins with ef_test_
    #[arg(long)]
    test: bool,
}

#[derive(Debug, clap::Args)]
struct Rotate {
    /// Id of the key, as `key list` shows it
    id: String,
    /// How long the old key goes on, up to 30d; 0 ends it at once [default: 1d]
    #[arg(long, value_name = "AGE", value_parser = parse::age_or_zero)]
    overlap: Option<Duration>,
}

#[derive(Debug, clap::Args)]
struct Revoke {
    /// Id of the key, as `key list` shows it
    id: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub async fn run(arguments: Arguments) -> Result<()> {
    let Arguments { verb, target, output } = arguments;
    let keys = target.connect().await?.api_keys();
    let mut out = output.open();
    match verb {
        Verb::Create(create) => {
            let mut spec = KeySpec::new(scopes::grants(&create.scopes.texts()?)?).description(create.description);
            if let Some(lifetime) = create.expires_in {
                spec = spec.expire_time(clock::from_now(lifetime));
            }
            if create.test {
                spec = spec.test();
            }
            show_once(&keys.create(spec).await?, &mut out)
        }
        Verb::List { all } => {
            let list = if all { keys.list_with_ended() } else { keys.list() };
            let found: Vec<_> = list.try_collect().await?;
            out.list(&listing(&found))
        }
        Verb::Rotate(rotate) => {
            let made = keys.rotate(&rotate.id, rotate.overlap).await?;
            show_once(&made, &mut out)?;
            if let Some(end) = made.old_expire_time {
                note(format!("the old key `{}` ends at {} UTC", rotate.id, since(end)));
            }
            Ok(())
        }
        Verb::Revoke(revoke) => {
            be_sure(revoke.yes, &format!("end the key `{}` and its open streams", revoke.id), &revoke.id).await?;
            let key = keys.revoke(&revoke.id).await?;
            note(format!("revoked {}; brokers refuse it within five seconds", key.masked));
            Ok(())
        }
    }
}

/// The secret goes to standard output, everything else beside it.
fn show_once(made: &NewKey, out: &mut Output) -> Result<()> {
    if made.secret.is_empty() {
        let sentence = format!("key `{}` was made, but the answer with its secret was lost", made.info.id);
        let hint = format!("`eventflow key revoke {}`, and make another one", made.info.id);
        return Err(Failure::new(Exit::Error, "SECRET_LOST", sentence).hint(hint));
    }
    let mut object = object(&made.info);
    object["api_key"] = json!(made.secret);
    out.object(&object, |_| format!("{}\n", made.secret))?;
    note("this key is shown only now: keep it where secrets are kept");
    Ok(())
}

fn object(key: &KeyInfo) -> Value {
    json!({
        "id": key.id,
        "masked": key.masked,
        "description": key.description,
        "scopes": scopes::written(&key.grants),
        "creator": key.creator,
        "created": since(key.create_time),
        "expires": key.expire_time.map(since),
        "last_used": key.last_use_time.map(since),
        "revoked": key.revoke_time.map(since),
        "successor": key.successor,
    })
}

fn listing(keys: &[KeyInfo]) -> Listing {
    let columns = ["id", "scopes", "creator", "created (UTC)", "last used (UTC)", "ends (UTC)", "description"];
    let mut listing = Listing::new(&columns).when_empty("no keys: `eventflow key create` makes one");
    for key in keys {
        let scopes = scopes::written(&key.grants);
        let scopes =
            if scopes == ["publish", "consume", "read", "manage"] { "all".to_owned() } else { scopes.join(" ") };
        let when = |time: Option<_>| time.map_or("-".to_owned(), since);
        let ends = key.revoke_time.map_or_else(|| when(key.expire_time), |time| format!("revoked {}", since(time)));
        let row = [
            key.id.clone(),
            scopes,
            key.creator.clone(),
            since(key.create_time),
            when(key.last_use_time),
            ends,
            key.description.clone(),
        ];
        listing.add(object(key), row);
    }
    listing
}
