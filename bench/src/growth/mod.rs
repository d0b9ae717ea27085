//! What grows with what: one thing grows while everything else stays, and a curve says how the figures follow.
//!
//! A run takes hours and may end at any time: each measured point is in a CSV file at once, and the next run goes on behind it.
//! Charts and tables are drawn from that file alone.

mod axis;
mod chart;
mod fit;
mod page;
mod record;
mod work;

use std::time::Duration;

pub use axis::Axis;

use crate::arguments::{GrowthArguments, GrowthPageArguments};
use crate::figures::Sample;
use crate::ground::Ground;
use crate::{Failure, Result, machine, output};
use record::{Circumstances, Record};
use work::{Filling, Spans};

pub const FILE: &str = "growth.csv";
/// How long one point may take.
const PATIENCE: Duration = Duration::from_secs(1_800);

pub async fn run(arguments: &GrowthArguments) -> Result<()> {
    let mut record = Record::open(&arguments.results.join(FILE))?;
    let circumstances = circumstances(arguments).await?;
    let mut failed = 0;
    for axis in Axis::all().iter().copied().filter(|axis| arguments.wants(*axis)) {
        let sizes = missing(&record, axis, arguments);
        if sizes.is_empty() {
            output::note(&format!("{}: everything is there", axis.name()));
            continue;
        }
        failed += match axis {
            Axis::Stored => fill(&mut record, &sizes, arguments, &circumstances).await?,
            _ => each(&mut record, axis, &sizes, arguments, &circumstances).await?,
        };
    }
    for path in page::draw(&record, &arguments.results)? {
        output::note(&format!("written: {}", path.display()));
    }
    output::note(
        "long runs of their own: `eventflow-bench reclaim --minutes 30` (retention turns the log over), `eventflow-bench \
         held-transaction --minutes 10`",
    );
    match failed {
        0 => Ok(()),
        failed => Err(format!("{failed} points failed; the file of figures says why").into()),
    }
}

/// Charts and tables from what was measured before.
pub fn redraw(arguments: &GrowthPageArguments) -> Result<()> {
    let record = Record::open(&arguments.results.join(FILE))?;
    for path in page::draw(&record, &arguments.results)? {
        output::note(&format!("written: {}", path.display()));
    }
    match &arguments.page {
        Some(path) => page::renew(&record, path),
        None => {
            output::show(&page::tables(&record));
            Ok(())
        }
    }
}

async fn circumstances(arguments: &GrowthArguments) -> Result<Circumstances> {
    // A ground of its own, to ask which servers it gets.
    let ground = Ground::new(&arguments.place, &[]).await?;
    let circumstances = Circumstances {
        seconds: arguments.seconds,
        commit: machine::checkout().unwrap_or_else(|| "unknown".into()),
        machine: machine::summary(),
        postgres: ground.postgres_version().to_owned(),
        broker: ground.broker_runs().text().to_owned(),
        unix_time: 0,
    };
    ground.tear_down().await?;
    Ok(circumstances)
}

/// The sizes to measure: those asked for that have no figures yet.
fn missing(record: &Record, axis: Axis, arguments: &GrowthArguments) -> Vec<u64> {
    let sizes = axis.about().sizes.iter().copied().filter(|size| arguments.limit.is_none_or(|limit| *size <= limit));
    let first = sizes.take(arguments.points.unwrap_or(usize::MAX));
    first.filter(|size| !record.has(axis, *size)).collect()
}

/// Answers how many failed.
async fn each(
    record: &mut Record,
    axis: Axis,
    sizes: &[u64],
    arguments: &GrowthArguments,
    circumstances: &Circumstances,
) -> Result<u32> {
    let mut failed = 0;
    for size in sizes {
        let outcome = within(work::measure(axis, *size, &arguments.place, arguments.spans())).await;
        failed += note(record, axis, *size, &outcome, circumstances)?;
    }
    Ok(failed)
}

/// The same for `stored`, whose sizes are one on top of the other.
async fn fill(
    record: &mut Record,
    sizes: &[u64],
    arguments: &GrowthArguments,
    circumstances: &Circumstances,
) -> Result<u32> {
    let mut filling = Filling::begin(&arguments.place, arguments.spans()).await?;
    let mut failed = 0;
    for size in sizes {
        let outcome = within(filling.measure_at(*size)).await;
        failed += note(record, Axis::Stored, *size, &outcome, circumstances)?;
    }
    filling.end().await?;
    Ok(failed)
}

async fn within(point: impl Future<Output = Result<Vec<Sample>>>) -> Result<Vec<Sample>> {
    let outcome = tokio::time::timeout(PATIENCE, Box::pin(point)).await;
    outcome.unwrap_or_else(|_| Err(Failure::from(format!("it took longer than {PATIENCE:?}"))))
}

fn note(
    record: &mut Record,
    axis: Axis,
    size: u64,
    outcome: &Result<Vec<Sample>>,
    circumstances: &Circumstances,
) -> Result<u32> {
    record.add(axis, size, outcome, circumstances)?;
    let text = match outcome {
        Ok(samples) => {
            let figures = samples.iter().map(|sample| format!("{} {}", sample.name, output::number(sample.value)));
            figures.collect::<Vec<_>>().join("  ")
        }
        Err(failure) => format!("FAILED: {failure}"),
    };
    output::note(&format!("{:<10} {:>11}  {text}", axis.name(), output::whole(size)));
    Ok(u32::from(outcome.is_err()))
}

impl GrowthArguments {
    fn wants(&self, axis: Axis) -> bool {
        self.only.is_empty() || self.only.contains(&axis)
    }

    fn spans(&self) -> Spans {
        let span = Duration::from_secs(self.seconds);
        Spans { span, warm_up: (span / 4).clamp(Duration::from_millis(500), Duration::from_secs(2)) }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::{Arguments, Command};

    fn asked(line: &str) -> GrowthArguments {
        let words = format!("eventflow-bench growth {line}");
        match Arguments::parse_from(words.split_whitespace()).command {
            Some(Command::Growth(growth)) => growth,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_run_measures_what_is_asked_for_and_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let mut record = Record::open(&dir.path().join(FILE)).unwrap();
        let measured = Ok(vec![Sample::new("published", 1.0)]);
        record.add(Axis::Partitions, 4, &measured, &Circumstances::default()).unwrap();
        assert_eq!(missing(&record, Axis::Partitions, &asked("")), [1, 16, 64, 256, 1_024]);
        assert_eq!(missing(&record, Axis::Partitions, &asked("--limit 100")), [1, 16, 64]);
        // The first three of the axis, of which one is there.
        assert_eq!(missing(&record, Axis::Partitions, &asked("--points 3")), [1, 16]);
        assert_eq!(missing(&record, Axis::Brokers, &asked("--points 3")), [1, 2, 3]);
    }

    #[test]
    fn only_what_is_named_is_measured() {
        let asked = asked("--only idle --only stored");
        assert!(asked.wants(Axis::Idle) && asked.wants(Axis::Stored) && !asked.wants(Axis::Groups));
    }
}
