//! The same work on EventFlow and on its peers, one at a time on this machine. See bench/compare/README.md.

mod figures;
#[path = "../../src/latency.rs"]
#[allow(dead_code, reason = "shared with the bench, which uses more of it")]
mod latency;
#[path = "../../src/pace.rs"]
mod pace;
#[path = "../../src/payloads.rs"]
#[allow(dead_code, reason = "shared with the bench, which uses more of it")]
mod payloads;
mod peer;
mod peers;
mod server;
mod tally;
mod workload;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

use crate::figures::Measured;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T> = std::result::Result<T, Failure>;

#[derive(Parser)]
struct Arguments {
    /// Only peers whose name contains one of these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Of each step.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// The `eventflow` program.
    #[arg(long, default_value = "target/release/eventflow")]
    eventflow: PathBuf,
    /// Where the servers keep their data: all on the same disk.
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
    /// Raw results, a JSON object a line.
    #[arg(long, default_value = "compare.jsonl")]
    out: PathBuf,
}

fn main() -> ExitCode {
    // First of all: this process may have been asked to become a private Postgres.
    if let Some(code) = eventflow_embedded::run_guard_if_asked() {
        return code;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(run(Arguments::parse()))) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything that was not left out ran.
async fn run(arguments: Arguments) -> Result<bool> {
    let mut out = File::create(&arguments.out)?;
    let (mut all, mut left_out, mut failed): (Vec<Measured>, Vec<String>, Vec<String>) = Default::default();
    let chosen =
        |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| name.contains(only.as_str()));
    let mut names: Vec<&str> = peers::NAMES.iter().copied().filter(|name| chosen(name)).collect();
    if names.is_empty() {
        return Err(format!("--only names none of {}", peers::NAMES.join(", ")).into());
    }
    for round in 0..arguments.rounds {
        for name in names.clone() {
            if left_out.iter().any(|line| line.starts_with(&format!("{name}:"))) {
                continue;
            }
            eprintln!("round {} of {}: {name}", round + 1, arguments.rounds);
            let dir = tempfile::Builder::new().prefix("eventflow-compare-").tempdir_in(&arguments.dir)?;
            let span = Duration::from_secs(arguments.seconds);
            match Box::pin(peers::measure(name, dir.path(), &arguments.eventflow, span)).await {
                Ok(measured) => {
                    writeln!(out, "{}", measured.to_json(name, round))?;
                    all.push(measured.of(name));
                }
                Err(failure) => match failure.downcast::<peer::Absent>() {
                    Ok(absent) => left_out.push(format!("{name}: {}", absent.0)),
                    Err(failure) => {
                        eprintln!("{name} FAILED: {failure}");
                        failed.push(format!("{name}: {failure}"));
                    }
                },
            }
        }
        // Who comes first is not always the same.
        names.reverse();
    }
    print!("{}", figures::table(&all));
    left_out.iter().for_each(|line| println!("left out: {line}"));
    failed.iter().for_each(|line| println!("FAILED: {line}"));
    Ok(failed.is_empty())
}
