//! What must happen within a time once everything is healed: L3, L4, L5; and S19, which compares positions, not times.

use super::coverage::{SETTLING, Steps};
use super::findings::Findings;
use crate::history::{Micros, Outcome, Record, Setup};

pub fn check(records: &[Record], setup: &Setup, findings: &mut Findings) {
    let steps = Steps::of(records);
    for record in records {
        match record {
            Record::Surprise(surprise) => findings.add("U1", || format!("{}: {}", surprise.who, surprise.what)),
            Record::Flushed(flushed) if flushed.commit > flushed.flushed => findings.add("S19", || {
                format!(
                    "{:?} {} was acknowledged with the log flushed to {:X}, and its commit ends at {:X}",
                    flushed.k, flushed.off, flushed.flushed, flushed.commit
                )
            }),
            Record::Publish(publish) => {
                let waited = publish.t1 - publish.t0;
                if steps.is_calm(publish.t0) && waited > setup.call_bound {
                    findings.add("L3", || format!("a publish to {:?} took {} ms in calm", publish.k, waited / 1_000));
                }
                if let Some(healed) = steps.healed.filter(|healed| publish.t0 < *healed)
                    && publish.t1 > healed + SETTLING + setup.call_bound
                {
                    findings.add("L4", || {
                        format!(
                            "a publish to {:?} hung at healing, and for {} ms more",
                            publish.k,
                            (publish.t1 - healed) / 1_000
                        )
                    });
                }
            }
            Record::Fetch(fetch) => answered(&steps, setup, "GetLag", fetch.t0, fetch.t1, findings),
            Record::Range(range) => {
                let is_open = range.outcome == Outcome::Info && !setup.loss_allowed && range.damaged.is_none();
                if is_open && steps.is_calm(range.t0) {
                    findings.add("L5", || format!("a read of {:?} failed in calm: {}", range.k, range.reason));
                }
                answered(&steps, setup, "Read", range.t0, range.t1, findings);
            }
            Record::Commit(commit) => answered(&steps, setup, "Commit", commit.t0, commit.t1, findings),
            _ => {}
        }
    }
}

fn answered(steps: &Steps, setup: &Setup, call: &str, t0: Micros, t1: Micros, findings: &mut Findings) {
    if steps.is_calm(t0) && t1.saturating_sub(t0) > setup.call_bound {
        findings.add("L5", || format!("`{call}` took {} ms in calm", (t1 - t0) / 1_000));
    }
}
