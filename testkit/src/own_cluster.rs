//! A Postgres of one test's own, to be stopped, killed, frozen and failed over.
//!
//! Durable by default: what these tests ask is mostly what survives. Every verb runs outside the test's runtime,
//! so a broker in the same process goes on working, or failing, while its database restarts.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use eventflow_embedded::{Cluster, Connection, Error, Settings, Stop};
use tempfile::TempDir;
use tokio_postgres::Client;

use crate::server::{self, Server};
use crate::sql::connected;
use crate::upstream::Upstream;
use crate::within::within;

/// A cluster that belongs to one test. Dropping it kills the server and removes its files.
#[derive(Debug)]
pub struct OwnCluster {
    cluster: Arc<Mutex<Cluster>>,
    connection: Connection,
    settings: Settings,
    // After the cluster, so that the files go when the server is gone.
    _dir: TempDir,
}

impl OwnCluster {
    /// A running cluster with durable settings.
    pub async fn new() -> OwnCluster {
        OwnCluster::with_settings(Settings::durable()).await
    }

    /// A running cluster with these settings.
    pub async fn with_settings(settings: Settings) -> OwnCluster {
        OwnCluster::in_dir(scratch(), settings).await
    }

    async fn in_dir(dir: TempDir, settings: Settings) -> OwnCluster {
        let options = server::options(dir.path(), settings.clone());
        let cluster = blocking(move || {
            let mut cluster = Cluster::prepare(options)?;
            cluster.start()?;
            Ok(cluster)
        })
        .await;
        OwnCluster { connection: cluster.connection(), cluster: Arc::new(Mutex::new(cluster)), settings, _dir: dir }
    }

    /// Starts a stopped server; returns when it accepts connections.
    pub async fn start(&self) {
        self.apply(Cluster::start).await;
    }

    /// Stops the server; returns when all its processes are gone. `Stop::Kill` is SIGKILL.
    pub async fn stop(&self, how: Stop) {
        self.apply(move |cluster| cluster.stop(how)).await;
    }

    /// Stops and starts.
    pub async fn restart(&self, how: Stop) {
        self.apply(move |cluster| cluster.restart(how)).await;
    }

    /// SIGSTOP to all of the server's processes: connections stay open and say nothing.
    pub async fn freeze(&self) {
        self.apply(Cluster::freeze).await;
    }

    /// SIGCONT to all of the server's processes.
    pub async fn thaw(&self) {
        self.apply(Cluster::thaw).await;
    }

    /// Changes a server setting from the next start on.
    pub async fn set(&self, name: &str, value: &str) {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.apply(move |cluster| {
            let settings = cluster.settings_mut();
            *settings = settings.clone().set(name, value);
            Ok(())
        })
        .await;
    }

    /// Ends the sessions for which `condition` holds, an SQL condition on `pg_stat_activity` such as
    /// `datname = 't_1'`, and returns how many there were.
    pub async fn terminate_backends(&self, condition: &str) -> i64 {
        let sql = format!(
            "select count(pg_terminate_backend(pid)) from pg_stat_activity \
             where pid <> pg_backend_pid() and backend_type = 'client backend' and ({condition})"
        );
        value(&self.connect().await, &sql).await
    }

    /// A streaming replica of this cluster, caught up with it.
    pub async fn standby(&self) -> OwnCluster {
        let dir = scratch();
        let data_dir = dir.path().join("postgres");
        let primary = self.connection.keywords();
        self.apply(move |cluster| {
            make_data_dir(&data_dir, cluster);
            let args = ["-D".as_ref(), data_dir.as_os_str(), "-d".as_ref(), primary.as_ref()];
            let how = ["-R", "-X", "stream", "-c", "fast"].map(AsRef::as_ref);
            cluster.run_program("pg_basebackup", args.into_iter().chain(how))
        })
        .await;
        let standby = OwnCluster::in_dir(dir, self.settings.clone()).await;
        standby.catch_up_with(self).await;
        standby
    }

    /// Waits until this replica has replayed everything that `primary` has written by now.
    pub async fn catch_up_with(&self, primary: &OwnCluster) {
        let written: String = value(&primary.connect().await, "select pg_current_wal_lsn()::text").await;
        let replica = self.connect().await;
        let sql = format!("select pg_last_wal_replay_lsn() >= '{written}'::pg_lsn");
        within("the replica to catch up", async {
            while !value::<Option<bool>>(&replica, &sql).await.unwrap_or(false) {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Makes this replica a primary; returns when it takes writes. The old primary is not asked.
    pub async fn promote(&self) {
        let promoted: bool = value(&self.connect().await, "select pg_promote(true, 60)").await;
        assert!(promoted, "the replica was not promoted within 60 s");
    }

    /// A migrated database on this cluster.
    #[cfg(feature = "broker")]
    pub async fn database(&self) -> crate::Database {
        crate::Database::on(&self.server()).await
    }

    /// This cluster as a place for databases.
    pub fn server(&self) -> Server {
        Server::at(self.connection.clone())
    }

    /// The superuser's connection, over the unix socket. The same after every restart.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// [`OwnCluster::connection`] as a URL.
    pub fn url(&self) -> String {
        self.connection.url()
    }

    /// Where a proxy in front of this cluster connects to.
    pub fn upstream(&self) -> Upstream {
        Upstream::postgres(&self.connection)
    }

    /// A new superuser session in the database `postgres`.
    pub async fn connect(&self) -> Client {
        connected(&self.connection).await
    }

    async fn apply<T, F>(&self, verb: F) -> T
    where
        T: Send + 'static,
        F: FnOnce(&mut Cluster) -> Result<T, Error> + Send + 'static,
    {
        let cluster = Arc::clone(&self.cluster);
        blocking(move || verb(&mut cluster.lock().unwrap_or_else(PoisonError::into_inner))).await
    }
}

impl Drop for OwnCluster {
    fn drop(&mut self) {
        let mut cluster = self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = cluster.stop(Stop::Kill);
    }
}

fn scratch() -> TempDir {
    let dir = tempfile::Builder::new()
        .prefix("eventflow-own-")
        .tempdir()
        .unwrap_or_else(|error| panic!("could not make a temporary directory: {error}"));
    server::make_open(dir.path());
    dir
}

/// `pg_basebackup` fills an empty directory of the server's user; its parent is ours.
fn make_data_dir(data_dir: &Path, cluster: &Cluster) {
    let made = fs::DirBuilder::new().mode(0o700).create(data_dir);
    let owned = made.and_then(|()| match cluster.service_user() {
        Some(user) => chown(data_dir, Some(user.uid), Some(user.gid)),
        None => Ok(()),
    });
    owned.unwrap_or_else(|error| panic!("could not make `{}`: {error}", data_dir.display()));
}

async fn blocking<T, F>(work: F) -> T
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Error> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => panic!("{error}"),
        Err(_) => panic!("the work on the cluster panicked: see above"),
    }
}

async fn value<T>(client: &Client, sql: &str) -> T
where
    T: for<'a> tokio_postgres::types::FromSql<'a>,
{
    match client.query_one(sql, &[]).await {
        Ok(row) => row.get(0),
        Err(error) => panic!("`{sql}` failed: {error:?}"),
    }
}
