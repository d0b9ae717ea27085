//! Whether the broker should get traffic, as named conditions that anybody may raise and clear.

use std::sync::Arc;
use tokio::sync::watch;

/// What keeps a broker from being ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// Not all parts are up yet.
    Starting,
    /// It is shutting down.
    Draining,
    /// Postgres cannot be reached.
    DatabaseDown,
    /// Postgres is set up so that acknowledged events could be lost.
    UnsafeDurability,
    /// The schema is of another version.
    Schema,
    /// This broker's lease has run out.
    LeaseLost,
}

impl Condition {
    /// The word in `/readyz`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Draining => "draining",
            Self::DatabaseDown => "database_down",
            Self::UnsafeDurability => "unsafe_durability",
            Self::Schema => "schema",
            Self::LeaseLost => "lease_lost",
        }
    }
}

/// A condition that holds, with a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub condition: Condition,
    pub detail: String,
}

/// The conditions that hold now. Ready is when none does. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<watch::Sender<Vec<Cause>>>);

impl Readiness {
    /// A broker that is starting.
    pub fn starting() -> Self {
        let starting = Cause { condition: Condition::Starting, detail: "the broker is starting".to_owned() };
        Self(Arc::new(watch::Sender::new(vec![starting])))
    }

    /// Raises a condition, or renews its detail.
    pub fn raise(&self, condition: Condition, detail: impl Into<String>) {
        let cause = Cause { condition, detail: detail.into() };
        self.0.send_if_modified(|causes| {
            if causes.contains(&cause) {
                return false;
            }
            causes.retain(|other| other.condition != condition);
            causes.push(cause);
            causes.sort_by_key(|cause| cause.condition);
            true
        });
    }

    /// The condition no longer holds.
    pub fn clear(&self, condition: Condition) {
        self.0.send_if_modified(|causes| {
            let before = causes.len();
            causes.retain(|cause| cause.condition != condition);
            causes.len() != before
        });
    }

    pub fn is_ready(&self) -> bool {
        self.0.borrow().is_empty()
    }

    pub fn holds(&self, condition: Condition) -> bool {
        self.0.borrow().iter().any(|cause| cause.condition == condition)
    }

    /// Why the broker is not ready; empty when it is.
    pub fn causes(&self) -> Vec<Cause> {
        self.0.borrow().clone()
    }

    /// For whoever follows changes: the health service, and tests.
    pub fn subscribe(&self) -> watch::Receiver<Vec<Cause>> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_is_ready_when_nothing_speaks_against_it() {
        let readiness = Readiness::starting();
        assert!(!readiness.is_ready());
        readiness.raise(Condition::DatabaseDown, "connection refused");
        readiness.clear(Condition::Starting);
        assert!(!readiness.is_ready() && readiness.holds(Condition::DatabaseDown));
        readiness.raise(Condition::DatabaseDown, "timed out");
        assert_eq!(readiness.causes()[0].detail, "timed out");
        readiness.clear(Condition::DatabaseDown);
        assert!(readiness.is_ready());
    }

    #[test]
    fn saying_the_same_again_wakes_nobody() {
        let readiness = Readiness::starting();
        let mut changes = readiness.subscribe();
        changes.mark_unchanged();
        readiness.raise(Condition::Starting, "the broker is starting");
        readiness.clear(Condition::Schema);
        assert!(!changes.has_changed().expect("sender lives"));
    }
}
