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
mod report;
mod server;
mod tally;
mod workload;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;

use crate::figures::{Measured, Results};
use crate::workload::Round;

pub type Failure = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T> = std::result::Result<T, Failure>;

/// What one round of one peer may take, with all its steps.
const PEER: Duration = Duration::from_secs(240);

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
    /// Where `scripts/compare-setup.sh` has put what it fetched.
    #[arg(long, default_value = "target/compare-tools")]
    tools: PathBuf,
    /// Where the servers keep their data: all on the same disk.
    #[arg(long, default_value = "/var/tmp")]
    dir: PathBuf,
    /// Raw results, a JSON object a line. Charts and tables go beside it.
    #[arg(long, default_value = "compare.jsonl")]
    out: PathBuf,
    /// What the whole run may take; rounds that are not over by then are left out.
    #[arg(long, default_value_t = 45)]
    minutes: u64,
    /// Only draws the charts and tables of these raw results again.
    #[arg(long)]
    draw: Option<PathBuf>,
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
    if let Some(raw) = &arguments.draw {
        let lines = std::fs::read_to_string(raw)?;
        let all = lines.lines().map(serde_json::from_str).collect::<std::result::Result<Vec<Measured>, _>>()?;
        show(&Results::new(all), raw)?;
        return Ok(true);
    }
    let chosen =
        |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| name.contains(only.as_str()));
    let mut names: Vec<&str> = peers::NAMES.iter().copied().filter(|name| chosen(name)).collect();
    if names.is_empty() {
        return Err(format!("--only names none of {}", peers::NAMES.join(", ")).into());
    }
    let mut race = Race::start(&arguments)?;
    for round in 0..arguments.rounds {
        for name in names.clone() {
            race.round_of(name, round).await?;
        }
        // Who comes first is not always the same.
        names.reverse();
    }
    // In one order, whoever came first.
    let place = |name: &str| peers::NAMES.iter().position(|known| *known == name);
    race.all.sort_by_key(|one| (place(&one.peer), one.round));
    show(&Results::new(race.all), &arguments.out)?;
    race.left_out.iter().for_each(|line| println!("left out: {line}"));
    race.failed.iter().for_each(|line| println!("FAILED: {line}"));
    Ok(race.failed.is_empty())
}

struct Race<'a> {
    arguments: &'a Arguments,
    out: File,
    end: Instant,
    all: Vec<Measured>,
    absent: Vec<&'static str>,
    left_out: Vec<String>,
    failed: Vec<String>,
}

impl<'a> Race<'a> {
    fn start(arguments: &'a Arguments) -> Result<Self> {
        let (out, end) = (File::create(&arguments.out)?, Instant::now() + Duration::from_secs(60 * arguments.minutes));
        Ok(Self { arguments, out, end, all: vec![], absent: vec![], left_out: vec![], failed: vec![] })
    }

    /// A peer that is not there is left out of all rounds, one that takes too long of this one. The run goes on.
    async fn round_of(&mut self, name: &'static str, round: usize) -> Result<()> {
        if self.absent.contains(&name) {
            return Ok(());
        }
        let (arguments, number) = (self.arguments, round + 1);
        let left = self.end.saturating_duration_since(Instant::now()).min(PEER);
        eprintln!("round {number} of {}: {name}", arguments.rounds);
        let dir = tempfile::Builder::new().prefix("eventflow-compare-").tempdir_in(&arguments.dir)?;
        let programs = peers::Programs { eventflow: &arguments.eventflow, tools: &arguments.tools };
        let mut measured = Round::new(Duration::from_secs(arguments.seconds));
        let ended = tokio::time::timeout(left, peers::measure(name, dir.path(), &programs, &mut measured)).await;
        let late = std::mem::take(&mut measured.left_out);
        self.left_out.extend(late.into_iter().map(|reason| format!("{name}, round {number}: {reason}")));
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => {
                match failure.downcast::<peer::Absent>() {
                    Ok(absent) => {
                        self.left_out.push(format!("{name}: {}", absent.0));
                        self.absent.push(name);
                    }
                    Err(failure) => {
                        eprintln!("{name} FAILED: {failure}");
                        self.failed.push(format!("{name}, round {number}: {failure}"));
                    }
                }
                return Ok(());
            }
            Err(_) => self.left_out.push(format!("{name}, round {number}: what came after {} s", left.as_secs())),
        }
        if let Some(about) = measured.about.filter(|_| !measured.figures.is_empty()) {
            let measured = Measured { peer: name.into(), round, about, figures: measured.figures };
            writeln!(self.out, "{}", serde_json::to_string(&measured)?)?;
            self.all.push(measured);
        }
        Ok(())
    }
}

/// Prints the tables; writes them and the charts beside the raw results.
fn show(results: &Results, raw: &Path) -> Result<()> {
    let tables = report::tables(results);
    print!("{tables}");
    std::fs::write(raw.with_extension("md"), tables)?;
    let charts: [(&str, &str, &[&str]); 4] = [
        ("publish", "Publish", &["publish_200", "publish_1000", "publish_200_default", "producers"]),
        ("read", "Delivery", &["end_to_end", "fan_out", "catch_up"]),
        ("latency", "Latency", &["publish_p50", "publish_p99", "end_to_end_p50", "end_to_end_p99"]),
        ("cost", "What an event costs", &["server_cpu_200", "server_cpu_1000", "disk_200", "disk_1000"]),
    ];
    for (name, title, figures) in charts {
        std::fs::write(raw.with_extension(format!("{name}.svg")), report::chart(results, title, figures))?;
    }
    Ok(())
}
