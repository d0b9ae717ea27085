//! `eventflow admin`: what an operator does before anybody can sign in.

use eventflow_broker::{
    domain::access::Grants,
    identity::{ApiKey, Environment, install_key},
    store::{connect, migrate},
};
use serde_json::json;

use super::{database, quota};
use crate::{
    client::scopes,
    failure::{Failure, Result},
    output::{self, note},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    noun: Noun,
}

#[derive(Debug, clap::Subcommand)]
enum Noun {
    /// API keys
    Key {
        #[command(subcommand)]
        verb: KeyVerb,
    },
    /// What organizations and credentials may use, beside the defaults of the brokers' `[limits]`
    Quota {
        #[command(subcommand)]
        verb: quota::Verb,
    },
}

#[derive(Debug, clap::Subcommand)]
enum KeyVerb {
    /// Make a key, and its organization when that is missing; the key is shown once
    Create(CreateKey),
}

#[derive(Debug, clap::Args)]
struct CreateKey {
    #[command(flatten)]
    database: database::Arguments,
    /// Organization that the key belongs to
    #[arg(long, value_name = "NAME")]
    organization: String,
    /// What the key is for
    #[arg(long, default_value = "")]
    description: String,
    #[command(flatten)]
    scopes: scopes::Arguments,
    #[command(flatten)]
    output: output::Arguments,
}

pub async fn run(arguments: Arguments) -> Result<()> {
    match arguments.noun {
        Noun::Key { verb: KeyVerb::Create(create) } => create_key(create).await,
        Noun::Quota { verb } => quota::run(verb).await,
    }
}

async fn create_key(create: CreateKey) -> Result<()> {
    if create.organization.trim().is_empty() || create.organization.len() > 128 {
        return Err(Failure::usage("--organization takes a name of 1 to 128 bytes"));
    }
    let grants = Grants::parse("--scope", create.scopes.texts()?.iter().map(String::as_str))?;
    let url = create.database.url()?;
    let connection = connect::connect(&url, "admin").await?;
    migrate::check_version(connection.client()).await?;
    let key = ApiKey::generate(Environment::Live);
    install_key(connection.client(), &create.organization, &key, &create.description, &grants).await?;
    let revealed = key.reveal();
    let object = json!({
        "organization": create.organization,
        "key_id": key.id().to_string(),
        "scopes": grants.texts(),
        "api_key": revealed,
    });
    create.output.open().object(&object, |_| format!("{revealed}\n"))?;
    note(format!("this key of `{}` is shown only now: keep it where secrets are kept", create.organization));
    Ok(())
}
