//! A Postgres of one test's own, to be stopped, killed, frozen and failed over.
//!
//! Durable by default: what these tests ask is mostly what survives. Every verb runs outside the test's runtime,
//! so a broker in the same process goes on working, or failing, while its database restarts.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, chown, symlink};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eventflow_embedded::{Cluster, Connection, Error, Settings, Stop};
use tempfile::TempDir;
use tokio_postgres::Client;

use crate::server::{self, Server};
use crate::small_disk::SmallDisk;
use crate::sql::connected;
use crate::upstream::Upstream;
use crate::within::within;

/// Between two looks at what gives no signal.
const POLL: Duration = Duration::from_millis(20);

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

    /// A running cluster whose write-ahead log lies on a small disk.
    pub async fn with_log_on(disk: &SmallDisk, settings: Settings) -> OwnCluster {
        let log = disk.path().join("pg_wal");
        OwnCluster::prepared(scratch(), settings, move |cluster| move_dir(&cluster.data_dir().join("pg_wal"), &log))
            .await
    }

    async fn in_dir(dir: TempDir, settings: Settings) -> OwnCluster {
        OwnCluster::prepared(dir, settings, |_| {}).await
    }

    async fn prepared(dir: TempDir, settings: Settings, prepare: impl FnOnce(&Cluster) + Send + 'static) -> OwnCluster {
        let options = server::options(dir.path(), settings.clone());
        let cluster = blocking(move || {
            let mut cluster = Cluster::prepare(options)?;
            prepare(&cluster);
            cluster.start()?;
            Ok(cluster)
        })
        .await;
        OwnCluster { connection: cluster.connection(), cluster: Arc::new(Mutex::new(cluster)), settings, _dir: dir }
    }

    /// A tablespace on a small disk, for what shall meet its end there.
    pub async fn tablespace_on(&self, name: &str, disk: &SmallDisk) {
        let location = disk.path().join(name);
        let made = location.clone();
        self.apply(move |cluster| {
            make_data_dir(&made, cluster);
            Ok(())
        })
        .await;
        let sql = format!("create tablespace {name} location '{}'", location.display());
        let client = self.connect().await;
        client.batch_execute(&sql).await.unwrap_or_else(|error| panic!("`{sql}` failed: {error:?}"));
    }

    /// Waits until the server has ended by itself.
    pub async fn wait_for_end(&self) {
        within("the server to end by itself", async {
            while self.apply(|cluster| Ok(cluster.pid().is_some())).await {
                tokio::time::sleep(POLL).await; // poll
            }
        })
        .await;
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

    /// A streaming replica of this cluster, caught up with it. Asynchronous until [`OwnCluster::wait_for_standbys`].
    pub async fn standby(&self) -> OwnCluster {
        self.standby_of(&self.connection).await
    }

    /// The same, over a proxy in front of this cluster that can cut it off.
    pub async fn standby_through(&self, proxy: SocketAddr) -> OwnCluster {
        let (host, port) = (proxy.ip().to_string(), proxy.port());
        self.standby_of(&Connection { host, port, ..self.connection.clone() }).await
    }

    /// From now on a commit waits until a standby has flushed it; returns when one is there to do so.
    pub async fn wait_for_standbys(&self) {
        let client = self.connect().await;
        for sql in ["alter system set synchronous_standby_names = '*'", "select pg_reload_conf()"] {
            client.batch_execute(sql).await.unwrap_or_else(|error| panic!("`{sql}` failed: {error:?}"));
        }
        let sql = "select exists (select from pg_stat_replication where sync_state = 'sync')";
        within("a synchronous standby", async {
            while !value::<bool>(&client, sql).await {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    async fn standby_of(&self, primary: &Connection) -> OwnCluster {
        let dir = scratch();
        let data_dir = dir.path().join("postgres");
        let primary = primary.keywords();
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

/// Moves a directory to another file system and leaves a link in its place.
fn move_dir(from: &Path, to: &Path) {
    let moved = Command::new("cp").arg("-a").arg(from).arg(to).status().and_then(|status| {
        assert!(status.success(), "`{}` could not be copied", from.display());
        fs::remove_dir_all(from)?;
        symlink(to, from)
    });
    moved.unwrap_or_else(|error| panic!("could not move `{}`: {error}", from.display()));
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
