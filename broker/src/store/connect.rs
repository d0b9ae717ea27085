//! Opening connections: the database URL, TLS, what every session is set up with, and the task that drives a connection.

use crate::domain::{Error, Reason, Result};
use crate::store::error;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Config, error::DbError};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Every session acts as the broker's role, at the isolation that the append needs, with room for a page of the log.
pub const SESSION_SETUP: &str = "set role eventflow_broker; set search_path = eventflow; \
    set default_transaction_isolation = 'read committed'; set work_mem = '32MB'; set jit = off; set enable_seqscan = off";

/// A parsed database URL or `key=value` string. Its password never reaches a log.
#[derive(Clone)]
pub struct DatabaseUrl {
    config: Config,
}

impl DatabaseUrl {
    /// Parses what libpq would: `postgres://…` or `host=… user=…`. Defaults: five seconds to connect, TCP keepalives.
    pub fn parse(text: &str) -> Result<Self> {
        let mut config: Config =
            text.parse().map_err(|error| Error::invalid("database.url", format!("is not a Postgres URL: {error}")))?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(Duration::from_secs(5));
        }
        config.keepalives_idle(Duration::from_secs(10));
        config.keepalives_interval(Duration::from_secs(5));
        config.keepalives_retries(3);
        config.tcp_user_timeout(Duration::from_secs(30));
        if config.get_application_name().is_none() {
            config.application_name("eventflow");
        }
        Ok(Self { config })
    }

    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Host and database, for people.
    pub fn describe(&self) -> String {
        let hosts: Vec<String> = self
            .config
            .get_hosts()
            .iter()
            .map(|host| match host {
                tokio_postgres::config::Host::Tcp(name) => name.clone(),
                tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
            })
            .collect();
        format!("{}/{}", hosts.join(","), self.config.get_dbname().unwrap_or("postgres"))
    }

    /// TLS as `sslmode` asks for it; certificates are checked against the system's roots.
    pub(super) fn tls(&self) -> Result<Tls> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in rustls_native_certs::load_native_certs().certs {
            // A root that rustls cannot read is one that nothing can be checked against.
            let _ = roots.add(certificate);
        }
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Error::internal)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Tls(MakeRustlsConnect::new(config)))
    }
}

/// Makes TLS sessions. A Unix socket has no name to check and the server never speaks TLS on it; the driver asks all the same.
#[derive(Clone)]
pub struct Tls(MakeRustlsConnect);

impl<S> MakeTlsConnect<S> for Tls
where
    MakeRustlsConnect: MakeTlsConnect<S>,
{
    type Stream = <MakeRustlsConnect as MakeTlsConnect<S>>::Stream;
    type TlsConnect = <MakeRustlsConnect as MakeTlsConnect<S>>::TlsConnect;
    type Error = <MakeRustlsConnect as MakeTlsConnect<S>>::Error;

    fn make_tls_connect(&mut self, host: &str) -> Result<Self::TlsConnect, Self::Error> {
        self.0.make_tls_connect(if host.is_empty() { "localhost" } else { host })
    }
}

/// A connection of one's own. Dropping it ends the session.
pub struct Connection {
    client: Client,
    warnings: Arc<AtomicU64>,
    notifications: Option<mpsc::Receiver<String>>,
    driver: tokio::task::AbortHandle,
}

impl Connection {
    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Warnings that the server has sent so far. An append that saw one is not acknowledged: a cancelled wait for a
    /// synchronous standby "commits" with a warning.
    pub fn warnings(&self) -> u64 {
        self.warnings.load(Ordering::Acquire)
    }

    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Payloads of notifications. When it is full, later ones are dropped: a hint that is lost costs latency only.
    pub fn take_notifications(&mut self) -> Option<mpsc::Receiver<String>> {
        self.notifications.take()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Opens and sets up a connection called `name` in `pg_stat_activity`.
pub async fn connect(url: &DatabaseUrl, name: &str) -> Result<Connection> {
    let mut config = url.config.clone();
    config.application_name(format!("eventflow {name}"));
    let (client, mut connection) = config.connect(url.tls()?).await.map_err(error::from_connect)?;
    let warnings = Arc::new(AtomicU64::new(0));
    let (sender, notifications) = mpsc::channel(256);
    let seen = warnings.clone();
    let drive = async move {
        while let Some(message) = std::future::poll_fn(|context| connection.poll_message(context)).await {
            match message {
                Ok(AsyncMessage::Notice(notice)) => note(&notice, &seen),
                Ok(AsyncMessage::Notification(notification)) => {
                    let _ = sender.try_send(notification.payload().to_owned());
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "database connection ended");
                    return;
                }
            }
        }
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "the driver lives exactly as long as its Connection, which aborts it"
    )]
    let driver = tokio::spawn(drive).abort_handle();
    let connection = Connection { client, warnings, notifications: Some(notifications), driver };
    connection.client.batch_execute(SESSION_SETUP).await.map_err(refused_role)?;
    Ok(connection)
}

fn note(notice: &DbError, warnings: &AtomicU64) {
    if notice.severity() == "WARNING" {
        warnings.fetch_add(1, Ordering::Release);
        tracing::warn!(code = notice.code().code(), message = notice.message(), "warning from the database");
    }
}

fn refused_role(error: tokio_postgres::Error) -> Error {
    match error.code() {
        Some(code) if code.code() == "22023" || code.code() == "42501" => Error::new(
            Reason::DatabaseUnavailable,
            "the database user cannot act as `eventflow_broker`; run `eventflow migrate` and grant it the role",
        )
        .source(error),
        _ => error::from_postgres(error),
    }
}
