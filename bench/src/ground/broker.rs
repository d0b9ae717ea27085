//! The broker: `eventflow serve` from beside this program, or, when that is not there, one within this process.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use eventflow_broker::config::Config;
use eventflow_broker::runtime::app::App;
use tokio::process::{Child, Command};

use crate::Result;

/// Lines of its log that are quoted.
const QUOTED: usize = 12;

/// How the broker runs. Within this process its processor time cannot be told from the client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Process,
    InProcess,
}

impl How {
    pub fn text(self) -> &'static str {
        match self {
            Self::Process => "a process of its own (`eventflow serve`)",
            Self::InProcess => "within the bench's process, because no `eventflow` binary lies beside it",
        }
    }
}

/// A broker that serves. Dropping it ends it.
pub struct Broker {
    address: SocketAddr,
    log: PathBuf,
    runs: Runs,
}

enum Runs {
    Process(Box<Child>),
    InProcess(Box<App>),
}

impl Broker {
    pub async fn start(dir: &Path, database_url: &str, settings: &[(&str, &str)]) -> Result<Self> {
        let log = dir.join("broker.log");
        let binary = std::env::current_exe()?.with_file_name(format!("eventflow{}", std::env::consts::EXE_SUFFIX));
        if !binary.is_file() {
            let mut all = vec![("database.url", database_url), ("server.listen", "127.0.0.1:0")];
            all.push(("http.listen", "127.0.0.1:0"));
            all.extend_from_slice(settings);
            let app = App::start(Config::from_overrides(&all)?).await?;
            return Ok(Self { address: app.grpc_address(), log, runs: Runs::InProcess(Box::new(app)) });
        }
        let [address, http] = free_addresses()?;
        let mut command = Command::new(binary);
        command.args(["serve", "--stop-with-stdin"]);
        let own = [format!("server.listen={address}"), format!("http.listen={http}"), "log.format=text".to_owned()];
        let given = settings.iter().map(|(key, value)| format!("{key}={value}"));
        own.into_iter().chain(given).for_each(|setting| {
            command.args(["--set", &setting]);
        });
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("EVENTFLOW_")) {
            command.env_remove(name);
        }
        command.env("EVENTFLOW_DATABASE_URL", database_url);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        Ok(Self { address, log, runs: Runs::Process(Box::new(child)) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn how(&self) -> How {
        match self.runs {
            Runs::Process(_) => How::Process,
            Runs::InProcess(_) => How::InProcess,
        }
    }

    pub fn pid(&self) -> Option<u32> {
        match &self.runs {
            Runs::Process(child) => child.id(),
            Runs::InProcess(_) => None,
        }
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(QUOTED)..].join("\n")
    }

    pub async fn stop(self) -> Result<()> {
        match self.runs {
            Runs::Process(mut child) => Ok(child.kill().await?),
            Runs::InProcess(app) => {
                app.stop().await;
                Ok(())
            }
        }
    }
}

/// Both held until both are chosen, so that they differ.
fn free_addresses() -> Result<[SocketAddr; 2]> {
    let listeners = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    Ok([listeners[0].local_addr()?, listeners[1].local_addr()?])
}
