//! A fault proxy in front of any stream server.
//!
//! It passes bytes both ways until its handle says otherwise; what the handle says takes effect at once, on open
//! connections too. Delay keeps throughput, throttle limits it, a stall keeps connections open and silent, a cut
//! ends them at a chosen byte. Random parts come from the seed given at the start.

mod connection;
mod faults;
mod jitter;
mod listen;

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::upstream::Upstream;
use crate::within::within;
use faults::{Faults, Lane, Shared};

pub use faults::{Counters, Direction};
pub(crate) use listen::Port;

/// A running proxy. Dropping it closes its port and its connections.
#[derive(Debug)]
pub struct TcpProxy {
    handle: ProxyHandle,
    accepting: JoinHandle<()>,
}

/// Controls a proxy; cheap to clone.
#[derive(Debug, Clone)]
pub struct ProxyHandle {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl TcpProxy {
    /// A proxy on a free port of 127.0.0.1.
    pub fn start(upstream: impl Into<Upstream>) -> TcpProxy {
        TcpProxy::start_seeded(upstream, 0)
    }

    /// The same, with a seed for what is random.
    pub fn start_seeded(upstream: impl Into<Upstream>, seed: u64) -> TcpProxy {
        let port = Port::reserve();
        let handle = ProxyHandle { address: port.address(), shared: Arc::new(Shared::new(seed)) };
        let accepting = listen::run(port, upstream.into(), Arc::clone(&handle.shared));
        TcpProxy { handle, accepting: tokio::spawn(accepting) }
    }

    /// A handle that can be given away.
    pub fn handle(&self) -> ProxyHandle {
        self.handle.clone()
    }
}

impl Deref for TcpProxy {
    type Target = ProxyHandle;

    fn deref(&self) -> &ProxyHandle {
        &self.handle
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl ProxyHandle {
    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Undoes every fault that is still to come; what is open stays open.
    pub async fn pass(&self) {
        self.shared.faults.send_modify(Faults::heal);
        self.shared.set_cut(Direction::Up, None);
        self.shared.set_cut(Direction::Down, None);
        self.wait_for(|counters| counters.listening).await;
    }

    /// Delivers bytes this much later, in order and without slowing them down.
    pub fn delay(&self, direction: Direction, by: Duration) {
        self.delay_jittered(direction, by, Duration::ZERO);
    }

    /// Delays by `by` plus a random part below `jitter`.
    pub fn delay_jittered(&self, direction: Direction, by: Duration, jitter: Duration) {
        self.lane(direction, |lane| {
            lane.delay = by;
            lane.jitter = jitter;
        });
    }

    /// Limits each connection to this many bytes a second.
    pub fn throttle(&self, direction: Direction, bytes_per_second: u64) {
        self.lane(direction, |lane| {
            lane.bytes_per_second = Some(bytes_per_second.max(1));
        });
    }

    /// Delivers nothing more in this direction; connections stay open.
    pub fn stall(&self, direction: Direction) {
        self.lane(direction, |lane| lane.stalled = true);
    }

    /// Ends a stall; what has been sent meanwhile arrives.
    pub fn resume(&self, direction: Direction) {
        self.lane(direction, |lane| lane.stalled = false);
    }

    /// Delivers `bytes` more in this direction, counted over all connections, and resets the connection that
    /// wants to deliver the next one. Once.
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        self.shared.set_cut(direction, Some(bytes));
    }

    /// Makes the kernel refuse new connections; returns when it does. Open ones stay. The port stays ours.
    pub async fn refuse_new(&self) {
        self.shared.faults.send_modify(|faults| faults.refusing = true);
        self.wait_for(|counters| !counters.listening).await;
    }

    /// Accepts new connections again; returns when it does.
    pub async fn accept_new(&self) {
        self.shared.faults.send_modify(|faults| faults.refusing = false);
        self.wait_for(|counters| counters.listening).await;
    }

    /// Closes all open connections in order (FIN); returns when none of them is left.
    pub async fn close_all(&self) {
        self.end_all(|faults| faults.closed_below = u64::MAX).await;
    }

    /// Resets all open connections (RST); returns when none of them is left.
    pub async fn reset_all(&self) {
        self.end_all(|faults| faults.reset_below = u64::MAX).await;
    }

    /// What the proxy has seen so far.
    pub fn counters(&self) -> Counters {
        self.shared.counters.borrow().clone()
    }

    /// Waits until the counters satisfy `condition`, and returns them.
    pub async fn wait_for(&self, condition: impl FnMut(&Counters) -> bool) -> Counters {
        let mut counters = self.shared.counters.subscribe();
        let reached = within("the proxy's counters", counters.wait_for(condition)).await;
        match reached {
            Ok(counters) => counters.clone(),
            Err(watch::error::RecvError { .. }) => self.counters(),
        }
    }

    fn lane(&self, direction: Direction, change: impl FnOnce(&mut Lane)) {
        self.shared.faults.send_modify(|faults| change(faults.lane_mut(direction)));
    }

    async fn end_all(&self, mark: impl FnOnce(&mut Faults)) {
        // Numbers grow with every connection, so the mark spares those that come later.
        let next = self.counters().accepted;
        self.shared.faults.send_modify(|faults| {
            mark(faults);
            faults.limit_marks(next);
        });
        self.wait_for(|counters| counters.oldest_open.is_none_or(|oldest| oldest >= next)).await;
    }
}
