//! The database, by a name under which everybody finds it: a failover points the name at another server.
//!
//! The name is a directory that holds a link to the socket of whoever is the primary, as DNS or an address that moves would do
//! it. Brokers come to it through their proxies, the runner directly.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use eventflow_testkit::{Connection, Database, Direction, OwnCluster, Settings, SmallDisk, Stop, TcpProxy, Upstream};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, NoTls};

use crate::Result;

/// The socket's name in the directory of every private cluster.
const SOCKET: &str = ".s.PGSQL.5432";
/// Megabytes of a disk that is to be filled, before and after: more than a run writes.
const ROOM: u32 = 3_072;
/// A server whose log has no room ends at its next segment; under this load that is a matter of seconds.
const RUNS_OUT: Duration = Duration::from_secs(20);

/// What stands behind the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replica {
    #[default]
    None,
    /// A commit waits for it.
    Synchronous,
    /// It may be behind.
    Asynchronous,
}

/// What of the server lies on a disk that is to be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnSmallDisk {
    #[default]
    Nothing,
    /// Tables and indexes.
    Data,
    /// The write-ahead log.
    Log,
}

struct Standby {
    cluster: OwnCluster,
    /// Its way to the primary.
    way: TcpProxy,
}

/// See the [module](self).
pub struct Postgres {
    primary: Mutex<Arc<OwnCluster>>,
    standby: tokio::sync::Mutex<Option<Standby>>,
    replica: Replica,
    connection: Connection,
    front: TempDir,
    disk: Option<SmallDisk>,
    // Made on the first primary, and dropped there if that still runs.
    _database: Database,
}

impl Postgres {
    pub async fn start(settings: Settings, replica: Replica, on_small_disk: OnSmallDisk) -> Result<Postgres> {
        let disk = match on_small_disk {
            OnSmallDisk::Nothing => None,
            OnSmallDisk::Data | OnSmallDisk::Log => SmallDisk::mount(ROOM),
        };
        let cluster = match &disk {
            // Without room it ends, and stays down until somebody has made room.
            Some(disk) if on_small_disk == OnSmallDisk::Log => {
                OwnCluster::with_log_on(disk, settings.set("restart_after_crash", "off")).await
            }
            _ => OwnCluster::with_settings(settings).await,
        };
        let database = cluster.database().await;
        if let Some(disk) = disk.as_ref().filter(|_| on_small_disk == OnSmallDisk::Data) {
            cluster.tablespace_on("small", disk).await;
            let sql = format!("alter database {} set tablespace small", database.name());
            cluster.connect().await.batch_execute(&sql).await?;
        }
        let front = tempfile::Builder::new().prefix("eventflow-front-").tempdir()?;
        let host = front.path().to_string_lossy().into_owned();
        let connection = Connection { host, ..database.connection().clone() };
        let postgres = Postgres {
            primary: Mutex::new(Arc::new(cluster)),
            standby: tokio::sync::Mutex::new(None),
            replica,
            connection,
            front,
            disk,
            _database: database,
        };
        postgres.point_at_primary()?;
        postgres.add_standby().await;
        Ok(postgres)
    }

    /// The server that is the primary now.
    pub fn cluster(&self) -> Arc<OwnCluster> {
        Arc::clone(&self.primary.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The database as everybody finds it.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    pub fn upstream(&self) -> Upstream {
        Upstream::postgres(&self.connection)
    }

    /// The same through a proxy.
    pub fn through(&self, proxy: std::net::SocketAddr) -> Connection {
        Connection { host: proxy.ip().to_string(), port: proxy.port(), ..self.connection.clone() }
    }

    /// A superuser's session past all proxies. Fails while the server is away.
    pub async fn connect(&self) -> Result<Client> {
        let (client, connection) = tokio_postgres::connect(&self.connection.url(), NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    /// Kills the primary and lets its standby take over; returns when that takes writes. One that is to be behind hears nothing
    /// of the last moments.
    pub async fn fail_over(&self, behind: Duration) -> Result<()> {
        let Some(standby) = self.standby.lock().await.take() else { return Err("there is no standby".into()) };
        if self.replica == Replica::Asynchronous {
            standby.way.handle().stall(Direction::Down);
            sleep(behind).await;
        }
        self.cluster().stop(Stop::Kill).await;
        drop(standby.way);
        standby.cluster.promote().await;
        *self.primary.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(standby.cluster);
        self.point_at_primary()
    }

    /// A new standby of the present primary, when this run has standbys.
    pub async fn add_standby(&self) {
        if self.replica == Replica::None {
            return;
        }
        let primary = self.cluster();
        let way = TcpProxy::start(primary.upstream());
        let cluster = primary.standby_through(way.address()).await;
        if self.replica == Replica::Synchronous {
            primary.wait_for_standbys().await;
        }
        *self.standby.lock().await = Some(Standby { cluster, way });
    }

    /// Leaves no room on the disk for so long. Why not, when that cannot be done.
    pub async fn fill_disk(&self, time: Duration) -> Result<(), String> {
        let disk = self.disk.as_ref().ok_or("this process may not mount a file system")?;
        disk.fill();
        sleep(time).await;
        disk.grow(ROOM);
        Ok(())
    }

    /// Leaves no room for the log until the server has ended, then makes room and starts it again.
    pub async fn fill_log_disk(&self) -> Result<(), String> {
        let disk = self.disk.as_ref().ok_or("this process may not mount a file system")?;
        disk.fill();
        let ended = timeout(RUNS_OUT, self.cluster().wait_for_end()).await;
        disk.grow(ROOM);
        self.cluster().start().await;
        ended.map_err(|_| format!("the server did not run out of room within {} s", RUNS_OUT.as_secs()))
    }

    fn point_at_primary(&self) -> Result<()> {
        let cluster = self.cluster();
        let socket = Path::new(&cluster.connection().host).join(SOCKET);
        // Put in place by renaming, so that nobody finds no name at all.
        let (new, name): (PathBuf, PathBuf) = (self.front.path().join("new"), self.front.path().join(SOCKET));
        symlink(socket, &new)?;
        Ok(std::fs::rename(new, name)?)
    }
}
