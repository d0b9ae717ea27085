//! S10: a group's progress, as anybody sees it, never goes back but for a seek; nor does the answer to a commit that repeats an
//! old one, whoever sends it.
//!
//! A failover that may lose events may lose progress as well: it counts as a seek of every group.

use std::collections::HashMap;

use super::findings::Findings;
use crate::history::{Fault, Key, Micros, Outcome, Record, Setup};

/// Progress that was shown between two moments.
struct Shown {
    t0: Micros,
    t1: Micros,
    off: i64,
}

/// Until every broker has heard of a failover.
const HEARD_OF: Micros = 6_000_000;

pub fn check(records: &[Record], setup: &Setup, findings: &mut Findings) {
    let mut shown: HashMap<(u16, Key), Vec<Shown>> = HashMap::new();
    let mut seeks: HashMap<(u16, Key), Vec<(Micros, Micros)>> = HashMap::new();
    let losses: Vec<(Micros, Micros)> = records.iter().filter_map(|record| loss(record, setup)).collect();
    for record in records {
        match record {
            Record::Commit(commit) if commit.outcome == Outcome::Ok => {
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
        seeks.extend(&losses);
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

/// From when to when a failover may have taken progress back.
fn loss(record: &Record, setup: &Setup) -> Option<(Micros, Micros)> {
    match record {
        Record::Fault(Fault { kind, t0, t1, back, .. }) if setup.loss_allowed && kind.starts_with("failover") => {
            Some((*t0, back.unwrap_or(*t1) + HEARD_OF))
        }
        _ => None,
    }
}
