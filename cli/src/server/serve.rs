//! `eventflow serve`: a broker on any Postgres.

use std::{io::Read, path::PathBuf};

use eventflow_broker::config::{self, Config};

use super::running;
use crate::{
    failure::Result,
    output::{Format, Output},
    parse,
};

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// File of settings (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, such as server.listen=0.0.0.0:50051; wins over file and environment
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE", value_parser = parse::pair)]
    set: Vec<(String, String)>,
    /// Serve although Postgres may lose what it has acknowledged; only for experiments
    #[arg(long)]
    allow_unsafe_durability: bool,
    /// Print every setting with its unit and default, and end
    #[arg(long)]
    print_config: bool,
    /// Stop when standard input closes: whoever started this has died
    #[arg(long, hide = true)]
    stop_with_stdin: bool,
}

pub async fn run(arguments: Arguments) -> Result<()> {
    if arguments.print_config {
        let mut out = Output::new(Format::Table);
        out.write(config::DEFAULTS.as_bytes())?;
        return out.flush();
    }
    let mut set = arguments.set;
    if arguments.allow_unsafe_durability {
        set.push(("database.allow_unsafe_durability".to_owned(), "true".to_owned()));
    }
    let config = Config::load(arguments.config.as_deref(), &set)?;
    running::ports_are_free(&config, ["--set server.listen=…", "--set http.listen=…"])?;
    let Some(broker) = running::start(config).await? else { return Ok(()) };
    if arguments.stop_with_stdin {
        return broker.run_unless(input_closes()).await;
    }
    broker.run_unless(std::future::pending()).await
}

/// Waits until standard input closes.
async fn input_closes() {
    let (closed, wait) = tokio::sync::oneshot::channel();
    // A thread and not a task: a blocked read cannot be cancelled, and must not hold up the end.
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = closed.send(());
    });
    let _ = wait.await;
}
