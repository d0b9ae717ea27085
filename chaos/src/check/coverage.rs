//! What each group has got of each partition: S9, S13 without faults, L1, L2.

use std::collections::HashMap;

use super::findings::Findings;
use super::log::Log;
use super::sent::{Packed, Sent};
use super::totals::Totals;
use crate::history::{Deliver, Key, Micros, Record, Setup, Step};

/// Delivery follows publishing within this time once everything is healed; a quiet broker needs 300 ms without any hint, the
/// rest is for a machine that is busy with the run.
pub const LAG_BOUND: Micros = 8_000_000;

/// After healing, connections are made again and leases change hands for so long.
pub const SETTLING: Micros = 8_000_000;

/// When the steps of a run began.
#[derive(Debug, Clone, Copy, Default)]
pub struct Steps {
    pub healed: Option<Micros>,
    pub quiet: Option<Micros>,
    pub drained: Option<Micros>,
}

impl Steps {
    pub fn of(records: &[Record]) -> Steps {
        let mut steps = Steps::default();
        for record in records {
            if let Record::Phase(phase) = record {
                match phase.name {
                    Step::Faults => {}
                    Step::Healed => steps.healed = Some(phase.t),
                    Step::Quiet => steps.quiet = Some(phase.t),
                    Step::Drained => steps.drained = Some(phase.t),
                }
            }
        }
        steps
    }

    /// After everything has settled, and before publishing ends.
    pub fn is_calm(&self, time: Micros) -> bool {
        self.healed.is_some_and(|healed| time >= healed + SETTLING) && self.quiet.is_none_or(|quiet| time < quiet)
    }
}

struct Covered<'a> {
    sent: &'a Sent,
    log: &'a Log,
    steps: Steps,
    got: HashMap<(u16, Key), Vec<bool>>,
}

pub fn check(records: &[Record], setup: &Setup, sent: &Sent, log: &Log, totals: &mut Totals, findings: &mut Findings) {
    let mut covered = Covered { sent, log, steps: Steps::of(records), got: HashMap::new() };
    for record in records {
        if let Record::Deliver(deliver) = record {
            covered.take(deliver, totals, findings);
        }
    }
    if !setup.faults_wanted && totals.redelivered > 0 && totals.seeks == 0 {
        findings.add("S13", || format!("{} events were delivered again, and nothing had failed", totals.redelivered));
    }
    for record in records {
        if let Record::Progress(progress) = record {
            covered.progress(progress.g, progress.k, progress.off, setup, findings);
        }
    }
}

impl Covered<'_> {
    fn take(&mut self, deliver: &Deliver, totals: &mut Totals, findings: &mut Findings) {
        let Some(partition) = self.log.partitions.get(&deliver.k) else { return };
        let got = self.got.entry((deliver.g, deliver.k)).or_insert_with(|| vec![false; partition.len()]);
        let values = deliver.runs.iter().flat_map(|run| run.values());
        // That it comes again is as it should be.
        let is_retry = deliver.dealt.as_ref().is_some_and(|dealt| dealt.attempt > 1);
        for (off, (producer, number)) in (deliver.off..).zip(values) {
            if partition.at(off).is_none() {
                continue;
            }
            let known = std::mem::replace(&mut got[partition.dense(off)], true);
            if known || is_retry {
                totals.redelivered += u64::from(!is_retry);
                continue;
            }
            let Some((_, event)) = self.sent.event(Packed::new(producer, number)) else { continue };
            let published = Micros::from(event.sent_ms) * 1_000;
            if !self.steps.is_calm(published) {
                continue;
            }
            let lag = deliver.t.saturating_sub(published);
            totals.lag_ms = totals.lag_ms.max(lag / 1_000);
            if lag > LAG_BOUND {
                findings.add("L2", || {
                    format!(
                        "{:?} {off} came to group {} {} ms after it was published",
                        deliver.k,
                        deliver.g,
                        lag / 1_000
                    )
                });
            }
        }
    }

    /// S9 below the group's progress, L1 for everything.
    fn progress(&self, g: u16, k: Key, off: i64, setup: &Setup, findings: &mut Findings) {
        let Some(partition) = self.log.partitions.get(&k) else { return };
        let nothing = Vec::new();
        let got = self.got.get(&(g, k)).unwrap_or(&nothing);
        let name = setup.groups.get(usize::from(g)).map_or("?", |group| group.name.as_str());
        for dense in (0..partition.len()).filter(|dense| !got.get(*dense).copied().unwrap_or(false)) {
            let missing = partition.offset_of(dense);
            if missing < off {
                findings.add("S9", || format!("group {name} stands at {off} of {k:?} and never got {missing}"));
            } else if self.steps.drained.is_some() {
                findings.add("L1", || format!("group {name} never got {missing} of {k:?}; it stands at {off}"));
            }
        }
    }
}
