//! What the tests of this crate share: a directory the server's user can reach, options, and one query by `psql`.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    reason = "each test binary uses its own part, and PATH is the test's own"
)]

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use eventflow_embedded::{Connection, Guard, Options, Search, Settings};
use tempfile::TempDir;

pub fn scratch() -> TempDir {
    let open = Permissions::from_mode(0o755);
    tempfile::Builder::new().prefix("eventflow-").permissions(open).tempdir().unwrap()
}

pub fn options(dir: &Path) -> Options {
    let mut options = Options::new(dir, search());
    options.settings = Settings::throwaway();
    options.guard = Guard::Setpriv;
    options
}

pub fn search() -> Search {
    let programs = std::env::var_os("EVENTFLOW_POSTGRES_BIN").map(Into::into);
    Search::default().path(std::env::var_os("PATH")).override_dir(programs)
}

pub fn query(connection: &Connection, sql: &str) -> Result<String, String> {
    query_url(&connection.url(), sql)
}

pub fn query_url(url: &str, sql: &str) -> Result<String, String> {
    let psql = search().find().unwrap().program("psql");
    let output = Command::new(psql).args(["-XAtq", "-c", sql, url]).output().unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}
