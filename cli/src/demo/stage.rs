//! What the demonstration stands on: a private Postgres and two brokers in a temporary directory.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
};

use eventflow::{Client, ClientOptions, HostOrder};
use eventflow_broker::{
    domain::access::Grants,
    identity::{ApiKey, Environment, install_key},
    store::{DatabaseUrl, connect, migrate},
};
use tempfile::TempDir;

use super::broker::Broker;
use crate::{
    failure::{Failure, Result},
    server::dev::Postgres,
    target::contexts::{Context, Contexts},
};

const ORGANIZATION: &str = "demo";
const CONTEXT: &str = "demo";
const NAMES: [&str; 2] = ["broker-1", "broker-2"];

/// Fields end in their order: brokers, then Postgres, then the files.
pub(super) struct Stage {
    brokers: [Broker; 2],
    api_key: String,
    postgres: Postgres,
    dir: TempDir,
}

/// Which of the two brokers a client prefers; it knows both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Preferred {
    First,
    Second,
}

impl Stage {
    pub(super) async fn set_up(postgres_bin: Option<PathBuf>) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("eventflow-demo-").tempdir()?;
        // As root, Postgres runs as another user, who must be able to pass through.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711))?;
        let mut postgres = Postgres::prepare(dir.path(), postgres_bin).await?;
        postgres.start().await?;
        let database_url = postgres.url();
        let url = DatabaseUrl::parse(&database_url)?;
        migrate::migrate(&url).await?;
        let api_key = make_key(&url).await?;
        let ports = free_ports()?;
        let [first, second] = NAMES;
        let mut brokers = [
            Broker::start(dir.path(), first, ports[0], &database_url)?,
            Broker::start(dir.path(), second, ports[1], &database_url)?,
        ];
        for broker in &mut brokers {
            broker.ready(&api_key).await?;
        }
        Ok(Self { brokers, api_key, postgres, dir })
    }

    /// A client of its own connection.
    pub(super) fn client(&self, preferred: Preferred, application: &str) -> Result<Client> {
        let [first, second] = self.brokers.each_ref().map(Broker::address);
        let (one, other) = match preferred {
            Preferred::First => (first, second),
            Preferred::Second => (second, first),
        };
        let options = ClientOptions::new(&format!("eventflow://{one},{other}?tls=off"))?
            .api_key(&self.api_key)
            .host_order(HostOrder::AsGiven)
            .application(application);
        Ok(Client::lazy(options))
    }

    /// Kills the first broker, which serves the producer and a member of each group.
    pub(super) async fn kill_first(&mut self) -> Result<()> {
        self.brokers[0].kill().await
    }

    /// Starts the killed broker again.
    pub(super) async fn revive(&mut self) -> Result<()> {
        let ports = free_ports()?;
        let broker = Broker::start(self.dir.path(), NAMES[0], ports[0], &self.postgres.url())?;
        self.brokers[0] = broker;
        self.brokers[0].ready(&self.api_key).await
    }

    /// What the brokers said last, beside a failure that may come from them.
    pub(super) fn explain(&self, failure: Failure) -> Failure {
        if failure.text().is_empty() {
            return failure;
        }
        let words = self.brokers.iter().map(|broker| (broker.name(), broker.last_words()));
        words
            .filter(|(_, words)| !words.is_empty())
            .fold(failure, |failure, (name, words)| failure.detail(format!("{name} said last:\n{words}")))
    }

    /// Where clients find the two brokers.
    pub(super) fn url(&self) -> String {
        let [first, second] = self.brokers.each_ref().map(Broker::address);
        format!("eventflow://{first},{second}?tls=off")
    }

    pub(super) fn database_url(&self) -> String {
        self.postgres.url()
    }

    /// Lets the command line find the brokers by `--context demo`.
    pub(super) fn save_context(&self) -> Result<SavedContext> {
        let mut contexts = Contexts::load()?;
        contexts.put(CONTEXT, Context::new(self.url(), Some(self.api_key.clone())));
        contexts.save()?;
        Ok(SavedContext)
    }

    /// Ends brokers and Postgres, and removes the files.
    pub(super) async fn tear_down(mut self) -> Result<()> {
        for broker in &mut self.brokers {
            broker.kill().await?;
        }
        self.postgres.stop_at_once().await?;
        let (relocated, _) = self.postgres.relocation();
        let Self { postgres, dir, .. } = self;
        drop(postgres);
        if let Some(elsewhere) = relocated {
            fs::remove_dir_all(&elsewhere).map_err(|error| Failure::file("remove", &elsewhere, &error))?;
        }
        let path = dir.path().to_owned();
        dir.close().map_err(|error| Failure::file("remove", &path, &error))
    }
}

/// A context that is forgotten when the demonstration ends.
pub(super) struct SavedContext;

impl SavedContext {
    pub(super) fn forget(self) -> Result<()> {
        let mut contexts = Contexts::load()?;
        contexts.remove(CONTEXT);
        contexts.save().map(drop)
    }
}

async fn make_key(url: &DatabaseUrl) -> Result<String> {
    let key = ApiKey::generate(Environment::Live);
    let connection = connect::connect(url, "demo").await?;
    let description = "made by `eventflow demo`";
    install_key(connection.client(), ORGANIZATION, &key, description, &Grants::everything()).await?;
    Ok(key.reveal())
}

/// Two ports each for two brokers. Held until all are chosen, so that none is offered twice.
fn free_ports() -> Result<[[SocketAddr; 2]; 2]> {
    let listen = || TcpListener::bind("127.0.0.1:0");
    let listeners = [[listen()?, listen()?], [listen()?, listen()?]];
    let [[a, b], [c, d]] = &listeners;
    Ok([[a.local_addr()?, b.local_addr()?], [c.local_addr()?, d.local_addr()?]])
}
