//! What groups may do: S8, S9, S10, S11, S12, S13, over leases, deliveries and commits.

use std::collections::HashMap;

use super::findings::Findings;
use super::log::Log;
use super::sent::{Packed, Sent};
use crate::history::{Commit, Deliver, Key, Lease, Micros, Outcome, Record, Setup, log_epoch_of};

/// How long a fenced session may still be fed with what is published after another got its partition: a broker learns of
/// it by a look at the group's version, several times a second.
const FED_ON_BOUND: Micros = 3_000_000;

type GroupKey = (u16, Key);

/// What is known of the leases of a group's partition.
#[derive(Default)]
struct Leases {
    /// (time, epoch, where it starts), by time.
    granted: Vec<(Micros, u64, i64)>,
    /// Highest epoch granted up to each of them, and where it starts.
    highest: Vec<(u64, i64)>,
}

impl Leases {
    fn highest_before(&self, time: Micros) -> (u64, i64) {
        let before = self.granted.partition_point(|(granted, _, _)| *granted < time);
        before.checked_sub(1).map_or((0, 0), |index| self.highest[index])
    }
}

pub fn check(records: &[Record], setup: &Setup, sent: &Sent, log: &Log, findings: &mut Findings) {
    let leases = leases(records, findings);
    sessions(records, log, findings);
    starts(records, setup, log, findings);
    commits(records, &leases, findings);
    fed_on(records, &leases, sent, findings);
    super::progress::check(records, setup, findings);
}

/// S12: an epoch has one owner.
fn leases(records: &[Record], findings: &mut Findings) -> HashMap<GroupKey, Leases> {
    let mut all: HashMap<GroupKey, Leases> = HashMap::new();
    let mut owner: HashMap<(GroupKey, u64), u32> = HashMap::new();
    for record in records {
        let Record::Lease(lease) = record else { continue };
        let id = (lease.g, lease.k);
        all.entry(id).or_default().granted.push((lease.t, lease.epoch, lease.off));
        let first = *owner.entry((id, lease.epoch)).or_insert(lease.s);
        if first != lease.s {
            findings.add("S12", || {
                format!(
                    "epoch {} of {:?} in group {} belongs to sessions {first} and {}",
                    lease.epoch, lease.k, lease.g, lease.s
                )
            });
        }
    }
    for leases in all.values_mut() {
        leases.granted.sort_unstable();
        let mut highest = (0, 0);
        leases.highest = leases
            .granted
            .iter()
            .map(|(_, epoch, off)| {
                highest = highest.max((*epoch, *off));
                highest
            })
            .collect();
    }
    all
}

/// A partition in the hands of a session.
struct Held {
    epoch: u64,
    expected: i64,
    /// Everything below was delivered under this lease, or lay below its start.
    delivered: i64,
}

/// S8a, S13 and the half of S9 that looks at each commit: what a session gets under a lease, in order.
fn sessions(records: &[Record], log: &Log, findings: &mut Findings) {
    let mut held: HashMap<(u32, Key), Held> = HashMap::new();
    // Commits are answered later than leases change: what each lease had delivered stays known.
    let mut delivered: HashMap<(u32, Key, u64), i64> = HashMap::new();
    for record in records {
        match record {
            Record::Lease(lease) => {
                let known = Held { epoch: lease.epoch, expected: lease.off, delivered: lease.off };
                delivered.insert((lease.s, lease.k, lease.epoch), lease.off);
                held.insert((lease.s, lease.k), known);
            }
            Record::Truncated(cut) => {
                if let Some(held) = held.get_mut(&(cut.s, cut.k)) {
                    held.expected = held.expected.max(cut.to);
                    held.delivered = held.delivered.max(cut.to);
                    delivered.insert((cut.s, cut.k, held.epoch), held.delivered);
                }
            }
            Record::Deliver(deliver) if deliver.epoch > 0 => {
                let lease = held.get_mut(&(deliver.s, deliver.k)).filter(|held| held.epoch == deliver.epoch);
                let Some(lease) = lease else {
                    findings.add("S12", || {
                        format!(
                            "session {} got {:?} {} under epoch {}, which it was not given",
                            deliver.s, deliver.k, deliver.off, deliver.epoch
                        )
                    });
                    continue;
                };
                in_order(deliver, lease, log, findings);
                delivered.insert((deliver.s, deliver.k, deliver.epoch), lease.delivered);
            }
            Record::Commit(commit) if commit.outcome == Outcome::Ok => {
                let known = delivered.get(&(commit.s, commit.k, commit.epoch)).copied().unwrap_or(i64::MIN);
                if commit.off > known {
                    findings.add("S9", || {
                        format!(
                            "session {} committed {} of {:?}, and had got only what lies below {known}",
                            commit.s, commit.off, commit.k
                        )
                    });
                }
            }
            _ => {}
        }
    }
}

fn in_order(deliver: &Deliver, lease: &mut Held, log: &Log, findings: &mut Findings) {
    let (k, expected, got) = (deliver.k, lease.expected, deliver.off);
    let is_jump = || log.partitions.get(&k).is_some_and(|partition| partition.may_jump(expected, got));
    if got < expected {
        findings.add("S13", || format!("session {} was at {expected} of {k:?} and got {got} again", deliver.s));
    } else if got > expected && !is_jump() {
        findings.add("S8a", || format!("session {} was at {expected} of {k:?} and got {got}", deliver.s));
    }
    let end = got + crate::history::events(&deliver.runs) as i64;
    let passes_over = log
        .partitions
        .get(&k)
        .is_some_and(|partition| deliver.next > end && partition.dense(deliver.next) > partition.dense(end));
    if passes_over || deliver.next < end {
        findings.add("S8a", || format!("a batch of {k:?} ends at {end} and says {} comes next", deliver.next));
    }
    lease.expected = deliver.next;
    lease.delivered = lease.delivered.max(deliver.next);
}

/// S8b: a lease starts at or behind everything that was committed under earlier epochs, and not beyond what anybody tried to
/// commit.
fn starts(records: &[Record], setup: &Setup, log: &Log, findings: &mut Findings) {
    let mut leases: HashMap<GroupKey, Vec<&Lease>> = HashMap::new();
    let mut commits: HashMap<GroupKey, Vec<&Commit>> = HashMap::new();
    let mut seeks: HashMap<GroupKey, Vec<(Micros, i64)>> = HashMap::new();
    for record in records {
        match record {
            Record::Lease(lease) => leases.entry((lease.g, lease.k)).or_default().push(lease),
            Record::Commit(commit) => commits.entry((commit.g, commit.k)).or_default().push(commit),
            Record::Seek(seek) if seek.outcome != Outcome::Fail => {
                seeks.entry((seek.g, seek.k)).or_default().push((seek.t0, seek.to));
            }
            _ => {}
        }
    }
    for (id, mut leases) in leases {
        let mut commits = commits.remove(&id).unwrap_or_default();
        let seeks = seeks.get(&id).map_or(&[][..], Vec::as_slice);
        leases.sort_by_key(|lease| lease.epoch);
        commits.sort_by_key(|commit| commit.epoch);
        let floor = log.partitions.get(&id.1).map_or(0, |partition| partition.floor);
        let (mut at, mut committed) = (0, i64::MIN);
        let mut life = 0;
        for lease in &leases {
            // In another life of the log, what was committed in the one before may be lost with it.
            if setup.loss_allowed && std::mem::replace(&mut life, lease.log_epoch) != lease.log_epoch {
                committed = i64::MIN;
            }
            while at < commits.len() && commits[at].epoch < lease.epoch {
                let is_lost = setup.loss_allowed && log_epoch_of(commits[at].epoch) < lease.log_epoch;
                if commits[at].outcome == Outcome::Ok && !is_lost {
                    committed = committed.max(commits[at].off);
                }
                at += 1;
            }
            let moved = seeks.iter().filter(|(t0, _)| *t0 < lease.t).map(|(_, to)| *to);
            let low = committed.min(moved.clone().min().unwrap_or(i64::MAX));
            if lease.off < low {
                findings.add("S8b", || {
                    format!(
                        "epoch {} of {:?} in group {} starts at {}, though {low} was committed before",
                        lease.epoch, lease.k, lease.g, lease.off
                    )
                });
            }
            let tried = commits.iter().filter(|commit| commit.epoch < lease.epoch).map(|commit| commit.off);
            let start = floor.max(((lease.log_epoch) << 40) as i64);
            let high = tried.chain(moved).fold(start, i64::max);
            if lease.off > high {
                findings.add("S8b", || {
                    format!(
                        "epoch {} of {:?} in group {} starts at {}, and nobody had come beyond {high}",
                        lease.epoch, lease.k, lease.g, lease.off
                    )
                });
            }
        }
    }
}

/// S11: an epoch that is over commits nothing. What was committed before the next epoch began may be said again: that is no
/// news, and changes nothing.
fn commits(records: &[Record], leases: &HashMap<GroupKey, Leases>, findings: &mut Findings) {
    for record in records {
        let Record::Commit(commit) = record else { continue };
        let (highest, start) =
            leases.get(&(commit.g, commit.k)).map_or((0, 0), |leases| leases.highest_before(commit.t0));
        if commit.outcome == Outcome::Ok && commit.epoch < highest && commit.off > start {
            findings.add("S11", || {
                format!(
                    "session {} committed {} of {:?} under epoch {}, when {highest} was granted from {start} on",
                    commit.s, commit.off, commit.k, commit.epoch
                )
            });
        }
    }
}

/// S12: a session whose partition went to another is not fed with what is published later.
fn fed_on(records: &[Record], leases: &HashMap<GroupKey, Leases>, sent: &Sent, findings: &mut Findings) {
    for record in records {
        let Record::Deliver(deliver) = record else { continue };
        let (Some(run), Some(leases)) = (deliver.runs.last(), leases.get(&(deliver.g, deliver.k))) else {
            continue;
        };
        let newest = Packed::new(run.0, run.1 + u64::from(run.2) - 1);
        let Some((_, event)) = sent.event(newest).filter(|_| deliver.epoch > 0) else {
            continue;
        };
        let published = Micros::from(event.sent_ms) * 1_000;
        let (highest, _) = leases.highest_before(published.saturating_sub(FED_ON_BOUND));
        if deliver.epoch < highest {
            findings.add("S12", || {
                format!(
                    "session {} got {:?} {} under epoch {}, published long after epoch {highest} was granted",
                    deliver.s, deliver.k, deliver.off, deliver.epoch
                )
            });
        }
    }
}
