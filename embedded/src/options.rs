//! What a caller may choose about its cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::placement::RELOCATION_ROOT;
use crate::{Guard, Search};

/// How to make and run one cluster.
#[derive(Debug, Clone)]
pub struct Options {
    /// The directory that the user named; see [`crate::Placement`] for where the data really lies.
    pub dir: PathBuf,
    /// Where to look for binaries; those of the data's own version are preferred.
    pub search: Search,
    /// Listen on 127.0.0.1 at this port as well, with a generated password.
    pub tcp_port: Option<u16>,
    /// Server settings, given on the command line at every start.
    pub settings: Settings,
    /// How the server is tied to the life of this process.
    pub guard: Guard,
    /// The value of XDG_RUNTIME_DIR: sockets go there when the directory's own path is too long for one.
    pub runtime_dir: Option<PathBuf>,
    /// Where clusters go that the service user could not reach in `dir`.
    pub relocation_root: PathBuf,
    /// How long a start may take. Generous by default, because crash recovery is part of it.
    pub start_timeout: Duration,
}

impl Options {
    /// Durable settings, unix socket only, guarded by re-execution of this program.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, search: Search) -> Self {
        Options {
            dir: dir.into(),
            search,
            tcp_port: None,
            settings: Settings::durable(),
            guard: Guard::Reexec,
            runtime_dir: None,
            relocation_root: RELOCATION_ROOT.into(),
            start_timeout: Duration::from_secs(120),
        }
    }
}

/// Server settings by name. Addresses, port and socket directory belong to the cluster and cannot be overridden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Safe against power loss; quiet log; what `eventflow dev` wants.
    #[must_use]
    pub fn durable() -> Self {
        Settings(BTreeMap::new())
            .set("log_checkpoints", "off")
            .set("log_line_prefix", "%m [%p] ")
            .set("logging_collector", "off")
            .set("max_connections", "200")
            .set("shared_buffers", "128MB")
    }

    /// For data that nobody will miss: the same server without waiting for the disk.
    #[must_use]
    pub fn throwaway() -> Self {
        Settings::durable().set("fsync", "off").set("full_page_writes", "off")
    }

    /// Adds or replaces one setting.
    #[must_use]
    pub fn set(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// The settings in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}
