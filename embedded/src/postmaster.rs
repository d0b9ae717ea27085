//! The `postmaster.pid` file and the process that it names.
//!
//! Postgres writes its state into the last line of that file, so waiting for a start needs neither a client nor
//! a password. A file left by SIGKILL is harmless unless its number was given to another process of the same
//! user, which is common in containers: Postgres would then refuse to start, so such a file is removed here.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::{Error, Result};

/// How often a state that cannot be awaited is looked at.
pub(crate) const POLL: Duration = Duration::from_millis(5);

/// How long a server may take to end that lost its parent a moment ago.
const ORPHAN_GRACE: Duration = Duration::from_secs(5);

/// How long a shutdown under way may take.
const STOPPING_GRACE: Duration = Duration::from_secs(60);

/// What `postmaster.pid` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PidFile {
    pub(crate) pid: u32,
    /// `starting`, `ready`, `standby` or `stopping`; empty very early.
    pub(crate) status: String,
}

impl PidFile {
    pub(crate) fn read(data_dir: &Path) -> Option<PidFile> {
        PidFile::parse(&fs::read_to_string(path(data_dir)).ok()?)
    }

    fn parse(text: &str) -> Option<PidFile> {
        let mut lines = text.lines();
        let pid = lines.next()?.trim().parse().ok()?;
        let status = lines.nth(6).unwrap_or_default().trim().to_owned();
        Some(PidFile { pid, status })
    }
}

/// Waits out a server that is ending, clears a stale lock file, and refuses when a live server stays.
pub(crate) fn wait_until_gone(data_dir: &Path) -> Result<()> {
    let began = Instant::now();
    while let Some(file) = PidFile::read(data_dir) {
        if !is_alive(file.pid) {
            return Ok(());
        }
        if is_certainly_not_postgres(file.pid) {
            let path = path(data_dir);
            return fs::remove_file(&path).map_err(Error::at("remove the stale", &path));
        }
        let grace = if file.status == "stopping" { STOPPING_GRACE } else { ORPHAN_GRACE };
        if began.elapsed() > grace {
            return Err(Error::AlreadyRunning { dir: data_dir.to_path_buf(), pid: Some(file.pid) });
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Sends a signal; a process that is gone already is no error.
pub(crate) fn signal(pid: u32, signal: Signal) -> Result<()> {
    let Some(target) = as_pid(pid) else {
        return Ok(());
    };
    match kill_process(target, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(Error::io(format!("signal process {pid}"))(io::Error::from(error))),
    }
}

/// Stops a process and waits until it stands still, or is gone. Where there is no `/proc`, does not wait.
pub(crate) fn freeze(pid: u32) -> Result<()> {
    signal(pid, Signal::STOP)?;
    while matches!(stat(pid), Some((_, state, _)) if !matches!(state, 'T' | 't' | 'Z' | 'X')) {
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// A zombie counts as dead: it holds nothing, and in a container nobody may ever collect it.
pub(crate) fn is_alive(pid: u32) -> bool {
    let Some(target) = as_pid(pid) else {
        return false;
    };
    if test_kill_process(target) == Err(Errno::SRCH) {
        return false;
    }
    !matches!(stat(pid), Some((_, 'Z' | 'X', _)))
}

/// The server's own processes. Empty where `/proc` does not exist.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|candidate| matches!(stat(*candidate), Some((_, _, parent)) if parent == pid))
        .collect()
}

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("postmaster.pid")
}

fn as_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// False when in doubt, and where there is no `/proc`.
fn is_certainly_not_postgres(pid: u32) -> bool {
    stat(pid).is_some_and(|(name, _, _)| name != "postgres" && name != "postmaster")
}

/// Name, state and parent of a process.
fn stat(pid: u32) -> Option<(String, char, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, after) = text.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_owned();
    let mut fields = after.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((name, state, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_stands_in_the_eighth_line() {
        let text = "42\n/data\n1700000000\n5432\n/run\n\n  1234 56\nready   \n";
        let expected = PidFile { pid: 42, status: "ready".into() };
        assert_eq!(PidFile::parse(text), Some(expected));
        assert_eq!(PidFile::parse("42\n/data\n").unwrap().status, "");
        assert_eq!(PidFile::parse(""), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_lock_file_that_names_a_strangers_process_is_cleared() {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(path(scratch.path()), format!("{}\n", std::process::id())).unwrap();
        wait_until_gone(scratch.path()).unwrap();
        assert!(!path(scratch.path()).exists());
    }
}
