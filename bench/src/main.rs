//! Measures EventFlow: one broker on a durable private Postgres, driven by the Rust client.
//!
//! Every step is a file in `steps`, every ceiling one in `ceilings`, every run of many minutes one in `long`, and
//! `growth` says what grows with what. A step checks
//! what it counts (acknowledged is stored, delivered is published) and fails when that does not hold; a figure that misses
//! its bar is shown and fails nothing.

#![expect(
    clippy::disallowed_methods,
    reason = "the bench is no part of a broker: it has neither its task set nor its clock, and passes its environment on"
)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

mod arguments;
mod ceilings;
mod chart;
mod client_side;
mod figures;
mod ground;
mod growth;
mod latency;
mod long;
mod machine;
mod output;
mod pace;
mod payloads;
mod report;
mod safety;
mod steps;
mod suite;
mod unary;

use std::process::ExitCode;

use arguments::{Arguments, Command};
use clap::Parser;

/// A bench has nobody to tell errors apart: it shows them and ends.
type Failure = Box<dyn std::error::Error + Send + Sync>;
type Result<T, E = Failure> = std::result::Result<T, E>;

// The allocator of the broker's binary, so that client and broker compare.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all: this process may have been asked to become a private Postgres.
    if let Some(code) = eventflow_embedded::run_guard_if_asked() {
        return code;
    }
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::note(&format!("error: {failure}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let work = async {
            match arguments.command {
                None => Box::pin(suite::run(&arguments.suite)).await,
                Some(Command::Reclaim(reclaim)) => Box::pin(long::reclaim::run(&reclaim)).await,
                Some(Command::HeldTransaction(held)) => Box::pin(long::held_transaction::run(&held)).await,
                Some(Command::Neighbour(neighbour)) => Box::pin(long::neighbour::run(&neighbour)).await,
                Some(Command::Safety(safety)) => Box::pin(safety::run(&safety)).await,
                Some(Command::Broker(broker)) => ground::serve(&broker).await,
                Some(Command::Growth(growth)) => Box::pin(growth::run(&growth)).await,
                Some(Command::GrowthPage(page)) => growth::redraw(&page),
            }
        };
        let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        // Whatever is running is dropped in order: broker, Postgres, files.
        tokio::select! {
            outcome = work => outcome,
            _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
            _ = terminated.recv() => Err("terminated".into()),
        }
    })
}
