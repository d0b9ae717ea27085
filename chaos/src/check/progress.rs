//! S10: a group's progress, as anybody sees it, never goes back but for a seek.
//!
//! A session that was fenced and does not know it yet may say again what was committed before; it says nothing new, and whoever
//! holds the partition is not misled. Such answers are left out.

use std::collections::HashMap;

use super::findings::Findings;
use crate::history::{Commit, Key, Micros, Outcome, Record};

/// Progress that was shown between two moments.
struct Shown {
    t0: Micros,
    t1: Micros,
    off: i64,
}

pub fn check(records: &[Record], findings: &mut Findings) {
    let mut shown: HashMap<(u16, Key), Vec<Shown>> = HashMap::new();
    let mut seeks: HashMap<(u16, Key), Vec<(Micros, Micros)>> = HashMap::new();
    let mut granted: HashMap<(u16, Key), Vec<(Micros, u64)>> = HashMap::new();
    for record in records {
        if let Record::Lease(lease) = record {
            granted.entry((lease.g, lease.k)).or_default().push((lease.t, lease.epoch));
        }
    }
    let was_fenced = |commit: &Commit| {
        let leases = granted.get(&(commit.g, commit.k)).map_or(&[][..], Vec::as_slice);
        leases.iter().any(|(t, epoch)| *epoch > commit.epoch && *t < commit.t1)
    };
    for record in records {
        match record {
            Record::Commit(commit) if commit.outcome == Outcome::Ok && !was_fenced(commit) => {
                let off = commit.got.unwrap_or(commit.off);
                let entry = shown.entry((commit.g, commit.k)).or_default();
                entry.push(Shown { t0: commit.t0, t1: commit.t1, off });
            }
            Record::Fetch(fetch) => {
                let entry = shown.entry((fetch.g, fetch.k)).or_default();
                entry.push(Shown { t0: fetch.t0, t1: fetch.t1, off: fetch.off });
            }
            Record::Progress(progress) => {
                let entry = shown.entry((progress.g, progress.k)).or_default();
                entry.push(Shown { t0: Micros::MAX - 1, t1: Micros::MAX, off: progress.off });
            }
            Record::Seek(seek) if seek.outcome != Outcome::Fail => {
                // One that nobody knows of may happen at any time later.
                let end = if seek.outcome == Outcome::Ok { seek.t1 } else { Micros::MAX };
                seeks.entry((seek.g, seek.k)).or_default().push((seek.t0, end));
            }
            _ => {}
        }
    }
    for ((g, k), mut shown) in shown {
        let mut seeks = seeks.remove(&(g, k)).unwrap_or_default();
        seeks.sort_unstable();
        let segment = |shown: &Shown| {
            // Between two seeks, or none: what overlaps a seek says nothing.
            let begun = seeks.iter().filter(|(t0, _)| *t0 < shown.t1).count();
            let ended = seeks.iter().filter(|(_, t1)| *t1 < shown.t0).count();
            (begun == ended).then_some(begun)
        };
        shown.sort_by_key(|shown| shown.t0);
        let mut ended: Vec<(Micros, usize, i64)> =
            shown.iter().filter_map(|shown| Some((shown.t1, segment(shown)?, shown.off))).collect();
        ended.sort_unstable();
        let (mut at, mut highest) = (0, HashMap::<usize, i64>::new());
        for shown in &shown {
            while at < ended.len() && ended[at].0 < shown.t0 {
                let (_, segment, off) = ended[at];
                let known = highest.entry(segment).or_insert(i64::MIN);
                *known = (*known).max(off);
                at += 1;
            }
            let before = segment(shown).and_then(|segment| highest.get(&segment).copied());
            if let Some(before) = before.filter(|before| *before > shown.off) {
                findings.add("S10", || format!("group {g} stood at {before} of {k:?}, and later at {}", shown.off));
            }
        }
    }
}
