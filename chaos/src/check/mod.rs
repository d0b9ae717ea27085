//! The checker: a pure function from a history to a report. It knows nothing of how a run is made.
//!
//! It goes over the records a constant number of times, and looks offsets up by bisection in the rows of the final log;
//! events are array elements, so ten million of them fit in a small machine. `invariants.rs` names what is checked, and
//! `chaos/README.md` shows which seeded bug each invariant catches.

mod coverage;
mod findings;
mod groups;
mod invariants;
mod key_order;
mod keys;
mod liveness;
mod log;
mod outcomes;
mod progress;
mod seen;
mod sent;
#[cfg(test)]
mod tests;
mod totals;
mod vacuity;

pub use coverage::Steps;
pub use findings::{Finding, Findings};
pub use invariants::{CHECKED, OUT_OF_SCOPE, name};
pub use sent::UNREADABLE;
pub use totals::Totals;

use crate::history::{Record, Setup};

/// What a history proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was violated, and something was tried.
    Green,
    /// A promise was broken.
    Violation,
    /// Nothing was violated, but the run tried too little to prove anything.
    Void,
}

/// A verdict and its grounds.
#[derive(Debug, Clone, Default)]
pub struct Report {
    pub setup: Setup,
    pub findings: Findings,
    pub totals: Totals,
    /// Why the run proves nothing, if it does not.
    pub void: Vec<String>,
}

impl Report {
    pub fn verdict(&self) -> Verdict {
        match (self.findings.is_empty(), self.void.is_empty()) {
            (false, _) => Verdict::Violation,
            (true, false) => Verdict::Void,
            (true, true) => Verdict::Green,
        }
    }
}

/// Checks a history.
pub fn check(records: &[Record]) -> Report {
    let setup = records.iter().find_map(|record| match record {
        Record::Setup(setup) => Some(setup.clone()),
        _ => None,
    });
    let setup = setup.unwrap_or_default();
    let mut findings = Findings::default();
    let mut totals = Totals::count(records);
    let sent = sent::Sent::gather(records, &mut findings);
    let log = log::Log::gather(records, &sent, &mut findings);
    log::order(&log, &sent, &mut findings);
    log::whole(records, &log, &sent, &mut findings);
    let gone = seen::acknowledged(&setup, &sent, &log, &mut totals, &mut findings);
    seen::read(records, &sent, &log, gone, &mut totals, &mut findings);
    seen::real_time(records, &mut findings);
    seen::readers(records, &log, &mut findings);
    groups::check(records, &setup, &sent, &log, &mut findings);
    coverage::check(records, &setup, &sent, &log, &mut totals, &mut findings);
    outcomes::check(records, &setup, &log, &mut findings);
    key_order::check(records, &setup, &sent, &log, &mut totals, &mut findings);
    keys::idempotency(records, &setup, &log, &mut findings);
    keys::credentials(records, &setup, &mut findings);
    liveness::check(records, &setup, &mut findings);
    let void = vacuity::check(&setup, records, &totals);
    Report { setup, findings, totals, void }
}
