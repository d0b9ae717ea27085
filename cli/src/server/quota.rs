//! `eventflow admin quota`: what an organization or a credential may use, set by an operator on the database.

use eventflow_broker::{
    domain::quota::Quota,
    store::{connect, migrate, quotas},
};
use serde_json::json;

use super::database;
use crate::{
    failure::{Failure, Result},
    output::{self, Listing, count, note},
};

#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// Set limits; brokers know within 5 s
    Set(Set),
    /// Let the defaults hold again
    Clear(Clear),
    /// Show what is set
    List(List),
}

#[derive(Debug, clap::Args)]
struct Owner {
    #[command(flatten)]
    database: database::Arguments,
    /// Organization that is limited
    #[arg(long, value_name = "NAME")]
    organization: String,
    /// Limit one credential of it, as events name their publisher, such as `key:4fTq81Zw0Abc`
    #[arg(long, value_name = "NAME", default_value = "")]
    credential: String,
}

#[derive(Debug, clap::Args)]
pub struct Set {
    #[command(flatten)]
    owner: Owner,
    /// What and how much, such as `events_per_second=1000`; `none` is no limit at all, whatever the default
    #[arg(required = true, value_name = "QUOTA=LIMIT")]
    limits: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub struct Clear {
    #[command(flatten)]
    owner: Owner,
    /// Which; without one, all that is set for the owner
    quota: Option<String>,
}

#[derive(Debug, clap::Args)]
pub struct List {
    #[command(flatten)]
    database: database::Arguments,
    /// Only of this organization
    #[arg(long, value_name = "NAME")]
    organization: Option<String>,
    #[command(flatten)]
    output: output::Arguments,
}

pub async fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Set(arguments) => set(arguments).await,
        Verb::Clear(arguments) => clear(arguments).await,
        Verb::List(arguments) => list(arguments).await,
    }
}

async fn set(arguments: Set) -> Result<()> {
    let Set { owner, limits } = arguments;
    // All of them before any is set.
    let limits = limits.iter().map(|text| limit(&owner, text)).collect::<Result<Vec<_>>>()?;
    let connection = open(&owner.database).await?;
    for (quota, limit) in limits {
        if !quotas::set(connection.client(), &owner.organization, &owner.credential, quota, limit).await? {
            return Err(unknown(&owner.organization));
        }
    }
    note("set; brokers know within 5 s");
    Ok(())
}

async fn clear(arguments: Clear) -> Result<()> {
    let Clear { owner, quota } = arguments;
    let quota = quota.as_deref().map(named).transpose()?;
    let connection = open(&owner.database).await?;
    let removed = quotas::clear(connection.client(), &owner.organization, &owner.credential, quota).await?;
    let removed = removed.ok_or_else(|| unknown(&owner.organization))?;
    note(format!("removed {removed}; the defaults of the brokers hold within 5 s"));
    Ok(())
}

async fn list(arguments: List) -> Result<()> {
    let connection = open(&arguments.database).await?;
    let found = quotas::list(connection.client(), arguments.organization.as_deref()).await?;
    let mut listing = Listing::new(&["organization", "credential", "quota", "#limit"])
        .when_empty("nothing is set: the brokers' `[limits]` hold for everybody");
    for found in found {
        let limit = found.limit.map_or("none".to_owned(), count);
        let credential = if found.credential.is_empty() { "(all)".to_owned() } else { found.credential.clone() };
        let object = json!({
            "organization": found.organization,
            "credential": found.credential,
            "quota": found.quota,
            "limit": found.limit,
        });
        listing.add(object, [found.organization, credential, found.quota, limit]);
    }
    arguments.output.open().list(&listing)
}

async fn open(arguments: &database::Arguments) -> Result<connect::Connection> {
    let connection = connect::connect(&arguments.url()?, "admin").await?;
    migrate::check_version(connection.client()).await?;
    Ok(connection)
}

fn limit(owner: &Owner, text: &str) -> Result<(Quota, Option<i64>)> {
    let (name, value) =
        text.split_once('=').ok_or_else(|| Failure::usage(format!("`{text}` must be `quota=limit`")))?;
    let quota = named(name)?;
    if !owner.credential.is_empty() && !quota.is_of_credentials() {
        return Err(Failure::usage(format!("`{name}` is a limit of organizations, not of credentials")));
    }
    match value {
        "none" => Ok((quota, None)),
        value => match value.parse::<i64>() {
            Ok(limit) if limit >= 0 => Ok((quota, Some(limit))),
            _ => Err(Failure::usage(format!("the limit of `{name}` must be a whole number from 0, or `none`"))),
        },
    }
}

fn named(name: &str) -> Result<Quota> {
    Quota::parse(name).ok_or_else(|| {
        let known: Vec<&str> = Quota::ALL.iter().map(|quota| quota.name()).collect();
        Failure::usage(format!("`{name}` is no quota; they are {}", known.join(", ")))
    })
}

fn unknown(organization: &str) -> Failure {
    Failure::usage(format!("there is no organization `{organization}`"))
}
