//! What may be said on the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::growth::Axis;
use crate::suite::Part;

/// Measure publish, delivery and catch-up beside their ceilings
#[derive(Debug, Parser)]
#[command(name = "eventflow-bench", args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub suite: SuiteArguments,
}

#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Retention turns a stream over while it is published to: throughput and table sizes by time
    Reclaim(LongArguments),
    /// One organization asks for ten times its quota: what another notices, in turns with and without it
    Neighbour(NeighbourArguments),
    /// What authentication, authorization, limits and the checks of organizations take of a publish, as ratios of one run
    Safety(SafetyArguments),
    /// A transaction stays open in the same database: publish latency and table sizes by time
    HeldTransaction(HeldArguments),
    /// Be the broker of a measurement
    #[command(hide = true)]
    Broker(BrokerArguments),
    /// What grows with what: one thing grows while the rest stays. Goes on behind what the file of figures holds already
    Growth(GrowthArguments),
    /// Draws the charts and tables of `growth` again, from its file of figures
    GrowthPage(GrowthPageArguments),
}

#[derive(Debug, clap::Args)]
pub struct SuiteArguments {
    /// Seconds of each measurement, after its warm-up
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// Only these parts; may be given several times
    #[arg(long, value_enum, value_name = "NAME")]
    pub only: Vec<Part>,
    /// One or two seconds each: shows that everything works, measures little
    #[arg(long)]
    pub quick: bool,
    /// Run everything so many times, each on a fresh Postgres; the table shows medians and the spread
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeat: u32,
    /// Directory for the figures
    #[arg(long, value_name = "DIR", default_value = "bench/results")]
    pub results: PathBuf,
    #[command(flatten)]
    pub place: Place,
}

impl SuiteArguments {
    pub fn span(&self) -> Duration {
        Duration::from_secs(if self.quick { self.seconds.min(2) } else { self.seconds })
    }

    /// Before each measurement: connections, caches and statistics settle.
    pub fn warm_up(&self) -> Duration {
        (self.span() / 4).clamp(Duration::from_millis(500), Duration::from_secs(2))
    }

    pub fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

#[derive(Debug, clap::Args)]
pub struct LongArguments {
    /// Minutes to measure
    #[arg(long, value_name = "MINUTES")]
    pub minutes: Option<f64>,
    /// Seconds of one window
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub window: u64,
    /// Directory for the CSV file and the chart
    #[arg(long, value_name = "DIR", default_value = "bench/results")]
    pub results: PathBuf,
    #[command(flatten)]
    pub place: Place,
}

impl LongArguments {
    pub fn span(&self, default_minutes: f64) -> Duration {
        Duration::from_secs_f64(self.minutes.unwrap_or(default_minutes).max(0.1) * 60.0)
    }

    pub fn window(&self) -> Duration {
        Duration::from_secs(self.window)
    }
}

#[derive(Debug, clap::Args)]
pub struct HeldArguments {
    /// Events a second
    #[arg(long, value_name = "EVENTS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub rate: u32,
    /// Meanwhile so many events a second of a shared group fail at each of their five attempts, and are dead letters then
    #[arg(long, value_name = "EVENTS", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub failing: u32,
    #[command(flatten)]
    pub long: LongArguments,
}

#[derive(Debug, clap::Args)]
pub struct NeighbourArguments {
    /// Turns of the three phases, after one that warms up
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub rounds: u32,
    /// Seconds of one phase
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// Events a second that an organization may publish
    #[arg(long, value_name = "EVENTS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(500..=1_000_000))]
    pub quota: u32,
    /// Events of one call of the loud organization
    #[arg(long, value_name = "EVENTS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub call_events: u32,
    /// Directory for the figures
    #[arg(long, value_name = "DIR", default_value = "bench/results")]
    pub results: PathBuf,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, clap::Args)]
pub struct SafetyArguments {
    /// Seconds of each measurement
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, clap::Args)]
pub struct BrokerArguments {
    /// `SECTION.KEY=VALUE`, any number of times
    #[arg(long, value_name = "SETTING")]
    pub set: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub struct GrowthArguments {
    /// Seconds of each measurement, after its warm-up
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// Only these axes; may be given several times
    #[arg(long, value_enum, value_name = "AXIS")]
    pub only: Vec<Axis>,
    /// No point of an axis beyond this size
    #[arg(long, value_name = "SIZE")]
    pub limit: Option<u64>,
    /// Only so many points of each axis, the smallest ones
    #[arg(long, value_name = "COUNT")]
    pub points: Option<usize>,
    /// Directory of the CSV file and the charts
    #[arg(long, value_name = "DIR", default_value = "bench/results")]
    pub results: PathBuf,
    #[command(flatten)]
    pub place: Place,
}

#[derive(Debug, clap::Args)]
pub struct GrowthPageArguments {
    /// Directory of the CSV file and the charts
    #[arg(long, value_name = "DIR", default_value = "bench/results")]
    pub results: PathBuf,
    /// Renew the tables of this page, instead of showing them
    #[arg(long, value_name = "FILE")]
    pub page: Option<PathBuf>,
}

/// Where the private Postgres lies.
#[derive(Debug, Clone, clap::Args)]
pub struct Place {
    /// Directory on the disk to measure; default: the system's temporary directory
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}
