//! What a run stands on: a Postgres of its own, three brokers, and a fault proxy on every way between them.
//!
//! ```text
//! clients of zone 0 ─ proxy ─┐                ┌─ proxy ─ proxy that knows Postgres' messages ─┐
//! clients of zone 1 ─ proxy ─┴─ broker 0..2 ──┘                                               └─ Postgres
//! ```
//!
//! In some runs brokers share their rates through a Redis, which nobody's calls depend on.

mod broker;
mod clock;
mod postgres;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eventflow_broker::domain::access::Grants;
use eventflow_broker::identity::{ApiKey, Environment, install_key};
use eventflow_testkit::{PgProxy, ProxyHandle, RedisServer, TcpProxy};
use tokio::sync::Mutex;

use crate::Result;
use crate::history::Recorder;
pub use broker::Broker;
pub use clock::Clock;
pub use postgres::{OnSmallDisk, Postgres, Replica};

/// Brokers of a run.
pub const BROKERS: usize = 3;
/// Places from which clients come; each has ways of its own to every broker.
pub const ZONES: usize = 2;
/// Organizations of a run.
pub const ORGANIZATIONS: [&str; 2] = ["acme", "umbra"];

/// A broker with the proxies around it.
pub struct Place {
    pub broker: Arc<Mutex<Broker>>,
    /// From each zone to the broker.
    pub doors: Vec<TcpProxy>,
    /// From the broker to the database.
    pub database: TcpProxy,
    pub messages: PgProxy,
    /// The broker's clock, or why it has none of its own.
    pub clock: Result<Clock, String>,
}

/// Everything that runs.
pub struct Ground {
    pub places: Vec<Place>,
    pub postgres: Postgres,
    /// None: none was wanted, or this machine has none.
    pub redis: Option<Mutex<RedisServer>>,
    /// A key of each organization.
    pub keys: Vec<String>,
    pub dir: PathBuf,
}

/// What brokers are started with.
#[derive(Debug, Clone, Default)]
pub struct BrokerSettings {
    pub binary: PathBuf,
    /// For all of them.
    pub common: Vec<(String, String)>,
    /// For single ones.
    pub own: Vec<Vec<(String, String)>>,
    /// Their clocks can be skewed.
    pub has_clocks: bool,
    /// They share their rates.
    pub has_redis: bool,
}

impl Ground {
    /// Starts the brokers on a Postgres; returns when they accept connections.
    pub async fn new(
        postgres: Postgres,
        dir: &Path,
        seed: u64,
        settings: &BrokerSettings,
        recorder: &Recorder,
    ) -> Result<Ground> {
        let mut keys = Vec::new();
        for organization in ORGANIZATIONS {
            let key = ApiKey::generate(Environment::Test);
            let client = postgres.connect().await?;
            install_key(&client, organization, &key, "chaos", &Grants::everything()).await?;
            keys.push(key.reveal());
        }
        let redis = if settings.has_redis { RedisServer::start().await } else { None };
        let mut settings = settings.clone();
        if let Some(redis) = &redis {
            // Far above what the load publishes: a refusal would be a surprise.
            settings.common.push(("limits.organization_events_per_second".to_owned(), "1000000".to_owned()));
            settings.common.push(("redis.url".to_owned(), redis.url()));
        }
        let mut places = Vec::new();
        for index in 0..BROKERS {
            let messages = PgProxy::start(postgres.upstream());
            let way = TcpProxy::start_seeded(messages.address(), seed ^ index as u64);
            let url = postgres.through(way.address()).url();
            let clock =
                if settings.has_clocks { Clock::new(dir, index) } else { Err("no clock was wanted".to_owned()) };
            let broker = Broker::new(index, dir, &url, &settings, clock.as_ref().ok(), recorder.clone())?;
            let door = |zone| TcpProxy::start_seeded(broker.address(), seed ^ (0x10 + zone * 8 + index) as u64);
            let doors = (0..ZONES).map(door).collect();
            let broker = Arc::new(Mutex::new(broker));
            places.push(Place { broker, doors, database: way, messages, clock });
        }
        for place in &places {
            place.broker.lock().await.start().await?;
        }
        let redis = redis.map(Mutex::new);
        Ok(Ground { places, postgres, redis, keys, dir: dir.to_owned() })
    }

    /// Where clients of a zone reach a broker.
    pub fn door(&self, zone: usize, broker: usize) -> SocketAddr {
        self.places[broker].doors[zone % ZONES].address()
    }

    /// A connection string of all brokers, for the SDK.
    pub fn url(&self, zone: usize) -> String {
        let hosts: Vec<String> = (0..BROKERS).map(|broker| self.door(zone, broker).to_string()).collect();
        format!("eventflow://{}?tls=off", hosts.join(","))
    }

    /// All proxies.
    pub fn proxies(&self) -> Vec<ProxyHandle> {
        let of_place = |place: &Place| {
            let doors = place.doors.iter().map(TcpProxy::handle);
            doors.chain([place.database.handle()]).collect::<Vec<_>>()
        };
        self.places.iter().flat_map(of_place).collect()
    }

    /// Restarts brokers that have ended by themselves, and writes that down. Never returns.
    pub async fn watch(&self) {
        loop {
            for place in &self.places {
                // A nemesis that holds it knows what it does.
                if let Ok(mut broker) = place.broker.try_lock() {
                    broker.look_after().await;
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }
}
