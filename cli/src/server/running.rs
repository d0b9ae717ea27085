//! A broker in this process, from its start to its end.

use std::{future::Future, net::SocketAddr, pin::Pin};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::failure::{Exit, Failure, Result};
use eventflow_broker::{
    config::Config,
    runtime::{
        app::App,
        shutdown::{Outcome, Signals},
    },
    telemetry,
};

/// A broker that serves.
pub(super) struct Broker {
    grpc_address: SocketAddr,
    http_address: SocketAddr,
    running: Running,
}

/// Serves until a signal. `None`: a second signal cut the end short.
type Running = Pin<Box<dyn Future<Output = eventflow_broker::domain::Result<Option<Outcome>>>>>;

/// Starts logging, and returns when calls are served. `None`: a signal came before that, and there is nothing to stop.
pub(super) async fn start(config: Config) -> Result<Option<Broker>> {
    // Before the start, which may have to wait for the database: from here on Ctrl-C stops in order.
    let mut signals = Signals::listen()?;
    telemetry::logs::start(&config.log);
    allow_many_connections();
    let app = tokio::select! {
        started = Box::pin(App::start(config)) => started?,
        name = signals.next() => {
            tracing::info!(signal = name, "stopped before anything was served");
            return Ok(None);
        }
    };
    let (grpc_address, http_address) = (app.grpc_address(), app.http_address());
    Ok(Some(Broker { grpc_address, http_address, running: Box::pin(app.run_until_signal(signals)) }))
}

/// Each connection is an open file, and what a process may open by default (1,024) is less than a broker takes on. Whatever the
/// hard limit allows is asked for.
fn allow_many_connections() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, wanted)
    {
        tracing::warn!(%error, limit = limit.current, "the limit of open files stays as it is");
    }
}

/// Told before anything is started. `advice` says how to choose another address, for each of the two ports.
pub(super) fn ports_are_free(config: &Config, advice: [&str; 2]) -> Result<()> {
    let addresses = [config.server.listen, config.http.listen];
    for (address, other) in addresses.iter().zip(advice) {
        if let Err(error) = std::net::TcpListener::bind(address) {
            let sentence = format!("cannot listen on {address}");
            return Err(Failure::new(Exit::Conflict, "PORT_TAKEN", sentence)
                .cause(error)
                .hint(format!("stop what listens there, or choose another address with {other}")));
        }
    }
    Ok(())
}

impl Broker {
    pub(super) fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    pub(super) fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Serves until a signal, then stops in order. When `lost` ends first, there is nothing left to stop in order.
    pub(super) async fn run_unless(self, lost: impl Future<Output = ()>) -> Result<()> {
        tokio::select! {
            ended = self.running => match ended? {
                Some(_) => Ok(()),
                None => Err(Failure::said(Exit::Interrupted)),
            },
            () = lost => Ok(()),
        }
    }
}
