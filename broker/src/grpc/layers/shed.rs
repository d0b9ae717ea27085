//! Too many calls at once are refused at once: queueing them would only make everybody late.
//!
//! A call holds its permit until the last byte of its answer. This bounds memory; fairness and quotas are for `limits`.

use super::{CallLimits, Kind, Method};
use crate::{
    domain::{Applied, Error, Reason, Result},
    telemetry::metrics,
};
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub(super) struct Shed {
    unary: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    limits: CallLimits,
}

impl Shed {
    pub(super) fn new(limits: CallLimits) -> Self {
        let (unary, streams) = (Semaphore::new(limits.unary), Semaphore::new(limits.streams));
        Self { unary: Arc::new(unary), streams: Arc::new(streams), limits }
    }

    pub(super) fn admit(&self, method: &Method) -> Result<OwnedSemaphorePermit> {
        let (permits, limit) = match method.kind() {
            Kind::Unary => (&self.unary, self.limits.unary),
            Kind::ServerStream | Kind::ClientStream => (&self.streams, self.limits.streams),
        };
        permits.clone().try_acquire_owned().map_err(|_| {
            metrics::get().shed_calls.increment(1);
            Error::new(Reason::Overloaded, format!("the broker serves {limit} calls of this kind already; try again"))
                .fact("limit_calls", limit)
                .retry_after(Duration::from_millis(200))
                .applied(Applied::No)
        })
    }
}
