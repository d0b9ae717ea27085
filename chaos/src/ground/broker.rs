//! A broker as a process: `eventflow serve`.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use eventflow_testkit::{Signal, free_ports};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::{BrokerSettings, Clock};
use crate::Result;
use crate::history::{Record, Recorder, Surprise};

/// A broker that comes up too late is a failure of the run, not of the broker: machines are busy.
const START_BOUND: Duration = Duration::from_secs(60);
/// An orderly stop ends within its grace of ten seconds.
const STOP_BOUND: Duration = Duration::from_secs(20);
/// The exit status of a broker whose database cannot be reached when it starts.
const UNAVAILABLE: i32 = 6;

/// A broker's process, running or not. Dropping it kills it; it also ends when this process does.
pub struct Broker {
    index: usize,
    binary: PathBuf,
    arguments: Vec<String>,
    url: String,
    /// Environment of its clock.
    clock: Vec<(&'static str, PathBuf)>,
    address: SocketAddr,
    log: PathBuf,
    child: Option<Child>,
    /// It is to run: an end that nobody asked for is a surprise.
    wanted: bool,
    /// Where its present process's part of the log begins.
    log_from: u64,
    recorder: Recorder,
}

impl Broker {
    pub fn new(
        index: usize,
        dir: &Path,
        url: &str,
        settings: &BrokerSettings,
        clock: Option<&Clock>,
        recorder: Recorder,
    ) -> Result<Broker> {
        let [grpc, http]: [u16; 2] = free_ports();
        let address = SocketAddr::from(([127, 0, 0, 1], grpc));
        let own = [
            ("broker.name".to_owned(), format!("b{index}")),
            ("server.listen".to_owned(), address.to_string()),
            ("http.listen".to_owned(), format!("127.0.0.1:{http}")),
            ("log.format".to_owned(), "text".to_owned()),
        ];
        let given = settings.common.iter().chain(settings.own.get(index).into_iter().flatten());
        let mut arguments = vec!["serve".to_owned(), "--stop-with-stdin".to_owned()];
        for (key, value) in own.iter().chain(given) {
            arguments.extend(["--set".to_owned(), format!("{key}={value}")]);
        }
        Ok(Broker {
            index,
            binary: settings.binary.clone(),
            arguments,
            url: url.to_owned(),
            clock: clock.map(Clock::environment).unwrap_or_default(),
            address,
            log: dir.join(format!("b{index}.log")),
            child: None,
            wanted: false,
            log_from: 0,
            recorder,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Starts it, again and again while its database is away, as a supervisor would; returns when it accepts connections.
    pub async fn start(&mut self) -> Result<()> {
        self.wanted = true;
        let deadline = Instant::now() + START_BOUND;
        while Instant::now() < deadline {
            if self.child.is_none() {
                self.spawn()?;
            }
            if let Some(child) = &mut self.child
                && child.try_wait()?.is_some()
            {
                self.child = None;
                sleep(Duration::from_millis(200)).await;
                continue;
            }
            if TcpStream::connect(self.address).await.is_ok() {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
        Err(format!(
            "broker b{} did not come up within {} s; see {}",
            self.index,
            START_BOUND.as_secs(),
            self.log.display()
        )
        .into())
    }

    fn spawn(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        self.log_from = log.metadata()?.len();
        let mut command = Command::new(&self.binary);
        command.args(&self.arguments);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("EVENTFLOW_")) {
            command.env_remove(name);
        }
        command.env("EVENTFLOW_DATABASE_URL", &self.url).envs(self.clock.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).process_group(0).kill_on_drop(true);
        let spawned =
            command.spawn().map_err(|error| format!("`{}` cannot be started: {error}", self.binary.display()))?;
        self.child = Some(spawned);
        Ok(())
    }

    /// SIGKILL; returns when it is gone.
    pub async fn kill(&mut self) -> Result<()> {
        self.wanted = false;
        if let Some(mut child) = self.child.take() {
            child.kill().await?;
        }
        Ok(())
    }

    /// SIGTERM; returns when it has stopped by itself. One that takes too long is killed, and that is a surprise.
    pub async fn stop(&mut self) -> Result<()> {
        self.wanted = false;
        self.signal(Signal::TERM);
        let Some(mut child) = self.child.take() else { return Ok(()) };
        match timeout(STOP_BOUND, child.wait()).await {
            // One whose database was away when it started has ended by itself, before the signal.
            Ok(Ok(status)) if status.code() == Some(UNAVAILABLE) && !self.has_served() => {}
            Ok(status) if !status.as_ref().is_ok_and(|status| status.success()) => {
                self.surprise(format!("stopped with {status:?}"))
            }
            Ok(_) => {}
            Err(_) => {
                self.surprise(format!("did not stop within {} s", STOP_BOUND.as_secs()));
                child.kill().await?;
            }
        }
        Ok(())
    }

    /// Sends a signal, when it runs.
    pub fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().and_then(Child::id).and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
            // One that has just ended is found by whoever looks after it.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Notes an end that nobody asked for, and starts it again.
    pub async fn look_after(&mut self) {
        let ended = self.child.as_mut().map(Child::try_wait);
        if let (true, Some(Ok(Some(status)))) = (self.wanted, ended) {
            // One whose database is away when it starts ends, and is started again until it serves.
            if self.has_served() {
                self.surprise(format!("ended by itself with {status}"));
            }
            self.child = None;
            let _ = self.spawn();
        }
    }

    /// True when the present process has said that it serves.
    fn has_served(&self) -> bool {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let own = text.get(self.log_from as usize..).unwrap_or_default();
        String::from_utf8_lossy(own).contains("serving grpc=")
    }

    fn surprise(&self, what: String) {
        let who = format!("broker b{}", self.index);
        self.recorder.write(&Record::Surprise(Surprise { t: self.recorder.now(), who, what }));
    }
}
