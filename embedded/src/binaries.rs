//! Finding the installed Postgres.
//!
//! A caller's own directory wins and is never second-guessed; otherwise PATH, then the places where packages put
//! it, newest first. Only version 15 and newer count, because the schema needs it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Error, Result};

/// The oldest major version that EventFlow runs on.
pub const OLDEST_MAJOR: u32 = 15;

/// Directories that hold one Postgres per child, as (parent, prefix of the child, rest).
const PACKAGE_PLACES: [(&str, &str, &str); 5] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
];

/// Where to look. The caller reads the environment, so that this crate never does.
#[derive(Debug, Clone, Default)]
pub struct Search {
    override_dir: Option<PathBuf>,
    path: Option<OsString>,
    only_path: bool,
}

impl Search {
    /// Use this bin directory and no other; `None` searches.
    #[must_use]
    pub fn override_dir(mut self, dir: Option<PathBuf>) -> Self {
        self.override_dir = dir;
        self
    }

    /// The value of PATH.
    #[must_use]
    pub fn path(mut self, path: Option<OsString>) -> Self {
        self.path = path;
        self
    }

    /// Leave out the places of packages: only the override or PATH count.
    #[must_use]
    pub fn without_package_places(mut self) -> Self {
        self.only_path = true;
        self
    }

    /// The Postgres to use: the first of [`Search::find_all`].
    pub fn find(&self) -> Result<Binaries> {
        self.find_all().and_then(|found| found.into_iter().next().ok_or(Error::NoBinaries))
    }

    /// Every supported Postgres, the preferred one first. Never empty.
    pub fn find_all(&self) -> Result<Vec<Binaries>> {
        if let Some(dir) = &self.override_dir {
            let binaries = Binaries::at(dir).ok_or_else(|| Error::BadOverride { dir: dir.clone() });
            return Ok(vec![binaries?]);
        }
        let mut found: Vec<Binaries> = Vec::new();
        let mut packaged = if self.only_path {
            Vec::new()
        } else {
            package_dirs().iter().filter_map(|dir| Binaries::at(dir)).collect()
        };
        packaged.sort_by_key(|binaries| std::cmp::Reverse(binaries.version.major));
        let path = self.path.clone().unwrap_or_default();
        let on_path = std::env::split_paths(&path).filter_map(|dir| Binaries::at(&dir));
        for binaries in on_path.chain(packaged) {
            if !found.iter().any(|known| known.dir == binaries.dir) {
                found.push(binaries);
            }
        }
        if found.is_empty() {
            return Err(Error::NoBinaries);
        }
        Ok(found)
    }
}

/// A bin directory with a supported Postgres in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// The directory, with symbolic links resolved: PATH often holds links to single programs.
    pub dir: PathBuf,
    /// What `postgres --version` says.
    pub version: Version,
}

impl Binaries {
    /// The binaries in `dir`, or `None` when it holds none of a supported version.
    #[must_use]
    pub fn at(dir: &Path) -> Option<Binaries> {
        let postgres = fs::canonicalize(dir.join("postgres")).ok()?;
        let dir = postgres.parent()?.to_path_buf();
        if !dir.join("initdb").is_file() {
            return None;
        }
        let version = Version::of(&postgres)?;
        (version.major >= OLDEST_MAJOR).then_some(Binaries { dir, version })
    }

    /// The path of one program, for example `initdb`.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// A Postgres version: the number that decides compatibility, and the text that people know it by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    pub major: u32,
    pub text: String,
}

impl Version {
    /// Asks the `postgres` program at this path.
    pub(crate) fn of(postgres: &Path) -> Option<Version> {
        let output = Command::new(postgres).arg("--version").output().ok()?;
        Version::parse(&String::from_utf8_lossy(&output.stdout))
    }

    /// Reads `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`, and betas such as `18beta1`.
    fn parse(line: &str) -> Option<Version> {
        let text = line.split_once("(PostgreSQL)")?.1.split_whitespace().next()?;
        let digits = text.split(|c: char| !c.is_ascii_digit()).next()?;
        Some(Version { major: digits.parse().ok()?, text: text.to_owned() })
    }
}

fn package_dirs() -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    for (parent, prefix, rest) in PACKAGE_PLACES {
        let Ok(children) = fs::read_dir(parent) else {
            continue;
        };
        for child in children.flatten() {
            if child.file_name().to_string_lossy().starts_with(prefix) {
                dirs.push(child.path().join(rest));
            }
        }
    }
    dirs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_releases_and_betas_are_read() {
        let debian = Version::parse("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n").unwrap();
        assert_eq!((debian.major, debian.text.as_str()), (15, "15.14"));
        assert_eq!(Version::parse("postgres (PostgreSQL) 18beta1").unwrap().major, 18);
        assert!(Version::parse("postgres").is_none());
    }

    #[test]
    fn an_empty_machine_is_told_what_to_install() {
        let search = Search::default().path(Some("/nonexistent".into())).without_package_places();
        assert!(matches!(search.find(), Err(Error::NoBinaries)));
    }

    #[test]
    fn a_wrong_override_is_not_replaced_by_a_search() {
        let search = Search::default().override_dir(Some("/nonexistent".into()));
        assert!(matches!(search.find(), Err(Error::BadOverride { .. })));
    }
}
