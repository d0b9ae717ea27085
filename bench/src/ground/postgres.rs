//! The private Postgres.

use std::fs;
use std::path::{Path, PathBuf};

use eventflow_embedded::{Cluster, Options, Search, Settings, Stop};
use tokio_postgres::NoTls;

use crate::{Failure, Result};

/// What differs from the server's own defaults. `fsync`, `full_page_writes` and `synchronous_commit` are on, and pages
/// carry checksums.
pub const SETTINGS: [(&str, &str); 2] = [("shared_buffers", "256MB"), ("default_toast_compression", "lz4")];

pub struct Postgres {
    cluster: Cluster,
    pid: u32,
    version: String,
    /// Where the data went instead of the directory asked for, if it did.
    relocated: Option<PathBuf>,
}

impl Postgres {
    pub async fn start(dir: &Path) -> Result<Self> {
        let mut options = Options::new(dir, Search::default().path(std::env::var_os("PATH")));
        options.runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        options.settings =
            SETTINGS.iter().fold(Settings::durable(), |settings, (name, value)| settings.set(*name, *value));
        let started = tokio::task::spawn_blocking(move || {
            let mut cluster = Cluster::prepare(options)?;
            cluster.start()?;
            Ok::<_, Failure>(cluster)
        });
        let mut cluster = started.await??;
        let pid = cluster.pid().ok_or("the private Postgres ended at once")?;
        let version = cluster.binaries().version.text.clone();
        let placement = cluster.placement();
        let relocated = placement.relocated.then(|| placement.actual.clone());
        Ok(Self { cluster, pid, version, relocated })
    }

    pub fn url(&self) -> String {
        self.cluster.connection_url()
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn version(&self) -> &str {
        &self.version
    }

    pub async fn stop(self) -> Result<()> {
        let Self { mut cluster, relocated, .. } = self;
        tokio::task::spawn_blocking(move || {
            cluster.stop(Stop::Immediate)?;
            drop(cluster);
            match relocated {
                Some(elsewhere) => Ok::<_, Failure>(fs::remove_dir_all(elsewhere)?),
                None => Ok(()),
            }
        })
        .await?
    }
}

/// A session as the superuser. It ends with its client.
pub async fn connect(url: &str) -> Result<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
