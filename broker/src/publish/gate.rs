//! Nothing is acknowledged while the database is set up so that it could be lost.

use crate::domain::{Applied, Error, Reason, Result};
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Open while the database is durable. Set by the runtime's watch, read by every publish. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct DurabilityGate(Arc<Mutex<Option<String>>>);

impl DurabilityGate {
    /// Closes the gate with a reason, or opens it.
    pub fn set(&self, why_closed: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = why_closed;
    }

    pub fn check(&self) -> Result<()> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).as_deref() {
            None => Ok(()),
            Some(why) => Err(Error::new(
                Reason::UnsafeDurability,
                format!("the database could lose acknowledged events, so nothing is acknowledged: {why}"),
            )
            .applied(Applied::No)
            .retry_after(Duration::from_secs(10))),
        }
    }
}
