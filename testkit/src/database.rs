//! A database for each test, cloned from a template and dropped with the value.

use std::future::Future;
use std::time::Duration;

use eventflow_embedded::Connection;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config};
use uuid::Uuid;

use crate::server::Server;
use crate::sql::{connect, connected};
use crate::template;

/// How long the last breath of a database may take: its server may be stopped or frozen by then.
const DROP_PATIENCE: Duration = Duration::from_secs(5);

/// A database of this test alone.
#[derive(Debug)]
pub struct Database {
    admin: Connection,
    connection: Connection,
}

impl Database {
    /// A migrated EventFlow database on the shared server.
    #[cfg(feature = "broker")]
    pub async fn new() -> Database {
        let server = Server::shared().await;
        let template = crate::migrated::shared_template(&server).await;
        Database::cloned(&server, template).await
    }

    /// A migrated EventFlow database on another server.
    #[cfg(feature = "broker")]
    pub async fn on(server: &Server) -> Database {
        let template = crate::migrated::template_on(server).await;
        Database::cloned(server, &template).await
    }

    /// A database without anything in it, on the shared server.
    pub async fn empty() -> Database {
        Database::empty_on(&Server::shared().await).await
    }

    /// A database without anything in it, on another server.
    pub async fn empty_on(server: &Server) -> Database {
        Database::cloned(server, "template0").await
    }

    /// A database made by the caller's own migration. `texts` identify it: the same texts share one template.
    /// `migrate` must have closed its connections when it returns.
    pub async fn migrated_by<F, Fut>(texts: &[&str], migrate: F) -> Database
    where
        F: FnOnce(Connection) -> Fut,
        Fut: Future<Output = ()>,
    {
        let server = Server::shared().await;
        let fingerprint = template::fingerprint(texts.iter().copied());
        let template = template::ensure(&server, fingerprint, migrate).await;
        Database::cloned(&server, &template).await
    }

    /// The superuser's connection to this database; change `user` and `password` to be somebody else.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// [`Database::connection`] as a URL.
    pub fn url(&self) -> String {
        self.connection.url()
    }

    /// [`Database::connection`] for `tokio-postgres` and its pools.
    pub fn config(&self) -> Config {
        let url = self.url();
        url.parse().unwrap_or_else(|error| panic!("`{url}` is not a URL: {error}"))
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.connection.database
    }

    /// A new superuser session in this database.
    pub async fn connect(&self) -> Client {
        connected(&self.connection).await
    }

    /// The same database through a proxy on 127.0.0.1.
    pub fn through(&self, proxy: std::net::SocketAddr) -> Connection {
        Connection { host: proxy.ip().to_string(), port: proxy.port(), ..self.connection.clone() }
    }

    async fn cloned(server: &Server, template: &str) -> Database {
        let name = format!("t_{}", Uuid::new_v4().simple());
        let admin = server.connection().clone();
        let client = connected(&admin).await;
        let sql = format!("create database {name} template {template}");
        loop {
            match client.batch_execute(&sql).await {
                Ok(()) => break,
                // A vacuum worker can be in the template for a moment.
                Err(error) if error.code() == Some(&SqlState::OBJECT_IN_USE) => {}
                Err(error) => panic!("could not make a database from `{template}`: {error:?}"),
            }
        }
        let connection = admin.clone().with_database(name);
        Database { admin, connection }
    }
}

impl Drop for Database {
    /// From a thread of its own, because the test's runtime cannot be waited for from within.
    fn drop(&mut self) {
        let admin = self.admin.clone();
        let sql = format!("drop database if exists {} with (force)", self.name());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            runtime.block_on(async {
                // Best effort: who stopped the server does not miss the database.
                let _ = tokio::time::timeout(DROP_PATIENCE, drop_database(&admin, &sql)).await;
            });
        });
        let _ = thread.join();
    }
}

async fn drop_database(admin: &Connection, sql: &str) {
    if let Ok(client) = connect(admin).await {
        let _ = client.batch_execute(sql).await;
    }
}
