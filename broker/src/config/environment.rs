//! The only place that reads environment variables.

/// Every variable that could be a setting of ours.
pub(super) fn variables() -> Vec<(String, String)> {
    #[expect(clippy::disallowed_methods, reason = "config is the one room that reads the environment")]
    let all = std::env::vars_os();
    all.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("EVENTFLOW_"))
        .collect()
}

/// Name of this machine, for the default name of the broker.
pub(super) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
