//! A private Postgres around one command: `eventflow-postgres DIR [--throwaway] [-- COMMAND...]`.
//!
//! For scripts and tests. It starts the cluster of DIR and runs COMMAND with `EVENTFLOW_TEST_DATABASE_URL` set;
//! without a command it prints the URL and waits until its standard input closes. Then it stops the cluster.
//! However it ends, its Postgres ends with it.

#![expect(
    clippy::disallowed_methods,
    reason = "a program without configuration: it passes on what its environment says"
)]

use std::ffi::OsString;
use std::io::{Read, Write};
use std::process::{Command, ExitCode};

use eventflow_embedded::{Cluster, Options, Search, Settings, Stop, run_guard_if_asked};

fn main() -> ExitCode {
    if let Some(code) = run_guard_if_asked() {
        return code;
    }
    match run(std::env::args_os().skip(1).collect()) {
        Ok(code) => code,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "eventflow-postgres: {error}");
            ExitCode::from(64)
        }
    }
}

fn run(args: Vec<OsString>) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let split = args.iter().position(|arg| arg == "--");
    let (own, command) = args.split_at(split.unwrap_or(args.len()));
    let (dir, throwaway) = match own {
        [dir] => (dir, false),
        [dir, flag] if flag == "--throwaway" => (dir, true),
        _ => return Err("usage: eventflow-postgres DIR [--throwaway] [-- COMMAND...]".into()),
    };
    let search = Search::default().path(std::env::var_os("PATH"));
    let mut options = Options::new(dir, search);
    options.runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(Into::into);
    if throwaway {
        options.settings = Settings::throwaway();
    }
    let mut cluster = Cluster::prepare(options)?;
    cluster.start()?;
    let code = match command {
        [_, program, args @ ..] => around(program, args, &cluster.connection_url())?,
        _ => until_input_closes(&cluster.connection_url())?,
    };
    cluster.stop(if throwaway { Stop::Immediate } else { Stop::Fast })?;
    Ok(code)
}

fn around(program: &OsString, args: &[OsString], url: &str) -> std::io::Result<ExitCode> {
    let status = Command::new(program).args(args).env("EVENTFLOW_TEST_DATABASE_URL", url).status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}

fn until_input_closes(url: &str) -> std::io::Result<ExitCode> {
    writeln!(std::io::stdout(), "{url}")?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(ExitCode::SUCCESS)
}
