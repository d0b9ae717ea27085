//! The broker, a process of its own: `eventflow serve` from beside this program, or, when that is not there, this program again.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use eventflow_broker::config::Config;
use eventflow_broker::runtime::app::App;
use tokio::process::{Child, Command};

use crate::Result;
use crate::arguments::BrokerArguments;

/// Lines of its log that are quoted.
const QUOTED: usize = 12;
/// The variable by which a broker is told its database, so that no list of processes shows it.
const DATABASE_URL: &str = "EVENTFLOW_DATABASE_URL";

/// Which program the broker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Eventflow,
    Bench,
}

impl How {
    pub fn text(self) -> &'static str {
        match self {
            Self::Eventflow => "a process of its own (`eventflow serve`)",
            Self::Bench => "a process of its own (the bench's program, because no `eventflow` lies beside it)",
        }
    }
}

/// A broker that serves. Dropping it ends it.
pub struct Broker {
    address: SocketAddr,
    log: PathBuf,
    how: How,
    child: Child,
    pid: u32,
}

impl Broker {
    /// `number` is its own among those of a database.
    pub async fn start(dir: &Path, number: usize, database_url: &str, settings: &[(&str, &str)]) -> Result<Self> {
        let own = std::env::current_exe()?;
        let eventflow = own.with_file_name(format!("eventflow{}", std::env::consts::EXE_SUFFIX));
        let (how, mut command) = if eventflow.is_file() {
            let mut command = Command::new(eventflow);
            command.args(["serve", "--stop-with-stdin", "--set", "log.format=text"]);
            (How::Eventflow, command)
        } else {
            let mut command = Command::new(own);
            command.arg("broker");
            (How::Bench, command)
        };
        let [address, http] = free_addresses()?;
        let own =
            [format!("server.listen={address}"), format!("http.listen={http}"), format!("broker.name=bench-{number}")];
        let given = settings.iter().map(|(key, value)| format!("{key}={value}"));
        own.into_iter().chain(given).for_each(|setting| {
            command.args(["--set", &setting]);
        });
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("EVENTFLOW_")) {
            command.env_remove(name);
        }
        command.env(DATABASE_URL, database_url);
        let log = dir.join(format!("broker-{number}.log"));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let child = command.process_group(0).kill_on_drop(true).spawn()?;
        let pid = child.id().ok_or("the broker ended at once")?;
        Ok(Self { address, log, how, child, pid })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn how(&self) -> How {
        self.how
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(QUOTED)..].join("\n")
    }

    pub async fn stop(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// Is a broker until standard input ends, which it does with whoever started it.
pub async fn serve(arguments: &BrokerArguments) -> Result<()> {
    let url = std::env::var(DATABASE_URL)?;
    let mut settings = vec![("database.url", url.as_str())];
    for setting in &arguments.set {
        settings.push(setting.split_once('=').ok_or("a setting is SECTION.KEY=VALUE")?);
    }
    let app = App::start(Config::from_overrides(&settings)?).await?;
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink())).await??;
    app.stop().await;
    Ok(())
}

/// Both held until both are chosen, so that they differ.
fn free_addresses() -> Result<[SocketAddr; 2]> {
    let listeners = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
    Ok([listeners[0].local_addr()?, listeners[1].local_addr()?])
}
