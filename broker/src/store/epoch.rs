//! The log epoch: which life of the database this broker is talking to.
//!
//! **Invariant:** nothing is appended or committed under an epoch that the database has left; the append and the commit compare
//! it themselves. This handle only makes the news travel: lanes, caches and sessions of the broker watch it.

use crate::domain::Result;
use crate::store::{Client, error::from_postgres};
use tokio::sync::watch;

/// The epoch as this broker knows it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LogEpochs(watch::Sender<i64>);

impl LogEpochs {
    pub fn new(epoch: i64) -> Self {
        Self(watch::Sender::new(epoch))
    }

    pub fn current(&self) -> i64 {
        *self.0.borrow()
    }

    /// Changes when the database has failed over or been restored.
    pub fn subscribe(&self) -> watch::Receiver<i64> {
        self.0.subscribe()
    }

    /// Compares the database with what it remembers of itself, raising the epoch when it is another life; to be called at
    /// start, on every reconnect, and when an append was told that its epoch is over.
    pub async fn check(&self, client: &impl Client) -> Result<i64> {
        let epoch = check(client, Raise::WhenChanged).await?;
        self.0.send_if_modified(|known| {
            let changed = epoch > *known;
            if changed {
                tracing::warn!(from = *known, to = epoch, "the log epoch has changed");
                *known = epoch;
                crate::telemetry::metrics::get().log_epoch.set(epoch as f64);
            }
            changed
        });
        Ok(epoch)
    }
}

/// When to raise the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raise {
    WhenChanged,
    /// By hand, after a restore that kept the identity of the database.
    Always,
}

/// One comparison; answers the epoch now.
pub async fn check(client: &impl Client, raise: Raise) -> Result<i64> {
    let row = client
        .query_one("select log_epoch from eventflow.check_log_epoch_v1($1)", &[&(raise == Raise::Always)])
        .await
        .map_err(from_postgres)?;
    Ok(row.get(0))
}
