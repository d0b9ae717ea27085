//! `eventflow admin`: what an operator does before anybody can sign in.

use eventflow_broker::{
    domain::{
        access::{Grants, Role},
        user,
    },
    identity::{ApiKey, Environment, install_key, invite_first},
    store::{connect, migrate},
};
use serde_json::json;

use super::{database, quota};
use crate::{
    client::{scopes, user::RoleName},
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
    /// Users
    User {
        #[command(subcommand)]
        verb: UserVerb,
    },
}

#[derive(Debug, clap::Subcommand)]
enum UserVerb {
    /// Make a user, and their organization when that is missing; the invitation is shown once
    Create(CreateUser),
}

#[derive(Debug, clap::Args)]
struct CreateUser {
    #[command(flatten)]
    database: database::Arguments,
    /// Organization that the user belongs to
    #[arg(long, value_name = "NAME")]
    organization: String,
    /// Their address
    #[arg(long, value_name = "ADDRESS")]
    email: String,
    /// What they may do
    #[arg(long, value_enum, default_value = "admin")]
    role: RoleName,
    #[command(flatten)]
    output: output::Arguments,
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
        Noun::User { verb: UserVerb::Create(create) } => create_user(create).await,
        Noun::Quota { verb } => quota::run(verb).await,
    }
}

fn check_organization(name: &str) -> Result<()> {
    if name.trim().is_empty() || name.len() > 128 || name.contains(char::is_control) {
        return Err(Failure::usage("--organization takes a name of 1 to 128 bytes"));
    }
    Ok(())
}

async fn create_user(create: CreateUser) -> Result<()> {
    check_organization(&create.organization)?;
    let email = user::email("--email", &create.email)?;
    let role = match create.role {
        RoleName::Viewer => Role::Viewer,
        RoleName::Editor => Role::Editor,
        RoleName::Admin => Role::Admin,
    };
    let url = create.database.url()?;
    let connection = connect::connect(&url, "admin").await?;
    migrate::check_version(connection.client()).await?;
    let token = invite_first(connection.client(), &create.organization, (&email, role)).await?;
    let object = json!({
        "organization": create.organization,
        "email": email,
        "role": role.as_str(),
        "invitation": token,
    });
    create.output.open().object(&object, |_| format!("{token}\n"))?;
    note(format!("hand this to {email}, for `eventflow accept`; it is good once, for seven days"));
    Ok(())
}

async fn create_key(create: CreateKey) -> Result<()> {
    check_organization(&create.organization)?;
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
