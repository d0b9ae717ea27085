//! `eventflow alert`: thresholds on how far groups are behind, and who is told.

use std::time::Duration;

use eventflow::{
    Client,
    alerts::{AlertSpec, Measure, NewAlert},
};
use futures_util::TryStreamExt;
use serde_json::json;

use super::{alert_views as views, group_named, sure::be_sure};
use crate::{
    failure::{Exit, Failure, Result},
    output::{self, Output, note},
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
    /// Make an alert; the secret of its webhook is shown once
    Create {
        group: String,
        name: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Alerts and their state: of all groups, or of one
    List {
        /// Only alerts of this group
        #[arg(long)]
        group: Option<String>,
    },
    /// One alert, its value, and what came of telling its webhook
    Show { group: String, name: String },
    /// Change what is given
    Update {
        group: String,
        name: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Remove an alert; nobody is told
    Delete {
        group: String,
        name: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Send the webhook a test, once, and say what came of it
    Test { group: String, name: String },
    /// Make another secret, shown once; for a day notifications are signed with both
    RotateSecret { group: String, name: String },
}

/// What an alert is made of.
#[derive(Debug, clap::Args)]
struct Settings {
    /// What the threshold is on
    #[arg(long, value_name = "MEASURE")]
    measure: Option<Measured>,
    /// It fires while the value is above this: events, seconds or dead letters
    #[arg(long, value_name = "NUMBER")]
    above: Option<i64>,
    /// For how long the value must be above it first, such as 2m, up to 24h; 0 is at once [default: 0]
    #[arg(long = "for", value_name = "AGE", value_parser = parse::age_or_zero)]
    hold: Option<Duration>,
    /// Where notifications go, such as https://hooks.example.com/eventflow; '' is nowhere
    #[arg(long, value_name = "URL")]
    webhook: Option<String>,
    /// For people; notifications hold it
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Measured {
    LagEvents,
    LagSeconds,
    OldestUnackedSeconds,
    DeadLettersPerHour,
}

impl Settings {
    fn spec(self) -> AlertSpec {
        let measure = self.measure.map(|measure| match measure {
            Measured::LagEvents => Measure::LagEvents,
            Measured::LagSeconds => Measure::LagSeconds,
            Measured::OldestUnackedSeconds => Measure::OldestUnackedSeconds,
            Measured::DeadLettersPerHour => Measure::DeadLettersPerHour,
        });
        let mut spec = AlertSpec::default();
        (spec.measure, spec.threshold, spec.hold) = (measure, self.above, self.hold);
        (spec.webhook_url, spec.description) = (self.webhook, self.description);
        spec
    }
}

pub async fn run(arguments: Arguments) -> Result<()> {
    let Arguments { verb, target, output } = arguments;
    let client = target.connect().await?;
    let (alerts, mut out) = (client.alerts(), output.open());
    match verb {
        Verb::Create { group, name, settings } => {
            if settings.measure.is_none() || settings.above.is_none() {
                return Err(Failure::usage("an alert needs --measure and --above"));
            }
            let made = alerts.create(&group, &name, settings.spec()).await;
            show_made(&explained(&client, &group, made).await?, &mut out)
        }
        Verb::List { group: None } => {
            let found: Vec<_> = alerts.list().try_collect().await?;
            out.list(&views::listing(&found))
        }
        Verb::List { group: Some(group) } => {
            let found = alerts.list_of(&group).try_collect::<Vec<_>>().await;
            out.list(&views::listing(&explained(&client, &group, found).await?))
        }
        Verb::Show { group, name } => {
            let alert = explained(&client, &group, alerts.get(&group, &name).await).await?;
            out.object(&views::object(&alert), |paint| views::text(&alert, paint))
        }
        Verb::Update { group, name, settings } => {
            let alert = explained(&client, &group, alerts.update(&group, &name, settings.spec()).await).await?;
            out.object(&views::object(&alert), |paint| views::text(&alert, paint))
        }
        Verb::Delete { group, name, yes } => {
            be_sure(yes, &format!("remove the alert `{name}` of group `{group}`"), &name).await?;
            explained(&client, &group, alerts.delete(&group, &name).await).await?;
            note(format!("removed alert `{name}` of `{group}`"));
            Ok(())
        }
        Verb::Test { group, name } => {
            let test = explained(&client, &group, alerts.test(&group, &name).await).await?;
            let object = json!({"delivered": test.delivered, "http_status": test.http_status, "error": test.error});
            out.object(&object, |_| views::test(&test))?;
            if test.delivered {
                return Ok(());
            }
            let sentence = format!("the webhook did not take the test: {}", test.error);
            Err(Failure::new(Exit::Error, "WEBHOOK_FAILED", sentence))
        }
        Verb::RotateSecret { group, name } => {
            let made = explained(&client, &group, alerts.rotate_secret(&group, &name).await).await?;
            show_secret(&made, &mut out)?;
            note("notifications are signed with the old secret, too, for a day");
            Ok(())
        }
    }
}

/// The alert, and its secret when there is one.
fn show_made(made: &NewAlert, out: &mut Output) -> Result<()> {
    if made.info.webhook_url.is_empty() {
        return out.object(&views::object(&made.info), |paint| views::text(&made.info, paint));
    }
    show_secret(made, out)
}

/// The secret goes to standard output, everything else beside it.
fn show_secret(made: &NewAlert, out: &mut Output) -> Result<()> {
    let (group, name) = (&made.info.group, &made.info.name);
    if made.secret.is_empty() {
        let sentence = format!("the answer with the secret of alert `{name}` was lost");
        let hint = format!("`eventflow alert rotate-secret {group} {name}` makes another one");
        return Err(Failure::new(Exit::Error, "SECRET_LOST", sentence).hint(hint));
    }
    let mut object = views::object(&made.info);
    object["secret"] = json!(made.secret);
    out.object(&object, |_| format!("{}\n", made.secret))?;
    note(format!("alert `{name}` of `{group}` signs with this secret, shown only now: give it to the receiver"));
    Ok(())
}

async fn explained<T>(client: &Client, group: &str, outcome: eventflow::Result<T>) -> Result<T> {
    match outcome {
        Ok(value) => Ok(value),
        Err(error) => Err(group_named(client, group, error).await),
    }
}
