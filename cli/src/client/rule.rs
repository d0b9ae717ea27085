//! `eventflow rule`: what becomes of copies of a stream's events.

use std::collections::BTreeMap;

use eventflow::{
    Client,
    rules::{RuleAction, RuleSpec},
};

use super::{rule_views as views, stream_named, sure::be_sure};
use crate::{
    failure::{Failure, Result},
    output::{self, Output, note},
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
    /// Make a rule; without an action it only counts what matches
    Create {
        stream: String,
        name: String,
        #[command(flatten)]
        settings: Settings,
        /// Make it switched off
        #[arg(long)]
        disabled: bool,
    },
    /// The rules of a stream in their order
    List { stream: String },
    /// One rule
    Describe { stream: String, name: String },
    /// Change what is given
    Update {
        stream: String,
        name: String,
        #[command(flatten)]
        settings: Settings,
        /// It only counts what matches
        #[arg(long, group = "action")]
        pass: bool,
    },
    /// Remove a rule
    Delete {
        stream: String,
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Switch a rule on
    Enable { stream: String, name: String },
    /// Switch a rule off
    Disable { stream: String, name: String },
    /// What would it have done with the newest stored events? Nothing is done
    Test {
        stream: String,
        /// A rule of the stream, tried alone; without a name or an action, all that are switched on
        name: Option<String>,
        #[command(flatten)]
        settings: Settings,
        /// So many of the newest stored events, up to 10,000
        #[arg(long, value_name = "EVENTS", default_value_t = 1_000)]
        events: u32,
    },
    /// How far the rules of a stream are, and what each has done
    Status { stream: String },
}

/// What a rule is made of.
#[derive(Debug, Default, clap::Args)]
struct Settings {
    /// Which events, such as `type == "order.paid"`; empty: every one
    #[arg(long, value_name = "EXPRESSION")]
    filter: Option<String>,
    /// No later rule sees the event
    #[arg(long, group = "action")]
    drop: bool,
    /// A copy goes to this stream
    #[arg(long, group = "action", value_name = "STREAM")]
    route: Option<String>,
    /// Set a header, for the rules behind it; may come more than once
    #[arg(long, value_name = "NAME=VALUE", conflicts_with = "action")]
    set_header: Vec<String>,
    /// Remove a header, for the rules behind it; may come more than once
    #[arg(long, value_name = "NAME", conflicts_with = "action")]
    remove_header: Vec<String>,
    /// Redact a field of the JSON payload, such as `/card/number`, for the rules behind it; may come more than once
    #[arg(long, value_name = "POINTER", conflicts_with_all = ["action", "set_header", "remove_header"])]
    redact: Vec<String>,
    /// Place in the order, from 1; 0 is the last
    #[arg(long, value_name = "NUMBER")]
    position: Option<u32>,
    /// For people
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

impl Settings {
    fn spec(self) -> Result<RuleSpec> {
        let action = self.action()?;
        let mut spec = RuleSpec::default();
        (spec.action, spec.filter) = (action, self.filter);
        (spec.position, spec.description) = (self.position, self.description);
        Ok(spec)
    }

    fn action(&self) -> Result<Option<RuleAction>> {
        if self.drop {
            return Ok(Some(RuleAction::Drop));
        }
        if let Some(stream) = &self.route {
            return Ok(Some(RuleAction::Route { stream: stream.clone() }));
        }
        if !self.redact.is_empty() {
            return Ok(Some(RuleAction::Redact { fields: self.redact.clone() }));
        }
        if self.set_header.is_empty() && self.remove_header.is_empty() {
            return Ok(None);
        }
        let mut set = BTreeMap::new();
        for header in &self.set_header {
            let Some((name, value)) = header.split_once('=') else {
                return Err(Failure::usage(format!("`{header}` is no NAME=VALUE")));
            };
            set.insert(name.to_owned(), value.to_owned());
        }
        Ok(Some(RuleAction::Headers { set, remove: self.remove_header.clone() }))
    }
}

pub async fn run(arguments: Arguments) -> Result<()> {
    let Arguments { verb, target, output } = arguments;
    let client = target.connect().await?;
    let mut out = output.open();
    match verb {
        Verb::Create { stream, name, settings, disabled } => {
            let mut spec = settings.spec()?;
            spec.disabled = disabled.then_some(true);
            let rule = client.rules().create(&stream, &name, spec).await;
            let rule = explained(&client, &stream, rule).await?;
            out.object(&views::object(&rule), |paint| views::text(&rule, paint))
        }
        Verb::List { stream } => {
            let rules = explained(&client, &stream, client.rules().list(&stream).await).await?;
            out.list(&views::listing(&rules))
        }
        Verb::Describe { stream, name } => {
            let rule = explained(&client, &stream, client.rules().get(&stream, &name).await).await?;
            out.object(&views::object(&rule), |paint| views::text(&rule, paint))
        }
        Verb::Update { stream, name, settings, pass } => {
            let mut spec = settings.spec()?;
            if pass {
                spec.action = Some(RuleAction::Pass);
            }
            let rule = explained(&client, &stream, client.rules().update(&stream, &name, spec).await).await?;
            out.object(&views::object(&rule), |paint| views::text(&rule, paint))
        }
        Verb::Delete { stream, name, yes } => {
            be_sure(yes, &format!("remove the rule `{name}` of stream `{stream}`"), &name).await?;
            explained(&client, &stream, client.rules().delete(&stream, &name).await).await?;
            note(format!("removed rule `{name}` of `{stream}`"));
            Ok(())
        }
        Verb::Enable { stream, name } => {
            let rule = explained(&client, &stream, client.rules().enable(&stream, &name).await).await?;
            out.object(&views::object(&rule), |paint| views::text(&rule, paint))
        }
        Verb::Disable { stream, name } => {
            let rule = explained(&client, &stream, client.rules().disable(&stream, &name).await).await?;
            out.object(&views::object(&rule), |paint| views::text(&rule, paint))
        }
        Verb::Test { stream, name, settings, events } => test(&client, stream, name, settings, events, &mut out).await,
        Verb::Status { stream } => {
            let status = explained(&client, &stream, client.rules().status(&stream).await).await?;
            out.object(&views::status_object(&status), |paint| views::status(&status, paint))
        }
    }
}

async fn test(
    client: &Client,
    stream: String,
    name: Option<String>,
    settings: Settings,
    events: u32,
    out: &mut Output,
) -> Result<()> {
    let spec = settings.spec()?;
    let is_candidate = spec.action.is_some() || spec.filter.is_some();
    let tested = match (&name, is_candidate) {
        (Some(_), true) => return Err(Failure::usage("give the name of a rule, or what a rule would be, not both")),
        (name, false) => client.rules().test_stored(&stream, name.as_deref(), events).await,
        (None, true) => client.rules().test(&stream, spec, events).await,
    };
    let report = explained(client, &stream, tested).await?;
    out.object(&views::test_object(&report), |paint| views::test(&report, paint))
}

async fn explained<T>(client: &Client, stream: &str, outcome: eventflow::Result<T>) -> Result<T> {
    match outcome {
        Ok(value) => Ok(value),
        Err(error) => Err(stream_named(client, stream, error).await),
    }
}
