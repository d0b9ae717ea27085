//! A fault proxy that understands Postgres' messages, so that a test can say *where* in a request the network
//! fails: before the third append is sent, after it has committed but before its answer arrives, and so on.
//!
//! Protocol version 3 without TLS (a request for it is answered with "no"). Statements are followed by name, so a
//! rule about SQL also selects executions of a statement that was prepared long before.

mod counts;
mod frame;
mod rules;
mod session;
mod tracker;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::tcp_proxy::Port;
use crate::upstream::Upstream;
use crate::within::within;
use rules::Rules;

pub use counts::Counts;
pub use rules::{Action, Match, Rule, Step};

/// A running proxy. Dropping it closes its port and its connections.
#[derive(Debug)]
pub struct PgProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

/// What the proxy and its sessions share.
#[derive(Debug, Default)]
struct Shared {
    rules: Rules,
    counts: watch::Sender<Counts>,
    /// Sessions with a smaller number are to end.
    cut_below: watch::Sender<u64>,
}

impl PgProxy {
    /// A proxy on a free port of 127.0.0.1.
    pub fn start(upstream: impl Into<Upstream>) -> PgProxy {
        let port = Port::reserve();
        let shared = Arc::new(Shared::default());
        PgProxy {
            address: port.address(),
            accepting: tokio::spawn(accept(port, upstream.into(), Arc::clone(&shared))),
            shared,
        }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on: when an execution matches, do `action` at `step`. Once, unless the match says otherwise.
    pub fn on(&self, matching: Match, step: Step, action: Action) -> Rule {
        self.shared.rules.add(matching, step, action)
    }

    /// Closes all open sessions.
    pub fn cut_all(&self) {
        let next = self.counts().connections;
        self.shared.cut_below.send_replace(next);
    }

    /// What has passed so far, over all sessions.
    pub fn counts(&self) -> Counts {
        self.shared.counts.borrow().clone()
    }

    /// Waits until the counts satisfy `condition`, and returns them.
    pub async fn wait_for(&self, condition: impl FnMut(&Counts) -> bool) -> Counts {
        let mut counts = self.shared.counts.subscribe();
        let reached = within("the proxy's counts", counts.wait_for(condition)).await;
        reached.map_or_else(|_| self.counts(), |counts| counts.clone())
    }
}

impl Drop for PgProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(port: Port, upstream: Upstream, shared: Arc<Shared>) {
    let mut sessions = JoinSet::new();
    loop {
        tokio::select! {
            client = port.accept() => {
                if let Ok(client) = client {
                    sessions.spawn(session::run(client, upstream.clone(), Arc::clone(&shared)));
                }
            }
            Some(_) = sessions.join_next() => {}
        }
    }
}
