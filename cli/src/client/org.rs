//! `eventflow org`: the organization itself.

use eventflow::organization::OrganizationInfo;
use serde_json::json;

use crate::{
    failure::Result,
    output::{self, since},
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
    /// Its name, and since when it exists
    Show,
    /// Change what people call it; the name for signing in stays
    Rename { display_name: String },
}

pub async fn run(arguments: Arguments) -> Result<()> {
    let Arguments { verb, target, output } = arguments;
    let own = target.connect().await?.organization();
    let organization = match verb {
        Verb::Show => own.get().await?,
        Verb::Rename { display_name } => own.rename(&display_name).await?,
    };
    let OrganizationInfo { name, display_name, .. } = &organization;
    let created = since(organization.create_time);
    let object = json!({ "name": name, "display_name": display_name, "created": created });
    let called = if display_name.is_empty() { String::new() } else { format!(" ({display_name})") };
    output.open().object(&object, |_| format!("{name}{called}, since {created} UTC\n"))
}
