//! One owner at a time for a cluster's directory.
//!
//! Postgres' own lock file covers a running server only. This lock also covers the making of the data and the
//! pauses between stop and start. The kernel drops it with the process, so it is never stale.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::{Error, Result};

/// Held as long as the value lives.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Takes the lock of `dir`, or says who has it.
    pub(crate) fn take(dir: &Path) -> Result<DirectoryLock> {
        let path = dir.join("postgres.lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(Error::at("open", &path))?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut text = String::new();
            let _ = file.read_to_string(&mut text);
            return Err(Error::AlreadyRunning { dir: dir.to_path_buf(), pid: text.trim().parse().ok() });
        }
        // Only a courtesy to whoever is refused: what counts is the lock.
        let _ = file.set_len(0);
        let _ = writeln!(file, "{}", std::process::id());
        Ok(DirectoryLock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_owner_is_told_the_first_ones_pid() {
        let scratch = tempfile::tempdir().unwrap();
        let held = DirectoryLock::take(scratch.path()).unwrap();
        match DirectoryLock::take(scratch.path()) {
            Err(Error::AlreadyRunning { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("the lock was given twice: {other:?}"),
        }
        drop(held);
        DirectoryLock::take(scratch.path()).unwrap();
    }
}
