//! A producer, as its sender sees it.

use std::sync::{Arc, atomic::Ordering};

use tokio_util::sync::CancellationToken;

use super::{Shared, lanes::Lanes};
use crate::error::Error;

/// See the [module](self).
pub(super) struct Source {
    pub(super) shared: Arc<Shared>,
    pub(super) lanes: Lanes,
    /// It stands in the sender's line.
    pub(super) is_in_line: bool,
    /// Its new routing is being asked for.
    pub(super) is_rerouting: bool,
    /// Cancelled when the producer was closed or dropped.
    stop: CancellationToken,
}

impl Source {
    pub(super) fn new(shared: Arc<Shared>, stop: CancellationToken, in_flight_max: usize) -> Self {
        Self { shared, lanes: Lanes::new(in_flight_max), is_in_line: false, is_rerouting: false, stop }
    }

    /// Notes what has gathered; false when the producer has ended.
    pub(super) fn look(&mut self) -> bool {
        // Before looking: what comes in meanwhile tells again.
        self.shared.is_told.store(false, Ordering::SeqCst);
        self.lanes.look(&self.shared);
        !self.stop.is_cancelled()
    }

    /// No more is taken, and what is on its way has failed.
    pub(super) fn end(mut self, error: &Error) {
        self.shared.end(error);
        self.lanes.abandon(&self.shared, error);
    }
}
