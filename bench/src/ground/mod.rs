//! What is measured: a private Postgres that keeps what it acknowledges, and one broker on it, or several.

mod broker;
mod postgres;
mod usage;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use eventflow::{Client, ClientOptions, GroupSpec, Position, StreamSpec};
use eventflow_broker::domain::access::Grants;
use eventflow_broker::identity::{ApiKey, Environment, install_key};
use eventflow_broker::store::{DatabaseUrl, Store, connect, migrate};
use tempfile::TempDir;

use broker::Broker;
pub use broker::{How, serve};
use postgres::Postgres;
pub use postgres::SETTINGS;
pub use usage::{Spent, Usage, of_this_process};

use crate::Result;
use crate::arguments::Place;

const ORGANIZATION: &str = "bench";
/// How long what was published may take to be counted.
const PATIENCE: Duration = Duration::from_secs(30);

/// Fields end in their order: the brokers, then Postgres, then the files.
pub struct Ground {
    brokers: Vec<Broker>,
    api_key: String,
    database_url: String,
    sql: tokio_postgres::Client,
    postgres: Postgres,
    _dir: TempDir,
}

impl Ground {
    /// A fresh database and a broker with these settings besides its defaults.
    pub async fn new(place: &Place, broker_settings: &[(&str, &str)]) -> Result<Self> {
        Self::with_brokers(place, broker_settings, 1).await
    }

    /// The same with so many brokers, one at least.
    pub async fn with_brokers(place: &Place, broker_settings: &[(&str, &str)], count: usize) -> Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix("eventflow-bench-");
        let dir = match &place.dir {
            Some(parent) => builder.tempdir_in(parent)?,
            None => builder.tempdir()?,
        };
        // As root, Postgres runs as another user, who must be able to pass through.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711))?;
        let postgres = Postgres::start(dir.path()).await?;
        let database_url = postgres.url();
        let url = DatabaseUrl::parse(&database_url)?;
        migrate::migrate(&url).await?;
        let api_key = make_key(&url, ORGANIZATION).await?;
        let sql = postgres::connect(&database_url).await?;
        let mut brokers = Vec::new();
        for number in 0..count.max(1) {
            brokers.push(Broker::start(dir.path(), number, &database_url, broker_settings).await?);
        }
        let ground = Self { brokers, api_key, database_url, sql, postgres, _dir: dir };
        ground.until_served().await?;
        Ok(ground)
    }

    /// A client with a connection of its own.
    pub fn client(&self) -> Result<Client> {
        self.client_of(0)
    }

    /// The same, of one of several brokers.
    pub fn client_of(&self, broker: usize) -> Result<Client> {
        self.client_with(&self.api_key, broker)
    }

    /// A client of another organization, and its key.
    pub async fn another_organization(&self, name: &str) -> Result<(Client, String)> {
        let key = make_key(&DatabaseUrl::parse(&self.database_url)?, name).await?;
        Ok((self.client_with(&key, 0)?, key))
    }

    fn client_with(&self, key: &str, broker: usize) -> Result<Client> {
        let address = self.brokers[broker].address();
        let options = ClientOptions::new(&format!("eventflow://{address}?tls=off"))?;
        Ok(Client::lazy(options.api_key(key).application("eventflow-bench")))
    }

    /// For clients of the raw API.
    pub fn url(&self) -> String {
        format!("http://{}", self.brokers[0].address())
    }

    pub fn api_key(&self) -> &str {
        &self.api_key
    }

    /// A stream with this spec besides the defaults (8 partitions).
    pub async fn stream(&self, name: &str, spec: StreamSpec) -> Result<()> {
        self.client()?.streams().create(name, spec).await?;
        Ok(())
    }

    /// A group that reads everything of a stream.
    pub async fn group(&self, name: &str, stream: &str) -> Result<()> {
        self.client()?.groups().create(name, stream, Position::Earliest, GroupSpec::default()).await?;
        Ok(())
    }

    /// Fails unless a stream holds so many events.
    pub async fn check_stored(&self, stream: &str, acknowledged: u64) -> Result<()> {
        let stored = self.client()?.streams().statistics(stream).await?.events;
        if u64::try_from(stored) == Ok(acknowledged) {
            return Ok(());
        }
        Err(format!("stream `{stream}` holds {stored} events, {acknowledged} were acknowledged").into())
    }

    /// Fails unless the log holds so many events, all streams together.
    pub async fn check_log(&self, acknowledged: u64) -> Result<()> {
        let sql = "select coalesce(sum(event_count), 0)::bigint from eventflow.event_batch";
        let stored: i64 = self.sql.query_one(sql, &[]).await?.try_get(0)?;
        if u64::try_from(stored) == Ok(acknowledged) {
            return Ok(());
        }
        Err(format!("the log holds {stored} events, {acknowledged} were acknowledged").into())
    }

    /// A plain connection, as the superuser.
    pub async fn connect(&self) -> Result<tokio_postgres::Client> {
        postgres::connect(&self.database_url).await
    }

    /// A connection that acts as a broker's.
    pub async fn connect_as_broker(&self) -> Result<connect::Connection> {
        Ok(connect::connect(&DatabaseUrl::parse(&self.database_url)?, "bench").await?)
    }

    /// A pool of a broker's connections.
    pub fn store(&self) -> Result<Store> {
        Ok(Store::new(DatabaseUrl::parse(&self.database_url)?, 2, PATIENCE)?)
    }

    pub fn sql(&self) -> &tokio_postgres::Client {
        &self.sql
    }

    /// Processor time and bytes so far.
    pub async fn usage(&self) -> Result<Usage> {
        Usage::now(&self.sql, &self.broker_pids(), self.postgres.pid()).await
    }

    /// Bytes of memory that the brokers take.
    pub fn broker_memory(&self) -> u64 {
        self.broker_pids().into_iter().filter_map(usage::resident_bytes).sum()
    }

    fn broker_pids(&self) -> Vec<u32> {
        self.brokers.iter().map(Broker::pid).collect()
    }

    /// Does what earlier steps have left to do (vacuum, and writing out dirty pages), so that no step pays for another.
    pub async fn settle(&self) -> Result<()> {
        self.sql.batch_execute("vacuum (analyze)").await?;
        Ok(self.sql.batch_execute("checkpoint").await?)
    }

    pub fn broker_runs(&self) -> How {
        self.brokers[0].how()
    }

    pub fn postgres_version(&self) -> &str {
        self.postgres.version()
    }

    /// Ends everything and removes the files.
    pub async fn tear_down(self) -> Result<()> {
        for broker in self.brokers {
            broker.stop().await?;
        }
        drop(self.sql);
        self.postgres.stop().await
    }

    async fn until_served(&self) -> Result<()> {
        for (number, broker) in self.brokers.iter().enumerate() {
            let client = self.client_of(number)?;
            let asking = async {
                while client.limits().await.is_err() {
                    tokio::time::sleep(Duration::from_millis(25)).await;
                }
            };
            if tokio::time::timeout(PATIENCE, asking).await.is_err() {
                return Err(format!("a broker did not serve: {}", broker.last_words()).into());
            }
        }
        Ok(())
    }
}

async fn make_key(url: &DatabaseUrl, organization: &str) -> Result<String> {
    let key = ApiKey::generate(Environment::Test);
    let connection = connect::connect(url, "bench").await?;
    install_key(connection.client(), organization, &key, "bench", &Grants::everything()).await?;
    Ok(key.reveal())
}
