//! `eventflow doctor`: is this deployment fit for production? Every finding says what to change.

use eventflow_broker::redis::Away;
use eventflow_broker::store::{
    DatabaseUrl, durability, migrate,
    status::{self, BrokerStatus, Inspection, ServerStatus, Setting, Way},
};
use serde_json::json;

use super::{database, redis};
use crate::{
    failure::{Exit, Failure, Result},
    output::{self, Paint, Style, note},
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    database: database::Arguments,
    #[command(flatten)]
    redis: redis::Arguments,
    #[command(flatten)]
    output: output::Arguments,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grade {
    Good,
    /// Worth a change, and no reason to wait.
    Warning,
    /// Not fit.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    grade: Grade,
    what: String,
    fix: Option<String>,
}

impl Finding {
    fn good(what: impl Into<String>) -> Self {
        Self { grade: Grade::Good, what: what.into(), fix: None }
    }

    fn warning(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { grade: Grade::Warning, what: what.into(), fix: Some(fix.into()) }
    }

    fn bad(what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { grade: Grade::Bad, what: what.into(), fix: Some(fix.into()) }
    }
}

pub async fn run(arguments: Arguments) -> Result<()> {
    let url = arguments.database.url()?;
    let mut findings = examine(&url).await?;
    if let Some(mut redis) = arguments.redis.open()? {
        findings.push(of_redis(redis.check().await, redis.describe()));
    }
    let fit = findings.iter().all(|finding| finding.grade != Grade::Bad);
    let object = json!({
        "fit": fit,
        "findings": findings.iter().map(object).collect::<Vec<_>>(),
    });
    arguments.output.open().object(&object, |paint| findings.iter().map(|finding| line(finding, paint)).collect())?;
    if fit {
        return Ok(());
    }
    note("not fit for production: repair what has a ✗");
    Err(Failure::said(Exit::Error))
}

async fn examine(url: &DatabaseUrl) -> Result<Vec<Finding>> {
    let inspection = Inspection::open(url).await?;
    let client = inspection.client();
    let mut findings = of_durability(&durability::check(client).await?);
    if let Err(error) = migrate::check_version(client).await {
        findings.push(Finding::bad(error.to_string(), "bring schema and brokers together before you go on"));
        return Ok(findings);
    }
    inspection.act_as_owner().await?;
    let server = status::server(client).await?;
    findings.push(Finding::good(format!("schema version {}", server.schema_version)));
    findings.extend(of_brokers(&status::brokers(client).await?));
    findings.extend(of_server(&server));
    findings.extend(of_settings(&status::settings(client).await?, &server));
    findings.push(of_transport(url));
    Ok(findings)
}

fn of_durability(found: &durability::Durability) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for unsafe_setting in &found.unsafe_settings {
        let fix = "correct it in postgresql.conf or on the right server, then reload or restart Postgres";
        findings.push(Finding::bad(unsafe_setting, fix));
    }
    for warning in &found.warnings {
        let fix = if warning.contains("checksums") {
            "stop Postgres and run `pg_checksums --enable`"
        } else {
            "set it to `on` for this database"
        };
        findings.push(Finding::warning(warning, fix));
    }
    if found.unsafe_settings.is_empty() {
        findings.insert(0, Finding::good("Postgres keeps what it acknowledges"));
    }
    findings
}

fn of_brokers(brokers: &[BrokerStatus]) -> Vec<Finding> {
    let alive: Vec<&BrokerStatus> = brokers.iter().filter(|broker| broker.lease_seconds_left > 0.0).collect();
    let mut versions: Vec<&str> = alive.iter().map(|broker| broker.version.as_str()).collect();
    versions.sort_unstable();
    versions.dedup();
    let mut findings = vec![match alive.len() {
        0 => Finding::bad("no broker runs", "start `eventflow serve`, at least twice"),
        1 => Finding::warning("one broker runs: its restart is an outage", "start a second `eventflow serve`"),
        count => Finding::good(format!("{count} brokers run")),
    }];
    if versions.len() > 1 {
        let what = format!("brokers of versions {} run side by side", versions.join(", "));
        findings.push(Finding::warning(what, "finish the upgrade"));
    }
    findings
}

fn of_server(server: &ServerStatus) -> Vec<Finding> {
    const OLD_TRANSACTION_SECONDS: f64 = 300.0;
    let mut findings = Vec::new();
    if server.api_keys == 0 {
        findings.push(Finding::bad(
            "there is no API key: nobody can call",
            "make one with `eventflow admin key create --organization NAME`",
        ));
    }
    if server.oldest_transaction_seconds > OLD_TRANSACTION_SECONDS {
        let what = format!(
            "a transaction is open for {:.0} s: vacuum cannot clean behind it",
            server.oldest_transaction_seconds
        );
        findings
            .push(Finding::warning(what, "find it in pg_stat_activity, and set `idle_in_transaction_session_timeout`"));
    }
    if server.idle_slots > 0 {
        let what = format!("{} replication slots are read by nobody: the write-ahead log grows", server.idle_slots);
        findings.push(Finding::warning(what, "start their readers, or drop them with `pg_drop_replication_slot`"));
    }
    findings
}

fn of_settings(settings: &[Setting], server: &ServerStatus) -> Vec<Finding> {
    let value = |name: &str| {
        let found = settings.iter().find(|setting| setting.name == name);
        found.map_or("", |setting| setting.value.as_str())
    };
    let mut findings = Vec::new();
    if value("autovacuum") != "on" {
        findings.push(Finding::bad("`autovacuum` is off: tables grow without end", "set it to `on`"));
    }
    let connections_max: i64 = value("max_connections").parse().unwrap_or(i64::MAX);
    if server.connections * 10 > connections_max * 8 {
        let what = format!("{} of {connections_max} connections are in use", server.connections);
        findings.push(Finding::warning(what, "raise `max_connections`, or lower `database.pool_size` of brokers"));
    }
    if value("synchronous_standby_names").is_empty() {
        findings.push(Finding::warning(
            "no synchronous standby: losing this machine's disk loses acknowledged events",
            "set `synchronous_standby_names`, or make sure that the disk is replicated",
        ));
    }
    findings
}

fn of_transport(url: &DatabaseUrl) -> Finding {
    let way = status::way(url);
    if way == Way::Local {
        return Finding::good("Postgres is on this machine");
    }
    if way == Way::Encrypted {
        return Finding::good("the connection to Postgres is encrypted");
    }
    Finding::warning("the connection to Postgres may go unencrypted", "add `sslmode=require` to the database URL")
}

fn of_redis(answer: std::result::Result<(), Away>, place: &str) -> Finding {
    match answer {
        Ok(()) => Finding::good(format!("Redis at {place} answers: brokers that are told of it share their rates")),
        Err(away) => {
            let what = format!("Redis at {place} is away ({away}): each broker allows the whole rate");
            Finding::warning(what, "start it, or correct `redis.url` and its files")
        }
    }
}

fn object(finding: &Finding) -> serde_json::Value {
    let grade = match finding.grade {
        Grade::Good => "good",
        Grade::Warning => "warning",
        Grade::Bad => "bad",
    };
    json!({ "grade": grade, "what": finding.what, "fix": finding.fix })
}

fn line(finding: &Finding, paint: Paint) -> String {
    let mark = match finding.grade {
        Grade::Good => paint.mark(true),
        Grade::Warning => paint.with(Style::Warning, "!"),
        Grade::Bad => paint.mark(false),
    };
    let fix = finding.fix.as_ref().map_or(String::new(), |fix| format!("  fix: {fix}\n"));
    format!("{mark} {}\n{fix}", finding.what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(version: &str, lease_seconds_left: f64) -> BrokerStatus {
        BrokerStatus {
            name: "b".into(),
            address: "b:50051".into(),
            version: version.into(),
            uptime_seconds: 1.0,
            lease_seconds_left,
            members: 0,
            partitions: 0,
        }
    }

    #[test]
    fn a_lone_broker_is_a_warning_and_none_is_not_fit() {
        assert_eq!(of_brokers(&[broker("1", -1.0)])[0].grade, Grade::Bad);
        assert_eq!(of_brokers(&[broker("1", 4.0)])[0].grade, Grade::Warning);
        let two_versions = of_brokers(&[broker("1", 4.0), broker("2", 4.0)]);
        let grades: Vec<Grade> = two_versions.iter().map(|finding| finding.grade).collect();
        assert_eq!(grades, [Grade::Good, Grade::Warning]);
    }

    #[test]
    fn unsafe_settings_are_not_fit() {
        let found = durability::Durability {
            unsafe_settings: vec!["`fsync` is off".into()],
            warnings: vec!["data checksums are off".into()],
        };
        let findings = of_durability(&found);
        assert_eq!(findings[0].grade, Grade::Bad);
        assert!(findings[1].fix.as_ref().unwrap().contains("pg_checksums"));
    }
}
