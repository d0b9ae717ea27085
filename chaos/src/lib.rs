//! Chaos: faults are injected into a running EventFlow, clients write down what they see, and a checker looks for a broken
//! promise.
//!
//! - [`history`]: what happened, as lines of JSON; payloads that describe and verify themselves.
//! - [`check`]: a pure function from a history to a verdict.
//! - [`ground`]: a Postgres, three brokers, and a fault proxy on every way.
//! - [`load`]: clients, through the SDK and through raw gRPC.
//! - [`nemesis`]: faults, from a seed.
//! - [`run`]: all of it in order; [`dump`] reads the log back past the brokers.
//! - [`recovery`]: how long things take after a fault.
//! - [`mutants`]: bugs seeded on purpose, which the checker must catch.

#![expect(
    clippy::disallowed_methods,
    reason = "the chaos runner is no part of a broker: it has neither its task set nor its clock, and passes its environment on"
)]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test may panic"))]

pub mod check;
pub mod dump;
pub mod ground;
pub mod history;
pub mod load;
pub mod mutants;
pub mod nemesis;
pub mod recovery;
pub mod run;
pub mod undo;

/// The runner has nobody to tell errors apart: it shows them and ends.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T, E = Failure> = std::result::Result<T, E>;
