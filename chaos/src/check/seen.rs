//! What clients saw against what the log holds: S1, S3, S4, S5a, S5b, S6, S8a of readers, S16, S20.

use std::collections::HashMap;

use super::findings::Findings;
use super::log::{Log, stored};
use super::sent::{Packed, Sent};
use super::totals::Totals;
use crate::history::{Bad, Key, Outcome, Range, Record, Run, Setup};

/// What was seen at offsets that the log does not hold (any more).
type Gone = HashMap<(Key, i64), Packed>;

/// S3 and S1: every acknowledged event stands where it was acknowledged.
pub fn acknowledged(setup: &Setup, sent: &Sent, log: &Log, totals: &mut Totals, findings: &mut Findings) -> Gone {
    let mut gone = Gone::new();
    for (producer, sender) in &sent.senders {
        for (number, event) in sender.iter() {
            let (k, value) = (Key(sender.stream, event.partition), Packed::new(*producer, number));
            let Some(off) = event.acked.filter(|_| event.outcome == Outcome::Ok) else {
                continue;
            };
            let Some(partition) = log.partitions.get(&k) else {
                findings.add("S3", || format!("{value} was acknowledged in {k:?}, which is not there"));
                continue;
            };
            match partition.at(off) {
                Some(found) if found == value => {}
                Some(found) => {
                    findings.add("S1", || format!("{value} was acknowledged at {k:?} {off}, where {found} stands"))
                }
                None => {
                    if off >= partition.floor && setup.loss_allowed {
                        totals.lost += 1;
                    } else if off >= partition.floor {
                        findings.add("S3", || format!("{value}, acknowledged at {k:?} {off}, is lost"));
                    }
                    if let Some(other) = gone.insert((k, off), value).filter(|other| *other != value) {
                        findings.add("S1", || format!("{value} and {other} were both acknowledged at {k:?} {off}"));
                    }
                }
            }
        }
    }
    gone
}

/// Everything that any client read.
pub fn read(records: &[Record], sent: &Sent, log: &Log, mut gone: Gone, totals: &mut Totals, findings: &mut Findings) {
    let setup = records.iter().find_map(|record| if let Record::Setup(setup) = record { Some(setup) } else { None });
    let mut look = Look { setup, sent, log, gone: &mut gone, totals, findings };
    for record in records {
        match record {
            Record::Deliver(deliver) => look.batch(deliver.k, deliver.off, &deliver.runs, &deliver.bad, "a member"),
            Record::Read(read) => look.batch(read.k, read.off, &read.runs, &read.bad, "a reader"),
            Record::Range(range) => {
                for (off, runs) in &range.batches {
                    look.batch(range.k, *off, runs, &[], "a range read");
                }
                look.bad(range.k, &range.bad, "a range read");
            }
            Record::Foreign(foreign) if is_leak(&foreign.code) => {
                look.findings.add("S16", || {
                    format!("`{}` on another organization's object gave {}", foreign.call, foreign.code)
                });
            }
            _ => {}
        }
    }
}

/// Only "there is no such thing" and "nobody answered" keep another organization's secret.
fn is_leak(code: &str) -> bool {
    !matches!(code, "NotFound" | "Unavailable" | "DeadlineExceeded" | "Cancelled" | "Unknown")
}

struct Look<'a> {
    setup: Option<&'a Setup>,
    sent: &'a Sent,
    log: &'a Log,
    gone: &'a mut Gone,
    totals: &'a mut Totals,
    findings: &'a mut Findings,
}

impl Look<'_> {
    fn bad(&mut self, k: Key, bad: &[Bad], who: &str) {
        for Bad(off, what) in bad {
            self.findings.add("S4", || format!("{who} got damage at {k:?} {off}: {what}"));
        }
    }

    fn batch(&mut self, k: Key, off: i64, runs: &[Run], bad: &[Bad], who: &str) {
        self.bad(k, bad, who);
        let values = runs.iter().flat_map(|run| run.values()).map(|(producer, number)| Packed::new(producer, number));
        let partition = self.log.partitions.get(&k);
        for (off, value) in (off..).zip(values).filter(|(_, value)| value.is_readable()) {
            match partition.and_then(|partition| partition.at(off)) {
                Some(found) if found == value => {}
                Some(found) => {
                    self.findings.add("S1", || format!("{who} got {value} at {k:?} {off}, where {found} stands"));
                    self.foreign(k, off, value, who);
                }
                None => self.missing(k, off, value, partition.map_or(0, |partition| partition.floor), who),
            }
        }
    }

    /// An event that was read and is not in the log.
    fn missing(&mut self, k: Key, off: i64, value: Packed, floor: i64, who: &str) {
        stored(k, off, value, self.sent, self.findings);
        self.foreign(k, off, value, who);
        if off >= floor && self.setup.is_some_and(|setup| setup.loss_allowed) {
            self.totals.vanished += 1;
        } else if off >= floor {
            self.findings.add("S5b", || format!("{who} got {value} at {k:?} {off}, which has vanished"));
        }
        if let Some(other) = self.gone.insert((k, off), value).filter(|other| *other != value) {
            self.findings.add("S1", || format!("{value} and {other} were both seen at {k:?} {off}"));
        }
    }

    fn foreign(&mut self, k: Key, off: i64, value: Packed, who: &str) {
        let Some(setup) = self.setup else { return };
        let organization = |stream: u16| setup.streams.get(usize::from(stream)).map(|stream| stream.organization);
        let Some(sender) = self.sent.senders.get(&value.producer()) else { return };
        if organization(sender.stream) != organization(k.0) {
            self.findings.add("S16", || format!("{who} of {k:?} got {value} of another organization at {off}"));
        }
    }
}

/// S6: sweeps publishes by their beginning, with the highest offset acknowledged by then.
pub fn real_time(records: &[Record], findings: &mut Findings) {
    let mut by_partition: HashMap<Key, Vec<(u64, u64, i64, i64)>> = HashMap::new();
    for record in records {
        let Record::Publish(publish) = record else { continue };
        if publish.outcome != Outcome::Ok || publish.repeat || publish.at.is_empty() {
            continue;
        }
        let low = publish.at.iter().map(|(off, _)| *off).min().unwrap_or_default();
        let high = publish.at.iter().map(|(off, count)| off + i64::from(*count) - 1).max().unwrap_or_default();
        by_partition.entry(publish.k).or_default().push((publish.t0, publish.t1, low, high));
    }
    for (k, mut publishes) in by_partition {
        let mut ended: Vec<(u64, i64)> = publishes.iter().map(|(_, t1, _, high)| (*t1, *high)).collect();
        ended.sort_unstable();
        publishes.sort_unstable();
        let (mut at, mut highest) = (0, i64::MIN);
        for (t0, _, low, _) in publishes {
            while at < ended.len() && ended[at].0 < t0 {
                highest = highest.max(ended[at].1);
                at += 1;
            }
            if low <= highest {
                findings
                    .add("S6", || format!("a publish to {k:?} began when {highest} was acknowledged, and got {low}"));
            }
        }
    }
}

/// S8a of followers and of range reads, and S20.
pub fn readers(records: &[Record], log: &Log, findings: &mut Findings) {
    let mut expected: HashMap<(u32, Key), i64> = HashMap::new();
    let mut acked: HashMap<Key, Vec<(u64, i64)>> = HashMap::new();
    for record in records {
        match record {
            Record::Read(read) => {
                let known = expected.insert((read.reader, read.k), read.next);
                if let Some(known) = known.filter(|known| *known != read.off) {
                    hole(log, read.k, known, read.off, "a reader", findings);
                }
            }
            Record::Publish(publish) if publish.outcome == Outcome::Ok => {
                let end = publish.at.iter().map(|(off, count)| off + i64::from(*count)).max();
                acked.entry(publish.k).or_default().extend(end.map(|end| (publish.t1, end)));
            }
            _ => {}
        }
    }
    for ends in acked.values_mut() {
        ends.sort_unstable();
        let mut highest = i64::MIN;
        ends.iter_mut().for_each(|(_, end)| {
            highest = highest.max(*end);
            *end = highest;
        });
    }
    for record in records {
        if let Record::Range(range) = record {
            self::range(range, log, acked.get(&range.k).map_or(&[], Vec::as_slice), findings);
        }
    }
}

fn range(range: &Range, log: &Log, acked: &[(u64, i64)], findings: &mut Findings) {
    let mut next = range.from;
    for (off, runs) in &range.batches {
        if *off != next {
            hole(log, range.k, next, *off, "a range read", findings);
        }
        next = off + crate::history::events(runs) as i64;
    }
    if let Some(damaged) = range.damaged {
        if range.outcome == Outcome::Ok || next > damaged {
            findings.add("S8a", || format!("a read of {:?} passed over the damage at {damaged}", range.k));
        }
        return;
    }
    let before = acked.partition_point(|(t1, _)| *t1 < range.t0);
    let promised = before.checked_sub(1).map_or(i64::MIN, |index| acked[index].1);
    if range.outcome == Outcome::Ok && range.next < promised {
        findings.add("S20", || {
            format!(
                "a read of {:?} ended at {}, though everything below {promised} was acknowledged before",
                range.k, range.next
            )
        });
    }
}

fn hole(log: &Log, k: Key, expected: i64, got: i64, who: &str, findings: &mut Findings) {
    if log.partitions.get(&k).is_some_and(|partition| partition.may_jump(expected, got)) {
        return;
    }
    findings.add("S8a", || format!("{who} of {k:?} was at {expected} and got {got}"));
}
