//! Alerts: thresholds on how far consumer groups are behind, and who is told.
//!
//! Any broker evaluates what is due and nobody else is at ([`evaluator`]); a change of state and the notification of it are one
//! transaction of the database, so that a broker which dies there leaves both or neither. Notifications are taken by one broker at a
//! time, under a number that fences its report ([`poster`]), and go to webhooks ([`webhook`]).
//!
//! **Invariants:** a change is notified at least once, with an id that stays the same, and those of an alert in their order; what
//! waits for a webhook is bounded, and so is what one organization's webhooks take of a broker; a webhook is spoken to at an address
//! that was looked at ([`address`]), and nothing that it answers but its status reaches anybody. Never here: what a value means, which
//! `evaluate_alerts_v1` decides.

mod address;
mod evaluator;
mod poster;
mod registry;
mod secret;
mod target;
mod webhook;

pub use self::{
    address::Reach,
    evaluator::Evaluator,
    poster::Poster,
    registry::{Made, Removed},
    target::Scheme,
    webhook::{Allowed, Posted},
};

use crate::domain::Result;
use crate::store::Store;
use secret::Secrets;
use std::sync::Arc;
use tokio::sync::Semaphore;
use webhook::Webhooks;

/// Tests under way at once at one broker; more are refused.
const TESTS_MAX: usize = 8;

/// A handle on all alerts. Cheap to clone.
#[derive(Clone)]
pub struct Alerts {
    store: Store,
    secrets: Secrets,
    webhooks: Webhooks,
    tests: Arc<Semaphore>,
}

impl Alerts {
    /// `allowed` is what a webhook may be.
    pub fn new(store: Store, allowed: Allowed) -> Result<Self> {
        let (secrets, webhooks) = (Secrets::new(store.clone()), Webhooks::new(allowed)?);
        Ok(Self { store, secrets, webhooks, tests: Arc::new(Semaphore::new(TESTS_MAX)) })
    }
}
