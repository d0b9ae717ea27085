//! How a client connects. Every value has a default that is right for most.

use std::time::Duration;

use crate::{
    connection_string::ConnectionString,
    error::{Error, Result},
};

/// Environment variable with the connection string.
pub const URL_VARIABLE: &str = "EVENTFLOW_URL";
/// Environment variable with the API key.
pub const API_KEY_VARIABLE: &str = "EVENTFLOW_API_KEY";
/// Environment variable with the PEM file of the client's own certificate.
pub const CLIENT_CERTIFICATE_VARIABLE: &str = "EVENTFLOW_CLIENT_CERTIFICATE_FILE";
/// Environment variable with the PEM file of its key.
pub const CLIENT_KEY_VARIABLE: &str = "EVENTFLOW_CLIENT_KEY_FILE";

/// In which order the hosts of a connection string are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum HostOrder {
    /// In an order of the client's own, so that many clients spread over the brokers.
    #[default]
    Shuffled,
    /// As given, from the first on.
    AsGiven,
}

/// Options of a client. Made by [`ClientOptions::new`] or [`ClientOptions::from_env`].
#[derive(Clone)]
pub struct ClientOptions {
    pub(crate) target: ConnectionString,
    pub(crate) api_key: Option<String>,
    pub(crate) ca_certificate_pem: Option<Vec<u8>>,
    /// Certificate chain and key.
    pub(crate) client_certificate_pem: Option<(Vec<u8>, Vec<u8>)>,
    pub(crate) host_order: HostOrder,
    pub(crate) connect_timeout: Duration,
    pub(crate) call_timeout: Duration,
    pub(crate) keepalive_interval: Duration,
    pub(crate) keepalive_timeout: Duration,
    pub(crate) application: String,
}

impl ClientOptions {
    /// Options for a connection string such as `eventflow://localhost:50051`.
    ///
    /// # Errors
    /// `INVALID_OPTIONS` when the string is malformed.
    pub fn new(url: &str) -> Result<Self> {
        let target: ConnectionString = url.parse()?;
        Ok(Self {
            api_key: target.api_key().map(str::to_owned),
            target,
            ca_certificate_pem: None,
            client_certificate_pem: None,
            host_order: HostOrder::default(),
            connect_timeout: Duration::from_secs(5),
            call_timeout: Duration::from_secs(30),
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(5),
            application: String::new(),
        })
    }

    /// Options from `EVENTFLOW_URL` (default `eventflow://localhost:50051`), `EVENTFLOW_API_KEY`, and
    /// `EVENTFLOW_CLIENT_CERTIFICATE_FILE` with `EVENTFLOW_CLIENT_KEY_FILE`. Nothing else of the environment is read.
    ///
    /// # Errors
    /// `INVALID_OPTIONS` when a variable is malformed.
    pub fn from_env() -> Result<Self> {
        let url = environment(URL_VARIABLE)?;
        Self::new(url.as_deref().unwrap_or("eventflow://localhost"))?.api_key_from_env()?.client_certificate_from_env()
    }

    /// Takes the API key from `EVENTFLOW_API_KEY` when that is set.
    ///
    /// # Errors
    /// `INVALID_OPTIONS` when the variable is not UTF-8.
    pub fn api_key_from_env(self) -> Result<Self> {
        Ok(match environment(API_KEY_VARIABLE)? {
            Some(key) => self.api_key(key),
            None => self,
        })
    }

    /// Where the client connects to.
    pub fn target(&self) -> &ConnectionString {
        &self.target
    }

    /// The API key, `ef_live_…`. Wins over one in the connection string.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<String>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// A certificate authority in PEM form, trusted besides those of the system.
    #[must_use]
    pub fn ca_certificate_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.ca_certificate_pem = Some(pem.into());
        self
    }

    /// The client's own certificate (with its chain) and key in PEM form, for brokers with `server.tls_client_ca_file`.
    #[must_use]
    pub fn client_certificate_pem(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.client_certificate_pem = Some((certificate.into(), key.into()));
        self
    }

    /// Takes the client's certificate from the PEM files that `EVENTFLOW_CLIENT_CERTIFICATE_FILE` and
    /// `EVENTFLOW_CLIENT_KEY_FILE` name, when both are set.
    ///
    /// # Errors
    /// `INVALID_OPTIONS` when only one of them is set, or a file cannot be read.
    pub fn client_certificate_from_env(self) -> Result<Self> {
        match (environment(CLIENT_CERTIFICATE_VARIABLE)?, environment(CLIENT_KEY_VARIABLE)?) {
            (Some(certificate), Some(key)) => Ok(self.client_certificate_pem(pem_file(&certificate)?, pem_file(&key)?)),
            (None, None) => Ok(self),
            _ => Err(Error::invalid_options(format!(
                "`{CLIENT_CERTIFICATE_VARIABLE}` and `{CLIENT_KEY_VARIABLE}` go together: set both or neither"
            ))),
        }
    }

    /// In which order hosts are tried. Default: shuffled.
    #[must_use]
    pub fn host_order(mut self, order: HostOrder) -> Self {
        self.host_order = order;
        self
    }

    /// How long one attempt to connect may take, name look-up and handshakes included. Default 5 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long a unary call may take, with its retries. Default 30 s.
    #[must_use]
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// How often an idle connection is probed. Default 10 s; 10 to 20 s suit most networks.
    #[must_use]
    pub fn keepalive_interval(mut self, interval: Duration) -> Self {
        self.keepalive_interval = interval;
        self
    }

    /// Name of the application, shown beside group members; at most 64 bytes are kept.
    #[must_use]
    pub fn application(mut self, name: impl Into<String>) -> Self {
        self.application = name.into();
        self
    }
}

fn pem_file(path: &str) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::invalid_options(format!("`{path}` cannot be read: {error}")))
}

#[expect(clippy::disallowed_methods, reason = "the one function of the client that reads the environment")]
fn environment(name: &str) -> Result<Option<String>> {
    match std::env::var(name) {
        Ok(value) => Ok(Some(value)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Error::invalid_options(format!("the environment variable `{name}` is not UTF-8")))
        }
    }
}

impl std::fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientOptions")
            .field("target", &self.target)
            .field("api_key", &self.api_key.as_ref().map(|_| "…"))
            .field("host_order", &self.host_order)
            .field("connect_timeout", &self.connect_timeout)
            .field("call_timeout", &self.call_timeout)
            .finish_non_exhaustive()
    }
}
