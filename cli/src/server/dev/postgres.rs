//! The private Postgres of a directory, for async code.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use eventflow_embedded::{Cluster, Options, Search, Stop};

use crate::{
    environment,
    failure::{Exit, Failure, Result},
};

/// How often a dead server is looked for.
const LOOK: Duration = Duration::from_millis(500);

/// A private Postgres. Dropping it stops it.
#[derive(Clone, Debug)]
pub struct Postgres {
    cluster: Arc<Mutex<Cluster>>,
}

impl Postgres {
    /// Finds the programs, takes the directory, and makes the data unless it is there already.
    pub async fn prepare(dir: &Path, programs: Option<PathBuf>) -> Result<Self> {
        let programs = programs.or_else(environment::postgres_bin);
        let search = Search::default().path(environment::path()).override_dir(programs);
        let mut options = Options::new(dir, search);
        options.runtime_dir = environment::runtime_dir();
        let cluster = blocking(move || Cluster::prepare(options)).await?;
        Ok(Self { cluster: Arc::new(Mutex::new(cluster)) })
    }

    /// Returns when it answers.
    pub async fn start(&mut self) -> Result<()> {
        let postgres = self.clone();
        blocking(move || postgres.cluster().start()).await
    }

    /// Returns when all of it is gone.
    pub async fn stop(&self) -> Result<()> {
        self.stop_by(Stop::Fast).await
    }

    /// As [`Postgres::stop`], for data that nobody will miss.
    pub async fn stop_at_once(&self) -> Result<()> {
        self.stop_by(Stop::Immediate).await
    }

    async fn stop_by(&self, how: Stop) -> Result<()> {
        let postgres = self.clone();
        blocking(move || postgres.cluster().stop(how)).await
    }

    pub fn url(&self) -> String {
        self.cluster().connection_url()
    }

    /// Version, and where its data and log are.
    pub fn describe(&self) -> (String, PathBuf, PathBuf) {
        let cluster = self.cluster();
        (cluster.binaries().version.text.clone(), cluster.data_dir(), cluster.log_path())
    }

    /// Where the data went instead of the directory asked for, if it did, and what was set aside for it.
    pub fn relocation(&self) -> (Option<PathBuf>, Option<PathBuf>) {
        let cluster = self.cluster();
        let placement = cluster.placement();
        (placement.relocated.then(|| placement.actual.clone()), placement.set_aside.clone())
    }

    /// Waits until the server has ended by itself.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let postgres = self.clone();
        async move {
            while postgres.cluster().exit_status().is_none() {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Why it cannot go on, if the server has ended by itself.
    pub fn failure(&self) -> Option<Failure> {
        let mut cluster = self.cluster();
        let status = cluster.exit_status()?;
        let log = cluster.log_path();
        let sentence = format!("the private Postgres ended by itself ({status})");
        let hint = format!("its log is `{}`; a later start recovers what was acknowledged", log.display());
        Some(Failure::new(Exit::Unavailable, "POSTGRES_FAILED", sentence).hint(hint))
    }

    fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Calls of the cluster block, some of them for seconds.
async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> eventflow_embedded::Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(call).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(Failure::new(Exit::Error, "INTERNAL", "the call to the private Postgres panicked")),
    }
}
