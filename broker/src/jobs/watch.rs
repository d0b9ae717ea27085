//! Watches the database: is it there, is it durable, is it the same life? What it finds opens and closes the gate of publishing
//! and decides readiness.

use crate::domain::Result;
use crate::publish::gate::DurabilityGate;
use crate::runtime::{Condition, Readiness};
use crate::store::durability::{self, Durability};
use crate::store::epoch::LogEpochs;
use crate::store::{Store, migrate};
use crate::telemetry::metrics;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Between two looks at whether the database answers.
const PROBE: Duration = Duration::from_secs(2);
/// Between two looks at its settings.
const SETTINGS: Duration = Duration::from_secs(60);

pub struct Watch {
    pub store: Store,
    pub epochs: LogEpochs,
    pub gate: DurabilityGate,
    pub readiness: Readiness,
    pub allow_unsafe: bool,
}

impl Watch {
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        let mut settings_checked: Option<Instant> = None;
        loop {
            let due = settings_checked.is_none_or(|checked| checked.elapsed() >= SETTINGS);
            match self.look(due).await {
                Ok(()) => {
                    metrics::get().postgres_up.set(1.0);
                    self.readiness.clear(Condition::DatabaseDown);
                    settings_checked = if due { Some(Instant::now()) } else { settings_checked };
                }
                Err(error) => {
                    metrics::get().postgres_up.set(0.0);
                    self.readiness.raise(Condition::DatabaseDown, error.message().to_owned());
                    // It may come back with other settings.
                    settings_checked = None;
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(PROBE) => {}
            }
        }
    }

    async fn look(&self, settings: bool) -> Result<()> {
        let db = self.store.conn().await?;
        self.epochs.check(&**db).await?;
        if settings {
            let found = durability::check(&**db).await?;
            judge(&found, self.allow_unsafe, &self.gate, &self.readiness);
            match migrate::check_version(&**db).await {
                Ok(()) => self.readiness.clear(Condition::Schema),
                Err(error) => self.readiness.raise(Condition::Schema, error.message().to_owned()),
            }
        }
        Ok(())
    }
}

/// Opens or closes the gate by what was found.
fn judge(found: &Durability, allow_unsafe: bool, gate: &DurabilityGate, readiness: &Readiness) {
    let metrics = metrics::get();
    metrics.durability_unsafe.set(if found.unsafe_settings.is_empty() { 0.0 } else { 1.0 });
    let checksums_off = found.warnings.iter().any(|warning| warning.contains("checksums"));
    metrics.checksums_off.set(if checksums_off { 1.0 } else { 0.0 });
    let why = found.unsafe_settings.join("; ");
    if why.is_empty() || allow_unsafe {
        gate.set(None);
        readiness.clear(Condition::UnsafeDurability);
    } else {
        tracing::error!(%why, "the database could lose acknowledged events: nothing is acknowledged");
        readiness.raise(Condition::UnsafeDurability, why.clone());
        gate.set(Some(why));
    }
}
