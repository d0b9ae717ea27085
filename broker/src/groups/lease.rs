//! The broker's lease: renewed every second, and the trust that follows from it.
//!
//! Trust ends `TTL - 1 s` after the last successful renewal was *sent*, on a clock that counts suspension: by then nobody can have
//! swept this broker yet. Without trust nothing is delivered. A lease that was swept is gone for good: the broker goes on as
//! another incarnation, and every session of the old one ends.

use crate::domain::Result;
use crate::runtime::clock::since_boot;
use crate::store::{Connection, Store, membership};
use crate::telemetry::metrics;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Between renewals.
const RENEWAL: Duration = Duration::from_secs(1);
/// Delivery stops so long before the lease can be swept.
const MARGIN: Duration = Duration::from_secs(1);

/// Who this broker is, for others.
#[derive(Clone, Debug)]
pub struct BrokerIdentity {
    pub name: String,
    pub address: String,
    pub version: &'static str,
    pub ttl: Duration,
}

/// Whether this broker may deliver, and as which incarnation. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Trust {
    /// Milliseconds since boot until which the lease is trusted.
    until: Arc<AtomicU64>,
    incarnation: watch::Sender<Uuid>,
}

impl Trust {
    /// Nothing may be delivered before the first renewal.
    pub fn new(incarnation: Uuid) -> Self {
        Self { until: Arc::default(), incarnation: watch::Sender::new(incarnation) }
    }

    /// May something be delivered now?
    pub fn holds(&self) -> bool {
        (since_boot().as_millis() as u64) < self.until.load(Ordering::Acquire)
    }

    /// The incarnation that members hang off.
    pub fn incarnation(&self) -> Uuid {
        *self.incarnation.borrow()
    }

    /// Changes when the lease was swept: sessions of the old incarnation must end.
    pub fn subscribe(&self) -> watch::Receiver<Uuid> {
        self.incarnation.subscribe()
    }

    fn extend(&self, sent: Duration, ttl: Duration) {
        let until = sent + ttl.saturating_sub(MARGIN);
        self.until.store(until.as_millis() as u64, Ordering::Release);
    }
}

/// Holds the lease on a connection of its own.
pub struct Lease {
    store: Store,
    identity: BrokerIdentity,
    trust: Trust,
    connection: Option<Connection>,
}

impl Lease {
    /// Starts the first incarnation.
    pub async fn start(store: Store, identity: BrokerIdentity) -> Result<(Self, Trust)> {
        let trust = Trust::new(Uuid::new_v4());
        let mut lease = Self { store, identity, trust: trust.clone(), connection: None };
        lease.begin().await?;
        Ok((lease, trust))
    }

    async fn begin(&mut self) -> Result<()> {
        let sent = since_boot();
        let connection = self.store.connect("lease").await?;
        let incarnation = self.trust.incarnation();
        let BrokerIdentity { name, address, version, ttl } = &self.identity;
        membership::start_broker(connection.client(), incarnation, name, address, version, *ttl).await?;
        self.trust.extend(sent, *ttl);
        self.connection = Some(connection);
        Ok(())
    }

    /// Renews until told to stop; then ends the lease, so that others need not wait for it.
    pub async fn run(mut self, stop: CancellationToken) -> Result<()> {
        let mut ticks = tokio::time::interval(RENEWAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = ticks.tick() => {}
            }
            let renewal = tokio::time::timeout(self.identity.ttl, self.renew());
            match renewal.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => self.failed(&error),
                Err(_) => self.failed(&crate::store::error::unavailable("the renewal did not come back in time")),
            }
        }
        if let Some(connection) = &self.connection {
            let farewell = membership::stop_broker(connection.client(), self.trust.incarnation());
            // Without it the lease runs out by itself.
            let _ = tokio::time::timeout(RENEWAL, farewell).await;
        }
        Ok(())
    }

    async fn renew(&mut self) -> Result<()> {
        let sent = since_boot();
        let connection = match self.connection.take().filter(|connection| !connection.is_closed()) {
            Some(connection) => connection,
            None => self.store.connect("lease").await?,
        };
        let renewed =
            membership::renew_broker(connection.client(), self.trust.incarnation(), self.identity.ttl).await?;
        if renewed {
            self.trust.extend(sent, self.identity.ttl);
            self.connection = Some(connection);
            return Ok(());
        }
        tracing::warn!("this broker's lease was swept; going on as a new incarnation");
        self.trust.until.store(0, Ordering::Release);
        self.trust.incarnation.send_replace(Uuid::new_v4());
        self.begin().await
    }

    fn failed(&mut self, error: &crate::domain::Error) {
        metrics::get().lease_renewal_failures.increment(1);
        tracing::warn!(?error, trusted = self.trust.holds(), "the broker's lease could not be renewed");
        self.connection = None;
    }
}
