//! The only room with SQL.
//!
//! Free functions over a connection, tenant first. Hot data is reached through the schema's functions, which check the
//! organization of every input; cold data by plain SQL inside [`Store::tenant`], where row-level security knows the
//! organization. Writers that must not share a connection (lanes, the wake-up) open their own with [`Store::connect`].

pub mod admin_requests;
pub mod alerts;
pub mod append;
pub mod audit;
pub mod columns;
pub mod connect;
pub mod consumer_groups;
pub mod dead_letters;
pub mod dispatch;
pub mod durability;
pub mod epoch;
pub mod error;
pub mod explanations;
pub mod hints;
pub mod keys;
pub mod log;
pub mod membership;
pub mod migrate;
pub mod once;
pub mod organizations;
pub mod outcomes;
pub mod progress;
pub mod quotas;
pub mod resets;
pub mod retention;
pub mod retries;
pub mod rules;
pub mod schemas;
pub mod sessions;
pub mod shared_secrets;
pub mod signing_keys;
pub mod status;
pub mod streams;
pub mod tenant;
pub mod users;

pub use connect::{Connection, DatabaseUrl};
pub use tenant::Tenant;
/// What the driver says, for those who must tell a lost connection from a refusal.
pub use tokio_postgres::Error as DatabaseError;
/// A prepared statement, for those who keep a connection of their own.
pub use tokio_postgres::Statement;

use crate::domain::page::PageKey;
use crate::domain::{Error, Result};
use deadpool_postgres::{Hook, HookError, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;
use tokio_postgres::GenericClient;

/// A handle on the database: a pool for short reads and administration, and the way to connections of one's own. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    url: DatabaseUrl,
    page_key: Arc<OnceCell<PageKey>>,
}

/// A pooled connection.
pub type Pooled = deadpool_postgres::Object;

impl Store {
    /// Prepares a pool of at most `pool_size` connections; nothing is opened yet. `wait` bounds how long a caller waits for one.
    pub fn new(url: DatabaseUrl, pool_size: usize, wait: Duration) -> Result<Self> {
        let manager = Manager::from_config(
            url.config().clone(),
            url.tls()?,
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let act_as_broker = Hook::async_fn(|client, _| {
            Box::pin(async move {
                client.batch_execute(connect::SESSION_SETUP).await.map_err(HookError::Backend)?;
                Ok(())
            })
        });
        let pool = Pool::builder(manager)
            .max_size(pool_size)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(wait))
            .create_timeout(Some(wait))
            .recycle_timeout(Some(wait))
            .post_create(act_as_broker)
            .build()
            .map_err(Error::internal)?;
        Ok(Self { pool, url, page_key: Arc::default() })
    }

    /// A pooled connection, acting as the broker's role.
    pub async fn conn(&self) -> Result<Pooled> {
        let asked = Instant::now();
        let connection = self.pool.get().await.map_err(error::from_pool);
        crate::telemetry::metrics::get().pool_wait_seconds.record(asked.elapsed());
        connection
    }

    /// A connection of one's own, not from the pool.
    pub async fn connect(&self, name: &str) -> Result<Connection> {
        connect::connect(&self.url, name).await
    }

    /// The key that seals page tokens, the same for all brokers.
    pub async fn page_key(&self) -> Result<&PageKey> {
        let fetch = async || {
            let secret = shared_secrets::get(&**self.conn().await?, "page-token").await?;
            Ok(PageKey::new(&secret))
        };
        self.page_key.get_or_try_init(fetch).await
    }

    /// Where the database is, for people: no password.
    pub fn describe(&self) -> String {
        self.url.describe()
    }

    pub fn url(&self) -> &DatabaseUrl {
        &self.url
    }

    /// Closes the pool: later calls fail at once.
    pub fn close(&self) {
        self.pool.close();
    }
}

/// What the functions of this room take: a connection (`&**pooled`) or a transaction.
pub trait Client: GenericClient {}
impl<T: GenericClient> Client for T {}
