//! What may be said on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// Injects faults into EventFlow and looks for a broken promise. Exit codes: 0 green, 1 a violation, 2 void (the run tried too
/// little to prove anything), 3 it could not be run
#[derive(Debug, Parser)]
#[command(name = "eventflow-chaos", args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub runs: Runs,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Check a history that is there
    Check {
        /// A `history.jsonl`
        history: PathBuf,
    },
    /// Measure from kept histories how long recovery takes
    Recovery {
        /// Files named `history.jsonl`
        #[arg(required = true)]
        histories: Vec<PathBuf>,
    },
    /// Prove the checker: seed bugs into the database's functions, and see that each is caught
    Mutants {
        /// One bug, such as M5
        #[arg(default_value = "all")]
        name: String,
        /// Only print the names of those that need the patched broker
        #[arg(long)]
        list_patched: bool,
        /// Runs in which a bug must be caught
        #[arg(long, default_value_t = 10)]
        tries: u32,
        #[command(flatten)]
        runs: Runs,
    },
}

#[derive(Debug, Args)]
pub struct Runs {
    /// This workload and these faults; default: a random seed each run
    #[arg(long)]
    pub seed: Option<u64>,
    /// So many runs
    #[arg(long)]
    pub runs: Option<u32>,
    /// Begin new runs for so many seconds
    #[arg(long, value_name = "SECONDS", conflicts_with = "runs")]
    pub seconds: Option<u64>,
    /// Seconds of faults in each run
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u64).range(3..=600))]
    pub fault_seconds: u64,
    /// Only faults whose name holds this, or is this; `none` for none. May be given several times
    #[arg(long = "fault", value_name = "NAME")]
    pub faults: Vec<String>,
    /// All of these faults, not a random part of them
    #[arg(long)]
    pub all: bool,
    /// So many seconds more between two faults of a lane, for what is to be over before the next one comes
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0)]
    pub gap: f64,
    /// Multiplies the pauses between publishes
    #[arg(long, default_value_t = 1.0)]
    pub pace: f64,
    /// Where histories and logs go
    #[arg(long, value_name = "DIR", default_value = "chaos/runs")]
    pub dir: PathBuf,
    /// Append a line for each run to this table
    #[arg(long, value_name = "FILE")]
    pub campaign: Option<PathBuf>,
    /// What the campaign's table calls the version under test
    #[arg(long, default_value = "")]
    pub commit: String,
    /// Postgres with `fsync=off`: acknowledged events may be lost, which a run without power must show
    #[arg(long = "unsafe")]
    pub is_unsafe: bool,
    /// Keep green histories too
    #[arg(long)]
    pub keep: bool,
    /// Go on after a violation
    #[arg(long)]
    pub go_on: bool,
    /// The broker under test; default: `eventflow` beside this program
    #[arg(long, value_name = "FILE")]
    pub broker: Option<PathBuf>,
}

impl Runs {
    /// Whether another run begins.
    pub fn goes_on(&self, done: u32, elapsed: Duration) -> bool {
        match (self.runs, self.seconds) {
            (_, Some(seconds)) => done == 0 || elapsed.as_secs() < seconds,
            (runs, None) => done < runs.unwrap_or(1),
        }
    }
}
