//! The server process: from spawn to ready, and the three ways of ending it.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::postmaster::{self, POLL, PidFile};
use crate::{Error, Result, spawner};

/// How long each way of stopping may take before the next harder one is used.
const STOP_GRACE: Duration = Duration::from_secs(60);

/// A log larger than this is moved to `postgres.log.old` at the next start.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// How many lines of the log an error quotes.
const LOG_LINES_QUOTED: usize = 10;

/// How to stop the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Ends sessions, writes a checkpoint: the next start is quick.
    Fast,
    /// Ends at once; the next start recovers from the write-ahead log.
    Immediate,
    /// SIGKILL to every process of the server, as if the machine's power were cut for it.
    Kill,
}

/// A server that was started and not yet collected.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    binary: FileIdentity,
    log: PathBuf,
    /// Where this run's part of the log begins.
    log_offset: u64,
}

impl Server {
    /// Starts `command`, which becomes `postgres`, with its messages appended to `log`.
    pub(crate) fn spawn(mut command: Command, postgres: &Path, log: PathBuf) -> Result<Server> {
        let (file, log_offset) = open_log(&log)?;
        command
            .current_dir("/")
            .env("LC_ALL", "C")
            // Of the service that runs us: the server is not that service.
            .env_remove("NOTIFY_SOCKET")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file);
        let child = spawner::spawn(command).map_err(Error::at("start", postgres))?;
        Ok(Server { child, binary: FileIdentity::of(postgres), log, log_offset })
    }

    /// Waits until the server accepts connections.
    pub(crate) fn wait_until_ready(&mut self, data_dir: &Path, timeout: Duration) -> Result<()> {
        let began = Instant::now();
        while let Some(pid) = self.pid() {
            let state = PidFile::read(data_dir);
            if state.is_some_and(|file| file.pid == pid && file.status == "ready") {
                return Ok(());
            }
            if began.elapsed() > timeout {
                return Err(Error::NotReady {
                    seconds: timeout.as_secs(),
                    log: self.log.clone(),
                    tail: self.log_tail(),
                });
            }
            std::thread::sleep(POLL);
        }
        Err(Error::Exited { log: self.log.clone(), tail: self.log_tail() })
    }

    /// The process id, until the process has ended.
    pub(crate) fn pid(&mut self) -> Option<u32> {
        match self.child.try_wait() {
            Ok(None) => Some(self.child.id()),
            _ => None,
        }
    }

    /// How the process ended, if it has.
    pub(crate) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// True while the program on disk is the one that this process runs.
    pub(crate) fn runs_from(&self, postgres: &Path) -> bool {
        FileIdentity::of(postgres) == self.binary
    }

    /// Returns when all of the server is gone. Takes the next harder way when one takes too long.
    pub(crate) fn stop(mut self, how: Stop) -> Result<()> {
        let pid = self.child.id();
        if how == Stop::Fast {
            postmaster::signal(pid, Signal::INT)?;
            if self.ended_within(STOP_GRACE) {
                return Ok(());
            }
        }
        if how != Stop::Kill {
            postmaster::signal(pid, Signal::QUIT)?;
            if self.ended_within(STOP_GRACE) {
                return Ok(());
            }
        }
        self.kill_all()
    }

    /// SIGSTOP to every process of the server; returns when all of them stand still.
    pub(crate) fn freeze(&mut self) -> Result<()> {
        let Some(pid) = self.pid() else {
            return Ok(());
        };
        // The parent first, so that it can make no process that escapes the list.
        postmaster::freeze(pid)?;
        for child in postmaster::children(pid) {
            postmaster::freeze(child)?;
        }
        Ok(())
    }

    /// Lets a frozen server go on.
    pub(crate) fn thaw(&mut self) -> Result<()> {
        let Some(pid) = self.pid() else {
            return Ok(());
        };
        for process in postmaster::children(pid).into_iter().chain([pid]) {
            postmaster::signal(process, Signal::CONT)?;
        }
        Ok(())
    }

    fn ended_within(&mut self, grace: Duration) -> bool {
        let began = Instant::now();
        while self.pid().is_some() {
            if began.elapsed() > grace {
                return false;
            }
            std::thread::sleep(POLL);
        }
        true
    }

    fn kill_all(&mut self) -> Result<()> {
        let Some(pid) = self.pid() else {
            return Ok(());
        };
        self.freeze()?;
        let children = postmaster::children(pid);
        for pid in children.iter().copied().chain([pid]) {
            postmaster::signal(pid, Signal::KILL)?;
        }
        self.child.wait().map_err(Error::io("wait for postgres to end"))?;
        // The next start needs their shared memory released.
        while children.iter().any(|pid| postmaster::is_alive(*pid)) {
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// The last lines that this run wrote.
    fn log_tail(&self) -> String {
        let mut bytes = Vec::new();
        let _ = File::open(&self.log).and_then(|mut log| {
            log.seek(SeekFrom::Start(self.log_offset))?;
            log.take(LOG_BYTES_MAX).read_to_end(&mut bytes)
        });
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_QUOTED)..].join("\n")
    }
}

/// Device and inode: a package upgrade puts a new file in the old one's place.
#[derive(Debug, PartialEq, Eq)]
struct FileIdentity(Option<(u64, u64)>);

impl FileIdentity {
    fn of(path: &Path) -> FileIdentity {
        FileIdentity(fs::metadata(path).ok().map(|file| (file.dev(), file.ino())))
    }
}

fn open_log(path: &Path) -> Result<(File, u64)> {
    if fs::metadata(path).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
        fs::rename(path, path.with_extension("log.old")).map_err(Error::at("rotate", path))?;
    }
    let log = OpenOptions::new().append(true).create(true).open(path).map_err(Error::at("open", path))?;
    let offset = log.metadata().map_or(0, |log| log.len());
    Ok((log, offset))
}
