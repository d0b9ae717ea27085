//! `eventflow demo`: two brokers, 38,094 real earthquakes, one broker killed half-way, and proof that nothing was lost.
//!
//! The table is published twice under idempotency keys: what revises an earthquake is refused, and published as a revision instead.
//! Beside two groups that read in order, workers of a shared group fail the events of one network until they are dead letters; one
//! is edited, all are given back, and handled.
//!
//! The stage (a private Postgres and two broker processes in a temporary directory) is set up, the play runs bounded by a
//! watchdog and by Ctrl-C, and the stage is taken down whatever happened. What the groups saw is told apart by
//! (partition, offset); what the file holds is counted from the file, never from the broker.

mod board;
mod broker;
mod catalogue;
mod follow;
mod play;
mod publish;
mod quake;
mod repair;
mod stage;
mod tally;
mod verdict;
mod words;
mod work;

use std::{path::PathBuf, sync::Arc, time::Duration};

use eventflow_broker::runtime::shutdown::Signals;

use crate::{
    failure::{Exit, Failure, Result},
    output::{Format, Output},
};
use board::Board;
use catalogue::Catalogue;
use stage::Stage;

/// After so long, whatever is missing will not come.
const WATCHDOG: Duration = Duration::from_secs(90);

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Leave everything running afterwards, to explore
    #[arg(long)]
    serve: bool,
    /// Table of earthquakes
    #[arg(long, value_name = "FILE", default_value = "data/earthquakes.csv")]
    data: PathBuf,
    /// Events a second
    #[arg(long, default_value_t = 3_500.0, value_name = "NUMBER")]
    rate: f64,
    /// Directory with Postgres' programs, when it is not found by itself [env: EVENTFLOW_POSTGRES_BIN]
    #[arg(long, value_name = "DIR")]
    postgres_bin: Option<PathBuf>,
}

pub async fn run(arguments: Arguments) -> Result<()> {
    if !(arguments.rate.is_finite() && arguments.rate >= 1.0) {
        return Err(Failure::usage("--rate must be at least 1"));
    }
    let catalogue = Arc::new(Catalogue::read(&arguments.data)?);
    let mut signals = Signals::listen()?;
    let board = Arc::new(Board::new(catalogue.len()));
    let mut out = Output::new(Format::Table);
    words::overture(&mut out, &catalogue)?;
    let begun = std::time::Instant::now();
    board.step("starting Postgres and two brokers");
    // Not raced against a signal: what is half set up could not be taken down.
    let stage = Stage::set_up(arguments.postgres_bin.clone()).await;
    let mut stage = match stage {
        Ok(stage) => stage,
        // Ctrl-C reaches the programs of Postgres too, whose failure is then no news.
        Err(failure) => return Err(signalled(&mut signals).await.unwrap_or(failure)),
    };
    let played = tokio::select! {
        played = play::play(&mut stage, &catalogue, arguments.rate, &board) => played,
        _ = signals.next() => Err(Failure::interrupted()),
        () = tokio::time::sleep(WATCHDOG) => Err(overdue(&board)),
    };
    board.finish();
    let outcome = match played {
        Ok(verdict) => verdict.tell(&mut out, &catalogue, begun.elapsed()),
        Err(failure) => Err(stage.explain(failure)),
    };
    if arguments.serve && outcome.is_ok() {
        let explored = explore(&mut stage, &mut out, &mut signals).await;
        return stage.tear_down().await.and(explored);
    }
    let torn_down = stage.tear_down().await;
    outcome.and(torn_down)
}

/// An interrupt, if a signal has come already.
async fn signalled(signals: &mut Signals) -> Option<Failure> {
    let come = tokio::time::timeout(Duration::from_millis(50), signals.next()).await;
    come.ok().map(|_| Failure::interrupted())
}

fn overdue(board: &Board) -> Failure {
    let sentence = format!("the demonstration did not end within {} s", WATCHDOG.as_secs());
    let failure = Failure::new(Exit::Error, "OVERDUE", sentence);
    board.missing().into_iter().fold(failure, Failure::detail)
}

async fn explore(stage: &mut Stage, out: &mut Output, signals: &mut Signals) -> Result<()> {
    stage.revive().await?;
    let context = stage.save_context()?;
    words::explore(out, stage)?;
    signals.next().await;
    context.forget()
}
