//! What an operator sees of the whole database: brokers, leases, settings, the slowest groups. All organizations at once, so it
//! needs the role that owns the schema, never the broker's.

use crate::domain::{Error, Reason, Result};
use crate::store::{Client, DatabaseUrl, error};

/// Settings of Postgres that matter to a broker.
const SETTINGS: &[&str] = &[
    "autovacuum",
    "data_checksums",
    "default_toast_compression",
    "fsync",
    "full_page_writes",
    "idle_in_transaction_session_timeout",
    "max_connections",
    "max_wal_size",
    "shared_buffers",
    "synchronous_commit",
    "synchronous_standby_names",
    "wal_level",
];

/// The database as a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerStatus {
    pub server_version: String,
    /// Such as 150014.
    pub server_version_num: i32,
    pub log_epoch: i64,
    pub database_bytes: i64,
    pub schema_version: i32,
    pub oldest_broker: i32,
    pub organizations: i64,
    pub streams: i64,
    pub consumer_groups: i64,
    pub api_keys: i64,
    pub oldest_transaction_seconds: f64,
    pub connections: i64,
    pub idle_slots: i64,
}

/// A broker that has, or until a minute ago had, a lease.
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerStatus {
    pub name: String,
    pub address: String,
    pub version: String,
    pub uptime_seconds: f64,
    /// Negative: the lease has run out.
    pub lease_seconds_left: f64,
    pub members: i64,
    pub partitions: i64,
}

/// A consumer group and how far it is behind.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupStatus {
    pub organization: String,
    pub group: String,
    pub stream: String,
    pub paused: bool,
    pub members: i64,
    pub lag_events: i64,
    pub lag_seconds: f64,
}

/// A setting of Postgres, as `pg_settings` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    pub name: String,
    pub value: String,
    pub unit: String,
    pub source: String,
}

/// A session that acts as the owner of the schema. Dropping it ends the session.
pub struct Inspection {
    client: tokio_postgres::Client,
    driver: tokio::task::AbortHandle,
}

impl Inspection {
    /// Connects. The user must be the one that migrated, or another member of `eventflow_owner`.
    pub async fn open(url: &DatabaseUrl) -> Result<Self> {
        let connecting = url.config().connect(url.tls()?).await;
        let (client, connection) = connecting.map_err(error::unavailable)?;
        let drive = async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "database connection ended");
            }
        };
        #[expect(clippy::disallowed_methods, reason = "the driver lives exactly as long as its Inspection")]
        let driver = tokio::spawn(drive).abort_handle();
        Ok(Self { client, driver })
    }

    pub fn client(&self) -> &tokio_postgres::Client {
        &self.client
    }

    /// Takes the owner's role. Before this, only what every user may see can be asked for.
    pub async fn act_as_owner(&self) -> Result<()> {
        let taken = self.client.batch_execute("set role eventflow_owner; set jit = off").await;
        taken.map_err(|error| {
            Error::new(
                Reason::PermissionDenied,
                "the database user is not a member of `eventflow_owner`; use the user that ran `eventflow migrate`",
            )
            .source(error)
        })
    }
}

impl Drop for Inspection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

pub async fn server(client: &impl Client) -> Result<ServerStatus> {
    let row = client.query_one(include_str!("sql/status/server.sql"), &[]).await.map_err(error::from_postgres)?;
    Ok(ServerStatus {
        server_version: row.get("server_version"),
        server_version_num: row.get("server_version_num"),
        log_epoch: row.get("log_epoch"),
        database_bytes: row.get("database_bytes"),
        schema_version: row.get("schema_version"),
        oldest_broker: row.get("oldest_broker"),
        organizations: row.get("organizations"),
        streams: row.get("streams"),
        consumer_groups: row.get("consumer_groups"),
        api_keys: row.get("api_keys"),
        oldest_transaction_seconds: row.get("oldest_transaction_seconds"),
        connections: row.get("connections"),
        idle_slots: row.get("idle_slots"),
    })
}

pub async fn brokers(client: &impl Client) -> Result<Vec<BrokerStatus>> {
    let rows = client.query(include_str!("sql/status/brokers.sql"), &[]).await.map_err(error::from_postgres)?;
    let broker = |row: &tokio_postgres::Row| BrokerStatus {
        name: row.get("name"),
        address: row.get("address"),
        version: row.get("version"),
        uptime_seconds: row.get("uptime_seconds"),
        lease_seconds_left: row.get("lease_seconds_left"),
        members: row.get("members"),
        partitions: row.get("partitions"),
    };
    Ok(rows.iter().map(broker).collect())
}

/// The groups that are furthest behind, at most `limit`.
pub async fn slowest_groups(client: &impl Client, limit: i64) -> Result<Vec<GroupStatus>> {
    let rows = client.query(include_str!("sql/status/groups.sql"), &[&limit]).await.map_err(error::from_postgres)?;
    let group = |row: &tokio_postgres::Row| GroupStatus {
        organization: row.get("organization"),
        group: row.get("consumer_group"),
        stream: row.get("stream"),
        paused: row.get("paused"),
        members: row.get("members"),
        lag_events: row.get("lag_events"),
        lag_seconds: row.get("lag_seconds"),
    };
    Ok(rows.iter().map(group).collect())
}

pub async fn settings(client: &impl Client) -> Result<Vec<Setting>> {
    let rows =
        client.query(include_str!("sql/status/settings.sql"), &[&SETTINGS]).await.map_err(error::from_postgres)?;
    let setting = |row: &tokio_postgres::Row| Setting {
        name: row.get("name"),
        value: row.get("setting"),
        unit: row.get("unit"),
        source: row.get("source"),
    };
    Ok(rows.iter().map(setting).collect())
}

/// How a connection to the database goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It does not leave the machine.
    Local,
    Encrypted,
    /// Encrypted only if the server offers it, or not at all.
    MaybePlaintext,
}

pub fn way(url: &DatabaseUrl) -> Way {
    use tokio_postgres::config::{Host, SslMode};
    let is_local = |host: &Host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => matches!(name.as_str(), "localhost" | "127.0.0.1" | "::1"),
    };
    let config = url.config();
    if config.get_hosts().iter().all(is_local) {
        return Way::Local;
    }
    match config.get_ssl_mode() {
        SslMode::Disable | SslMode::Prefer => Way::MaybePlaintext,
        _ => Way::Encrypted,
    }
}
