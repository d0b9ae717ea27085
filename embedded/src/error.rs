//! Everything that can go wrong between "start Postgres" and a server that answers.
//!
//! Each text names the thing in backticks and says what to do next; the CLI prints it as it is.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A failure of the private Postgres.
#[derive(Debug)]
pub enum Error {
    /// No installed Postgres of a supported version.
    NoBinaries,
    /// The directory named by the caller holds no usable Postgres.
    BadOverride { dir: PathBuf },
    /// The data was written by another major version than the ones installed.
    WrongVersion { data_dir: PathBuf, data: u32, installed: Vec<u32> },
    /// The binaries changed on disk since this Postgres was started from them.
    BinariesReplaced { dir: PathBuf, started: String, installed: Option<String> },
    /// Another process holds the directory.
    AlreadyRunning { dir: PathBuf, pid: Option<u32> },
    /// The TCP port asked for is in use.
    PortTaken { port: u16 },
    /// The process is root and the system has no `postgres` user to run the server as.
    NoServiceUser,
    /// The guard was asked for, but `main` did not call [`crate::run_guard_if_asked`] first.
    GuardNotInstalled,
    /// `initdb` or another of the Postgres programs failed.
    Program { program: String, output: String },
    /// The server stopped by itself.
    Exited { log: PathBuf, tail: String },
    /// The server did not accept connections in time.
    NotReady { seconds: u64, log: PathBuf, tail: String },
    /// The operating system refused something.
    Io { doing: String, source: io::Error },
}

impl Error {
    /// An I/O error with what was being done, for example "create `/x`".
    pub(crate) fn io(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
        let doing = doing.into();
        move |source| Error::Io { doing, source }
    }

    /// An I/O error of a verb on a path.
    pub(crate) fn at<'a>(verb: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
        move |source| Error::Io { doing: format!("{verb} `{}`", path.display()), source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoBinaries => f.write_str(NO_BINARIES),
            Error::BadOverride { dir } => write!(
                f,
                "`{}` holds no `postgres` and `initdb` of version {} or newer: name the bin directory of one",
                dir.display(),
                crate::OLDEST_MAJOR
            ),
            Error::WrongVersion { data_dir, data, installed } => wrong_version(f, data_dir, *data, installed),
            Error::BinariesReplaced { dir, started, installed } => write!(
                f,
                "the Postgres binaries in `{}` were replaced while this Postgres runs (started as {started}, now {}): \
                 stop it and start it again",
                dir.display(),
                installed.as_deref().unwrap_or("gone")
            ),
            Error::AlreadyRunning { dir, pid } => match pid {
                Some(pid) => write!(
                    f,
                    "already running, pid {pid}: `{}` is in use; stop that process or choose another directory",
                    dir.display()
                ),
                None => write!(
                    f,
                    "already running: `{}` is in use; stop that process or choose another directory",
                    dir.display()
                ),
            },
            Error::PortTaken { port } => {
                write!(f, "port {port} on 127.0.0.1 is taken: choose another port or stop what listens there")
            }
            Error::NoServiceUser => f.write_str(
                "postgres refuses to run as root and there is no system user `postgres`: create it with \
                 `useradd --system postgres`, or run as another user",
            ),
            Error::GuardNotInstalled => {
                f.write_str("the guard is not installed: call `run_guard_if_asked` first in `main`")
            }
            Error::Program { program, output } => {
                write!(f, "`{program}` failed: {output}; correct what it names and run it again")
            }
            Error::Exited { log, tail } => {
                write!(f, "postgres stopped by itself; its log `{}` ends with:\n{tail}", log.display())
            }
            Error::NotReady { seconds, log, tail } => {
                write!(f, "postgres was not ready within {seconds} s; its log `{}` ends with:\n{tail}", log.display())
            }
            Error::Io { doing, source } => write!(f, "could not {doing}: {source}"),
        }
    }
}

/// Exactly three lines: what is missing, the command that cures it, and the surprise that the cure brings.
const NO_BINARIES: &str = "\
no Postgres 15 or newer found: looked in PATH, /usr/lib/postgresql/*/bin, /usr/pgsql-*/bin and Homebrew
install it with `apt-get install postgresql` (macOS: `brew install postgresql@17`)
Debian's package also starts a cluster of its own on port 5432, unless `create_main_cluster = false` stands in /etc/postgresql-common/createcluster.conf first";

fn wrong_version(f: &mut fmt::Formatter<'_>, data_dir: &Path, data: u32, installed: &[u32]) -> fmt::Result {
    let installed = installed.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    write!(
        f,
        "`{}` was written by Postgres {data}, installed is {installed}: install version {data} \
         (`apt-get install postgresql-{data}`), convert the data with `pg_upgrade`, or choose another directory",
        data_dir.display()
    )
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_binaries_take_three_lines_and_name_the_cure() {
        let text = Error::NoBinaries.to_string();
        assert_eq!(text.lines().count(), 3);
        assert!(text.contains("apt-get install postgresql"));
        assert!(text.contains("5432"));
    }

    #[test]
    fn another_major_version_is_named_with_its_cure() {
        let text = Error::WrongVersion { data_dir: "/d".into(), data: 14, installed: vec![16, 15] }.to_string();
        assert!(text.contains("written by Postgres 14, installed is 16, 15"));
        assert!(text.contains("apt-get install postgresql-14"));
    }
}
