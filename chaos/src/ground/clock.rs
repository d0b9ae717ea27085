//! A broker's clock that can be wrong: a library that is preloaded into it, and the file that tells the library by how much.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

const SOURCE: &str = include_str!("../../clock/skew.c");

/// The clock of one broker, through all its processes.
#[derive(Debug)]
pub struct Clock {
    library: PathBuf,
    path: PathBuf,
    file: File,
}

impl Clock {
    /// Builds the library in `dir`, once, and a clock that is right. Fails without a C compiler.
    pub fn new(dir: &Path, index: usize) -> Result<Clock, String> {
        let dir = dir.canonicalize().map_err(|error| error.to_string())?;
        let (library, source) = (dir.join("skew.so"), dir.join("skew.c"));
        if !library.exists() {
            std::fs::write(&source, SOURCE).map_err(|error| error.to_string())?;
            let arguments = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"];
            let built = Command::new("cc").args(arguments).arg(&library).arg(&source).args(["-ldl"]).status();
            if !built.as_ref().is_ok_and(std::process::ExitStatus::success) {
                return Err(format!("`cc` could not build the clock: {built:?}"));
            }
        }
        let path = dir.join(format!("clock-b{index}"));
        let file = File::options().create(true).truncate(true).read(true).write(true).open(&path);
        let file = file.map_err(|error| error.to_string())?;
        file.write_all_at(&[0; 16], 0).map_err(|error| error.to_string())?;
        Ok(Clock { library, path, file })
    }

    /// What a broker with this clock is started with.
    pub fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        vec![("LD_PRELOAD", self.library.clone()), ("CHAOS_CLOCK", self.path.clone())]
    }

    /// From now on it is off by so many seconds. Returns how often the wrong time was asked until now.
    pub fn skew(&self, seconds: i64) -> Result<u64> {
        self.file.write_all_at(&(seconds * 1_000_000_000).to_ne_bytes(), 0)?;
        let mut asked = [0; 8];
        self.file.read_exact_at(&mut asked, 8)?;
        Ok(u64::from_ne_bytes(asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_this_clock_is_told_another_time_of_day() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::new(dir.path(), 0).unwrap();
        let year = || {
            let date = Command::new("date").arg("-u").arg("+%Y").envs(clock.environment()).output().unwrap();
            String::from_utf8(date.stdout).unwrap().trim().parse::<i32>().unwrap()
        };
        let now = year();
        assert_eq!(clock.skew(86_400 * 366 * 5).unwrap(), 0);
        assert!([now + 5, now + 6].contains(&year()));
        assert!(clock.skew(0).unwrap() > 0, "it says that it was asked");
        assert_eq!(year(), now);
    }
}
