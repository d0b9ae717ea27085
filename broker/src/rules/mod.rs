//! Processing rules: set up per stream, carried out behind its log by a consumer group of the broker's own.
//!
//! Every broker is a member of the group of every stream with rules, so that their partitions are shared, fenced and taken over as
//! any member's are. A member asks the rules about each event (`domain/rule`), publishes the copies that they make, and commits
//! when all of them are appended. A publish to the stream knows nothing of it.
//!
//! **Invariants:** progress moves past an event only when every copy of it is appended, or the event is a retry or a dead letter;
//! a copy is in the log once, because its idempotency key names the rule and the position of the event, and because copies that
//! an earlier holder may have made are looked for when their stream has got more partitions (`copies.rs`); copies of a partition's
//! events that go to the same partition keep their order; a rule reaches streams of its own organization only. What is in a
//! stream is never changed.
//!
//! Never here: the wire, waiting for a publisher.

mod author;
mod chain;
mod copies;
mod counts;
mod member;
mod place;
mod registry;
mod runner;
mod trial;
mod work;

pub use self::{
    author::Author,
    registry::Removed,
    runner::Runner,
    trial::{Trial, TrialOf, TrialReport, Tried},
};

use crate::catalogue::Catalogue;
use crate::store::Store;
use counts::Counts;
use std::sync::Arc;
use tokio::sync::Notify;

/// A handle on all rules. Cheap to clone.
#[derive(Clone)]
pub struct Rules {
    store: Store,
    catalogue: Catalogue,
    counts: Counts,
    /// Rules have changed through this broker: it need not wait for its next look.
    changed: Arc<Notify>,
}

impl Rules {
    pub fn new(store: Store, catalogue: Catalogue) -> Self {
        Self { store, catalogue, counts: Counts::default(), changed: Arc::default() }
    }
}
