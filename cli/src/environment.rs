//! The only place of the command line that reads the environment (`clap` shows its own variables in `--help`).

use std::{ffi::OsString, path::PathBuf};

#[expect(clippy::disallowed_methods, reason = "the one function that reads a variable")]
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The search path for programs.
pub fn path() -> Option<OsString> {
    variable("PATH")
}

/// Where Postgres' programs are, when they are not where packages put them.
pub fn postgres_bin() -> Option<PathBuf> {
    variable("EVENTFLOW_POSTGRES_BIN").map(PathBuf::from)
}

/// Where sockets of this user may lie.
pub fn runtime_dir() -> Option<PathBuf> {
    variable("XDG_RUNTIME_DIR").map(PathBuf::from)
}

/// `eventflow` in the user's directory for configuration.
pub fn config_dir() -> Option<PathBuf> {
    under("XDG_CONFIG_HOME", ".config")
}

/// `eventflow` in the user's directory for data.
pub fn data_dir() -> Option<PathBuf> {
    under("XDG_DATA_HOME", ".local/share")
}

fn under(variable_name: &str, in_home: &str) -> Option<PathBuf> {
    let base = variable(variable_name)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| Some(PathBuf::from(variable("HOME")?).join(in_home)))?;
    Some(base.join("eventflow"))
}

/// The API key, if one is set.
pub fn api_key() -> Option<String> {
    variable(eventflow::API_KEY_VARIABLE)?.into_string().ok()
}

/// Where brokers are, if that is set.
pub fn url() -> Option<String> {
    variable(eventflow::URL_VARIABLE)?.into_string().ok()
}

/// <https://no-color.org>, and terminals that know none.
pub fn wants_no_color() -> bool {
    variable("NO_COLOR").is_some() || variable("TERM").is_some_and(|term| term == "dumb")
}

/// Names of our own variables, which a broker started for a demonstration must not inherit.
#[expect(clippy::disallowed_methods, reason = "reads names only, to leave them out")]
pub fn our_names() -> Vec<OsString> {
    std::env::vars_os().map(|(name, _)| name).filter(|name| name.to_string_lossy().starts_with("EVENTFLOW_")).collect()
}
