//! The other half of `chaos/power-loss/forget.c`: after everything was killed, what was not flushed is taken back.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::Result;

/// Where undo logs are; set by `scripts/chaos-power-loss.sh`.
pub fn directory() -> Option<PathBuf> {
    std::env::var_os("CHAOS_UNDO").map(PathBuf::from)
}

/// From here on everything written so far counts as flushed.
pub fn forget_nothing_before_now(undo: &Path) -> Result<()> {
    for entry in fs::read_dir(undo)? {
        File::options().write(true).truncate(true).open(entry?.path())?;
    }
    Ok(())
}

/// Takes back every write that was not flushed, newest first. Returns how many writes that were.
pub fn play_back(undo: &Path) -> Result<u64> {
    let mut writes = 0;
    for entry in fs::read_dir(undo)? {
        let entry = entry?;
        let log = fs::read(entry.path())?;
        let target = PathBuf::from(entry.file_name().to_string_lossy().replace('%', "/"));
        // What was removed meanwhile stays removed.
        if let Ok(mut file) = File::options().write(true).open(&target) {
            writes += take_back(&log, &mut file)?;
            // A lock file whose content is gone would keep the server from starting; an operator removes it.
            if target.ends_with("postmaster.pid") && file.metadata()?.len() == 0 {
                fs::remove_file(&target)?;
            }
        }
        File::options().write(true).truncate(true).open(entry.path())?;
    }
    Ok(writes)
}

fn take_back(log: &[u8], file: &mut File) -> Result<u64> {
    let (mut end, mut writes) = (log.len(), 0);
    while end > 0 {
        let total = number(log, end - 8)? as usize;
        let start = end.checked_sub(total).ok_or("an undo log is torn")?;
        let (offset, old, size) = (number(log, start)?, number(log, start + 8)? as usize, number(log, start + 16)?);
        file.write_all_at(&log[start + 24..start + 24 + old], offset)?;
        file.set_len(size)?;
        (end, writes) = (start, writes + 1);
    }
    file.flush()?;
    Ok(writes)
}

fn number(log: &[u8], at: usize) -> Result<u64> {
    let bytes = log.get(at..at + 8).ok_or("an undo log is torn")?;
    Ok(u64::from_ne_bytes(bytes.try_into()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(offset: u64, old: &[u8], size: u64) -> Vec<u8> {
        let mut record = Vec::new();
        for number in [offset, old.len() as u64, size] {
            record.extend(number.to_ne_bytes());
        }
        record.extend(old);
        record.extend((record.len() as u64 + 8).to_ne_bytes());
        record
    }

    #[test]
    fn writes_are_taken_back_from_the_newest_to_the_oldest() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        fs::write(&target, "abXXefgh-and-more").unwrap();
        let undo = dir.path().join("undo");
        fs::create_dir(&undo).unwrap();
        // First two bytes were replaced by YY, then these by XX, then the file grew.
        let log = [record(2, b"cd", 8), record(2, b"YY", 8), record(8, b"", 8)].concat();
        fs::write(undo.join(target.to_string_lossy().replace('/', "%")), log).unwrap();
        assert_eq!(play_back(&undo).unwrap(), 3);
        assert_eq!(fs::read_to_string(&target).unwrap(), "abcdefgh");
        assert_eq!(play_back(&undo).unwrap(), 0);
    }
}
