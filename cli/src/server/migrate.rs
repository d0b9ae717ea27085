//! `eventflow migrate`: bring the schema to what this version needs.

use eventflow_broker::store::{
    connect,
    epoch::{self, Raise},
    migrate,
};
use serde_json::json;

use super::database;
use crate::{failure::Result, output};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    database: database::Arguments,
    /// The database was restored from a backup: raise the log epoch, so that no offset is used twice
    #[arg(long)]
    after_restore: bool,
    #[command(flatten)]
    output: output::Arguments,
}

pub async fn run(arguments: Arguments) -> Result<()> {
    let url = arguments.database.url()?;
    let migrated = migrate::migrate(&url).await?;
    let mut log_epoch = None;
    if arguments.after_restore {
        let connection = connect::connect(&url, "migrate").await?;
        log_epoch = Some(epoch::check(connection.client(), Raise::Always).await?);
    }
    let object = json!({ "from": migrated.from, "to": migrated.to, "log_epoch": log_epoch });
    arguments.output.open().object(&object, |_| {
        let mut text = match (migrated.from, migrated.to) {
            (from, to) if from == to => {
                format!("{} is up to date (schema version {to})\n", url.describe())
            }
            (0, to) => format!("{} now has schema version {to}\n", url.describe()),
            (from, to) => format!("{}: schema version {from} became {to}\n", url.describe()),
        };
        if let Some(epoch) = log_epoch {
            text.push_str(&format!("the log epoch is now {epoch}; restart brokers or wait for them to notice\n"));
        }
        text
    })
}
