//! The one connection of a client: which host it goes to, and where to go when it breaks.
//!
//! All producers, consumers and calls of a client share a connection. Whoever finds it broken says so with
//! [`Connections::leave`]; the next [`Connections::get`] dials the next host. Dialling is serialised: however many callers
//! wait, one attempt is under way. Attempts after a failure are spaced by a jittered back-off, but the first attempt after a
//! connection that had lived for a while is made at once. Names are resolved anew at every attempt.
//!
//! **Invariant:** a connection is never re-established under its callers' feet. Its transport can connect once; after that,
//! every call on it fails, and only this room decides where to go.

mod dial;
mod faults;
mod sniff;
mod transport;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{Rng, seq::SliceRandom};
use tokio::time::Instant;

pub(crate) use transport::Transport;

use crate::{
    connection_string::Host,
    error::{Error, Result},
    options::{ClientOptions, HostOrder},
};

/// A connection that ended sooner than this counts as a failure of its host.
const SHORT_LIFE: Duration = Duration::from_secs(1);
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(2);

/// A live connection, or one that was alive when it was handed out. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connection {
    generation: u64,
    pub(crate) host: Host,
    pub(crate) transport: Transport,
    since: Instant,
}

/// Hands out the current connection. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Connections(Arc<Shared>);

struct Shared {
    options: ClientOptions,
    current: Mutex<Current>,
    dialling: tokio::sync::Mutex<Dialling>,
}

#[derive(Default)]
struct Current {
    connection: Option<Connection>,
    /// Rounds without success, and connections that did not last, in a row.
    failures: u32,
}

struct Dialling {
    hosts: Vec<Host>,
    next: usize,
    generation: u64,
}

impl Connections {
    pub(crate) fn new(options: ClientOptions) -> Self {
        let mut hosts = options.target.hosts().to_vec();
        if options.host_order == HostOrder::Shuffled {
            hosts.shuffle(&mut rand::rng());
        }
        Self(Arc::new(Shared {
            options,
            current: Mutex::default(),
            dialling: tokio::sync::Mutex::new(Dialling { hosts, next: 0, generation: 0 }),
        }))
    }

    pub(crate) fn options(&self) -> &ClientOptions {
        &self.0.options
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The current connection, or a new one. Tries every host once, after a back-off when the last attempts failed; callers
    /// that can wait call again.
    pub(crate) async fn get(&self) -> Result<Connection> {
        if let Some(connection) = &self.current().connection {
            return Ok(connection.clone());
        }
        let mut dialling = self.0.dialling.lock().await;
        let failures = {
            let current = self.current();
            if let Some(connection) = &current.connection {
                return Ok(connection.clone());
            }
            current.failures
        };
        if failures > 0 {
            tokio::time::sleep(backoff(failures)).await;
        }
        self.round(&mut dialling).await
    }

    async fn round(&self, dialling: &mut Dialling) -> Result<Connection> {
        let mut first_error: Option<Error> = None;
        for _ in 0..dialling.hosts.len() {
            let host = dialling.hosts[dialling.next % dialling.hosts.len()].clone();
            dialling.next = (dialling.next + 1) % dialling.hosts.len();
            match dial::dial(&host, &self.0.options).await {
                Ok(transport) => {
                    dialling.generation += 1;
                    let since = Instant::now();
                    let connection = Connection { generation: dialling.generation, host, transport, since };
                    tracing::debug!(host = %connection.host, "connected");
                    self.current().connection = Some(connection.clone());
                    return Ok(connection);
                }
                Err(error) => {
                    tracing::debug!(%host, %error, "could not connect");
                    first_error.get_or_insert(error);
                }
            }
        }
        let mut current = self.current();
        current.failures = current.failures.saturating_add(1);
        Err(first_error.unwrap_or_else(|| Error::invalid_options("there is no host to connect to")))
    }

    /// Gives a connection up: it broke, or its broker goes away. The next one goes to another host where there is one.
    pub(crate) fn leave(&self, connection: &Connection) {
        let mut current = self.current();
        if current.connection.as_ref().is_some_and(|now| now.generation == connection.generation) {
            current.connection = None;
            let short = connection.since.elapsed() < SHORT_LIFE;
            current.failures = if short { current.failures.saturating_add(1) } else { 0 };
        }
    }
}

/// Half to all of an exponentially growing bound.
pub(crate) fn backoff(failures: u32) -> Duration {
    let bound = BACKOFF_FIRST.saturating_mul(1 << failures.min(10)).min(BACKOFF_MAX);
    bound.mul_f64(rand::rng().random_range(0.5..1.0))
}
