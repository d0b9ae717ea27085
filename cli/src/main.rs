//! The `eventflow` binary: a broker (`dev`, `serve`), what operates it (`migrate`, `status`, `doctor`, `admin`), a client
//! (`stream`, `publish`, `consume`, `group`, …) and a demonstration.
//!
//! One file a verb or noun; data goes to standard output and everything else to standard error, both through `output`; every
//! failure reaches `main` as one value, which is shown there and gives the exit code.

mod client;
mod clock;
mod command;
mod consume;
mod demo;
mod environment;
mod failure;
mod output;
mod parse;
mod publish;
mod server;
mod target;

use std::process::ExitCode;

use clap::Parser;

use command::Command;
use failure::Result;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // First of all: this process may have been asked to become a private Postgres.
    if let Some(code) = eventflow_embedded::run_guard_if_asked() {
        return code;
    }
    let command = command::CommandLine::parse().command;
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::note_raw(&failure.text());
            ExitCode::from(failure.exit() as u8)
        }
    }
}

fn run(command: Command) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(command.run());
    // A thread may still wait for standard input; nobody waits for it.
    runtime.shutdown_background();
    outcome
}
