//! A broker as a process of its own: `eventflow serve`, started by this very program.

use std::{
    fs::File,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use eventflow::{Client, ClientOptions};
use tokio::process::{Child, Command};

use crate::{
    environment,
    failure::{Exit, Failure, Result},
    server::dev::client_url,
};

/// How long a broker may take until it serves, and how often it is asked.
const START_BOUND: Duration = Duration::from_secs(20);
const ASK: Duration = Duration::from_millis(25);

/// Lines of a log that are quoted.
const QUOTED: usize = 12;

/// A running broker. Dropping it kills it, and it ends by itself when this process does.
pub(super) struct Broker {
    name: String,
    address: SocketAddr,
    log: PathBuf,
    child: Child,
}

impl Broker {
    pub(super) fn start(dir: &Path, name: &str, ports: [SocketAddr; 2], database_url: &str) -> Result<Self> {
        let [address, http] = ports;
        let log = dir.join(format!("{name}.log"));
        let failed = |error: std::io::Error| Failure::file("start", Path::new("eventflow serve"), &error);
        let stderr = File::options().create(true).append(true).open(&log);
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(["serve", "--stop-with-stdin"]);
        for setting in [
            format!("broker.name={name}"),
            format!("server.listen={address}"),
            format!("http.listen={http}"),
            "log.format=text".to_owned(),
        ] {
            command.args(["--set", &setting]);
        }
        for name in environment::our_names() {
            command.env_remove(name);
        }
        command
            .env("EVENTFLOW_DATABASE_URL", database_url)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(stderr.map_err(failed)?)
            // Ctrl-C is for this process, which then stops its brokers.
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().map_err(failed)?;
        Ok(Self { name: name.to_owned(), address, log, child })
    }

    /// Returns when it answers calls.
    pub(super) async fn ready(&mut self, api_key: &str) -> Result<()> {
        let client = Client::lazy(ClientOptions::new(&client_url(self.address))?.api_key(api_key));
        let asking = async {
            loop {
                if let Some(status) = self.child.try_wait()? {
                    return Err(self.failed(&format!("ended ({status})")));
                }
                match client.limits().await {
                    Ok(_) => return Ok(()),
                    Err(error) if error.kind() == eventflow::ErrorKind::Unavailable => {}
                    Err(error) => return Err(error.into()),
                }
                tokio::time::sleep(ASK).await;
            }
        };
        match tokio::time::timeout(START_BOUND, asking).await {
            Ok(outcome) => outcome,
            Err(_) => Err(self.failed(&format!("did not serve within {} s", START_BOUND.as_secs()))),
        }
    }

    fn failed(&self, what: &str) -> Failure {
        let failure = Failure::new(Exit::Unavailable, "BROKER_FAILED", format!("`{}` {what}", self.name));
        match self.last_words() {
            words if words.is_empty() => failure,
            words => failure.cause(words),
        }
    }

    /// The end of its log.
    pub(super) fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(QUOTED)..].join("\n")
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// SIGKILL: it gets no chance to say goodbye.
    pub(super) async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}
