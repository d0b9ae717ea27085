//! The log as the database holds it at the end, and what must be true of it alone: S2, S4, S5a, S7, S17, S18, S21.

use std::collections::{HashMap, HashSet};

use super::findings::Findings;
use super::sent::{Packed, Sent};
use crate::history::{Bounds, Key, Outcome, ProducerKind, Record, Row};

const EPOCH_BITS: u32 = 40;

/// Consecutive offsets, and where their values start.
#[derive(Debug, Clone, Copy)]
struct Span {
    off: i64,
    count: usize,
    start: usize,
}

/// A partition from its floor on.
#[derive(Debug, Default)]
pub struct Partition {
    spans: Vec<Span>,
    values: Vec<Packed>,
    pub floor: i64,
    pub head: i64,
}

impl Partition {
    /// The value at an offset.
    pub fn at(&self, off: i64) -> Option<Packed> {
        self.index_of(off).map(|index| self.values[index])
    }

    /// How many events stand before an offset: the dense index of the first one at or behind it.
    pub fn dense(&self, off: i64) -> usize {
        let at = self.spans.partition_point(|span| span.off <= off);
        match at.checked_sub(1).map(|index| self.spans[index]) {
            Some(span) => span.start + ((off - span.off) as usize).min(span.count),
            None => 0,
        }
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Offsets by dense index.
    pub fn offset_of(&self, dense: usize) -> i64 {
        let at = self.spans.partition_point(|span| span.start <= dense);
        at.checked_sub(1).map_or(self.floor, |index| self.spans[index].off + (dense - self.spans[index].start) as i64)
    }

    /// True when offsets may jump from one to the other: nothing stands between them, and a log epoch begins.
    pub fn may_jump(&self, from: i64, to: i64) -> bool {
        to >> EPOCH_BITS > from >> EPOCH_BITS && self.dense(from) == self.dense(to)
    }

    /// (offset, value) of everything.
    pub fn iter(&self) -> impl Iterator<Item = (i64, Packed)> {
        self.spans.iter().flat_map(|span| {
            let values = &self.values[span.start..span.start + span.count];
            (span.off..).zip(values.iter().copied())
        })
    }

    fn index_of(&self, off: i64) -> Option<usize> {
        let at = self.spans.partition_point(|span| span.off <= off).checked_sub(1)?;
        let span = self.spans[at];
        let within = usize::try_from(off - span.off).ok()?;
        (within < span.count).then_some(span.start + within)
    }
}

/// All partitions, and where each event stands.
#[derive(Debug, Default)]
pub struct Log {
    pub partitions: HashMap<Key, Partition>,
    places: HashMap<u32, Vec<Option<(u16, i64)>>>,
}

impl Log {
    pub fn gather(records: &[Record], sent: &Sent, findings: &mut Findings) -> Log {
        let mut log = Log::default();
        for record in records {
            if let Record::Bounds(Bounds { k, floor, head }) = record {
                let partition = log.partitions.entry(*k).or_default();
                (partition.floor, partition.head) = (*floor, *head);
            }
        }
        log.floors(records, findings);
        let mut ends: HashMap<Key, End> = HashMap::new();
        for record in records {
            if let Record::Row(row) = record {
                structure(row, &log, &mut ends, findings);
                log.take(row, sent, findings);
            }
        }
        for (k, partition) in &log.partitions {
            let end = ends.get(k).map_or(partition.floor, |end| end.next);
            let is_new_epoch =
                partition.head >> EPOCH_BITS > end >> EPOCH_BITS && partition.head & ((1 << EPOCH_BITS) - 1) == 0;
            if end != partition.head && !is_new_epoch {
                findings.add("S17", || format!("{k:?} ends at {end}, and its head is {}", partition.head));
            }
        }
        log
    }

    /// Where an event stands.
    pub fn place(&self, value: Packed) -> Option<(u16, i64)> {
        *self.places.get(&value.producer())?.get(value.number() as usize)?
    }

    /// S3: a floor stands at most where somebody asked for it. Streams of a run have no other retention.
    fn floors(&self, records: &[Record], findings: &mut Findings) {
        let mut asked: HashMap<Key, i64> = HashMap::new();
        for record in records {
            if let Record::Purge(purge) = record {
                let before = asked.entry(purge.k).or_default();
                *before = (*before).max(purge.before);
            }
        }
        for (k, partition) in &self.partitions {
            let asked = asked.get(k).copied().unwrap_or_default();
            if partition.floor > asked {
                findings.add("S3", || {
                    format!("the floor of {k:?} is {}, and nobody asked for more than {asked}", partition.floor)
                });
            }
        }
    }

    fn take(&mut self, row: &Row, sent: &Sent, findings: &mut Findings) {
        for bad in &row.bad {
            findings.add("S4", || format!("the log holds damage at {:?} {}: {}", row.k, bad.0, bad.1));
        }
        let partition = self.partitions.entry(row.k).or_default();
        let mut span = Span { off: row.off.max(partition.floor), count: 0, start: partition.values.len() };
        let values = row.runs.iter().flat_map(|run| run.values());
        for (off, (producer, number)) in (row.off..).zip(values) {
            let value = Packed::new(producer, number);
            if off >= partition.floor {
                partition.values.push(value);
                span.count += 1;
            }
            if value.is_readable() {
                stored(row.k, off, value, sent, findings);
                let places = self.places.entry(producer).or_default();
                if places.len() <= number as usize {
                    places.resize(number as usize + 1, None);
                }
                if let Some((other, first)) = places[number as usize].replace((row.k.1, off)) {
                    findings.add("S2", || {
                        format!("{value} stands at {first} of partition {other} and at {off} of {:?}", row.k)
                    });
                }
            }
        }
        if span.count > 0 {
            partition.spans.push(span);
        }
    }
}

/// S4, S5a and S16 of one stored or read event.
pub fn stored(k: Key, off: i64, value: Packed, sent: &Sent, findings: &mut Findings) {
    match sent.event(value) {
        None => findings.add("S4", || format!("{value} at {k:?} {off} was never sent")),
        Some((sender, event)) => {
            if sender.stream != k.0 {
                findings.add("S4", || format!("{value} at {k:?} {off} was sent to stream {}", sender.stream));
            } else if event.partition != k.1 {
                findings.add("S4", || format!("{value} at {k:?} {off} was sent to partition {}", event.partition));
            }
            if event.outcome == Outcome::Fail {
                findings.add("S5a", || format!("{value} was refused, and stands at {k:?} {off}"));
            }
        }
    }
}

struct End {
    next: i64,
    events: i64,
    appended: i64,
}

/// S17 and S18: each row begins where the one before it ended.
fn structure(row: &Row, log: &Log, ends: &mut HashMap<Key, End>, findings: &mut Findings) {
    let floor = log.partitions.get(&row.k).map_or(0, |partition| partition.floor);
    let held = crate::history::events(&row.runs);
    if held != u64::from(row.count) {
        findings
            .add("S17", || format!("the row at {:?} {} counts {} events and holds {held}", row.k, row.off, row.count));
    }
    match ends.get(&row.k) {
        None if row.off > floor && row.off != (row.off >> EPOCH_BITS) << EPOCH_BITS => {
            findings.add("S17", || format!("the log of {:?} begins at {}, above its floor {floor}", row.k, row.off));
        }
        None => {}
        Some(end) => {
            let is_new_epoch = row.off >> EPOCH_BITS > end.next >> EPOCH_BITS && row.off & ((1 << EPOCH_BITS) - 1) == 0;
            if row.off != end.next && !is_new_epoch {
                findings.add("S17", || {
                    format!("a row of {:?} begins at {}, the one before ends at {}", row.k, row.off, end.next)
                });
            }
            if row.before != end.events {
                findings.add("S17", || {
                    format!(
                        "the row at {:?} {} says {} events came before, not {}",
                        row.k, row.off, row.before, end.events
                    )
                });
            }
            if row.appended < end.appended {
                findings.add("S18", || format!("the row at {:?} {} is older than the one before it", row.k, row.off));
            }
        }
    }
    let end = End { next: row.off + held as i64, events: row.before + held as i64, appended: row.appended };
    ends.insert(row.k, end);
}

/// S7: a producer's events stand in the order of its sends.
pub fn order(log: &Log, sent: &Sent, findings: &mut Findings) {
    for (k, partition) in &log.partitions {
        let mut newest: HashMap<u32, (u64, i64)> = HashMap::new();
        for (off, value) in partition.iter().filter(|(_, value)| value.is_readable()) {
            let promised = sent
                .senders
                .get(&value.producer())
                .is_some_and(|sender| matches!(sender.kind, ProducerKind::Sdk | ProducerKind::Sequenced));
            if !promised {
                continue;
            }
            let before = newest.insert(value.producer(), (value.number(), off));
            // An equal number is a duplicate, which S2 reports.
            if let Some((number, first)) = before.filter(|(number, _)| *number > value.number()) {
                findings.add("S7", || format!("{value} at {k:?} {off} stands behind number {number} at {first}"));
            }
        }
    }
}

/// S21: a request is in the log whole, at consecutive offsets, or not at all.
pub fn whole(records: &[Record], log: &Log, sent: &Sent, findings: &mut Findings) {
    let mut seen = HashSet::new();
    for record in records {
        let Record::Publish(publish) = record else { continue };
        let is_request = sent.senders.get(&publish.run.0).is_some_and(|sender| sender.kind != ProducerKind::Sdk);
        if !is_request || publish.run.2 < 2 || !seen.insert((publish.run.0, publish.run.1)) {
            continue;
        }
        let floor = log.partitions.get(&publish.k).map_or(0, |partition| partition.floor);
        let values = publish.run.values().map(|(producer, number)| Packed::new(producer, number));
        let places: Vec<Option<i64>> = values.map(|value| log.place(value).map(|(_, off)| off)).collect();
        // What retention has cut away cannot be judged.
        if places.iter().flatten().any(|off| floor > 0 && *off <= floor)
            || publish.at.iter().any(|(off, _)| *off < floor)
        {
            continue;
        }
        let there = places.iter().flatten().count();
        if there != 0 && there != places.len() {
            findings.add("S21", || {
                format!(
                    "{there} of the {} events from {} on of producer {} are in the log",
                    places.len(),
                    publish.run.1,
                    publish.run.0
                )
            });
        }
    }
}
