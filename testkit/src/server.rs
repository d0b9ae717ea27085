//! The Postgres that tests share.
//!
//! `make test` starts one and names it in [`DATABASE_URL`]. Without that, each test process starts its own, so
//! that a bare `cargo test -p x` works; it dies with the process, and a later process sweeps its files away.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use eventflow_embedded::{Cluster, Connection, Guard, Options, Search, Settings};
use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// The variable that names the shared Postgres: a superuser's URL, or `host=… user=… dbname=…`.
pub const DATABASE_URL: &str = "EVENTFLOW_TEST_DATABASE_URL";

/// Directories of process-wide clusters: this, then the process id.
const DIRECTORY_PREFIX: &str = "eventflow-testkit-";

/// A Postgres on which databases can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    connection: Connection,
}

impl Server {
    /// The one that all tests share.
    pub async fn shared() -> Server {
        static SHARED: OnceLock<(Server, Option<Cluster>)> = OnceLock::new();
        let started = tokio::task::spawn_blocking(|| {
            let (server, _cluster) = SHARED.get_or_init(|| match std::env::var(DATABASE_URL) {
                Ok(url) => (Server::named(&url), None),
                Err(_) => start_for_this_process(),
            });
            server.clone()
        });
        match started.await {
            Ok(server) => server,
            Err(_) => panic!("no shared Postgres: see the message above, or set {DATABASE_URL}"),
        }
    }

    /// A server that somebody else runs.
    pub fn at(connection: Connection) -> Server {
        Server { connection }
    }

    /// The superuser's connection to the database `postgres`, or to the one that the URL names.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    fn named(url: &str) -> Server {
        let config: Config =
            url.parse().unwrap_or_else(|error| panic!("{DATABASE_URL} is not a Postgres URL: {error}"));
        let host = match config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(dir)) => dir.display().to_string(),
            None => "localhost".to_owned(),
        };
        Server::at(Connection {
            host,
            port: config.get_ports().first().copied().unwrap_or(5432),
            user: config.get_user().unwrap_or("postgres").to_owned(),
            password: config.get_password().map(|password| String::from_utf8_lossy(password).into_owned()),
            database: config.get_dbname().unwrap_or("postgres").to_owned(),
        })
    }
}

/// Options of a cluster that belongs to tests: guarded without a `main` of ours.
pub(crate) fn options(dir: &Path, settings: Settings) -> Options {
    let programs = std::env::var_os("EVENTFLOW_POSTGRES_BIN").map(PathBuf::from);
    let search = Search::default().path(std::env::var_os("PATH")).override_dir(programs);
    let mut options = Options::new(dir, search);
    options.guard = Guard::Setpriv;
    options.settings = settings;
    options
}

/// A new directory that the server's user can enter even when we are root.
pub(crate) fn make_open(dir: &Path) {
    fs::create_dir_all(dir)
        .and_then(|()| fs::set_permissions(dir, Permissions::from_mode(0o755)))
        .unwrap_or_else(|error| panic!("could not make `{}`: {error}", dir.display()));
}

fn start_for_this_process() -> (Server, Option<Cluster>) {
    sweep();
    let dir = directory_of(std::process::id());
    // What a process of the same id left behind is nobody's.
    let _ = fs::remove_dir_all(&dir);
    make_open(&dir);
    let mut cluster = Cluster::prepare(options(&dir, Settings::throwaway())).unwrap_or_else(|error| panic!("{error}"));
    cluster.start().unwrap_or_else(|error| panic!("{error}"));
    (Server::at(cluster.connection()), Some(cluster))
}

fn directory_of(pid: u32) -> PathBuf {
    std::env::temp_dir().join(format!("{DIRECTORY_PREFIX}{pid}"))
}

/// Removes what processes left that are gone: a test process ends without a chance to clean up.
fn sweep() {
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix(DIRECTORY_PREFIX))
            .and_then(|pid| pid.parse().ok())
            .and_then(rustix::process::Pid::from_raw);
        let Some(pid) = pid else { continue };
        let alive = rustix::process::test_kill_process(pid) != Err(rustix::io::Errno::SRCH);
        if !alive {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_the_shared_server_are_read() {
        let keywords = Server::named("host=/tmp/xyz user=postgres dbname=postgres");
        let url = Server::named("postgresql:///postgres?host=/tmp/xyz&user=postgres");
        assert_eq!(keywords, url);
        assert_eq!(keywords.connection().host, "/tmp/xyz");
        let tcp = Server::named("postgres://u:p@db:6000/x");
        assert_eq!(tcp.connection().url(), "postgresql:///x?host=db&port=6000&user=u&password=p");
    }
}
