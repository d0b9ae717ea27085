//! What goes into one flush, and what its verdicts mean. Pure: no async, no I/O, no clock.
//!
//! A flush has at most one run per producer and partition. Submissions of a producer whose sequences follow one another are
//! merged into one run; one that does not follow waits for the next flush. Within a partition the events stand grouped by
//! producer, each producer's in its order; every submission stands whole, in as many rows as it needs. Events that the database
//! has by their idempotency keys keep their sequence and stand in no row. A key stands once in a flush, unless its events are of
//! one run and say the same. A submission that expects where the partition ends is the only one of its partition; of what one
//! expects of keys nothing changes in the flush before it, because the database looks at all that is expected before it appends.

use crate::domain::event::{Encoded, Encoder, Event};
use crate::domain::fingerprint::Fingerprint;
use crate::domain::ids::{OrganizationId, PartitionId};
use crate::domain::limits::{ROW_BYTES_MAX, ROW_EVENTS_MAX};
use crate::domain::publisher::Publishers;
use crate::publish::terms::Terms;
use crate::store::append::{Key, Last, Row, Run, RunPiece};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use uuid::Uuid;

/// Idempotency of a submission, as the client numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    pub id: Uuid,
    pub epoch: i32,
    pub first_sequence: i64,
}

/// The events of one request for one partition.
#[derive(Debug)]
pub struct Work {
    pub organization: OrganizationId,
    pub partition: PartitionId,
    /// None travels under the lane's own producer id.
    pub producer: Option<Producer>,
    /// Whose credential the request came with.
    pub publisher: Arc<str>,
    /// 0 is not checked.
    pub routing_version: i64,
    pub events: Vec<Event>,
    pub encoded: Encoded,
    /// Must not be merged with others: an earlier flush found it half-known.
    pub alone: bool,
    /// On a publish stream without a producer: the client knows of the refusal before it.
    pub after_refusal: bool,
    /// Idempotency keys and conditions.
    pub terms: Option<Box<Terms>>,
}

impl Work {
    pub fn bytes(&self) -> usize {
        self.encoded.bytes.len() + self.terms.as_ref().map_or(0, |terms| terms.expected.bytes())
    }
}

/// The producer under which a lane sends events that have none: dense sequences per partition, so that the lane's own retry
/// after a lost connection never duplicates them.
#[derive(Debug)]
pub struct LaneProducer {
    pub id: Uuid,
    next: HashMap<PartitionId, i64>,
}

impl Default for LaneProducer {
    fn default() -> Self {
        Self { id: Uuid::new_v4(), next: HashMap::new() }
    }
}

impl LaneProducer {
    fn next(&self, partition: PartitionId) -> i64 {
        self.next.get(&partition).copied().unwrap_or(0)
    }

    /// The events were appended: the numbers are used up.
    pub fn advance(&mut self, partition: PartitionId, end: i64) {
        self.next.insert(partition, end);
    }
}

/// One run of a flush and the submissions in it, by index.
#[derive(Debug)]
pub struct PlannedRun {
    pub run: Run,
    pub works: Vec<usize>,
    /// Idempotency keys of its events, in their order.
    pub keys: Vec<PlannedKey>,
    /// Where the partition must end.
    pub expected_next: Option<i64>,
    /// What is expected of event keys.
    pub last: Vec<PlannedLast>,
}

/// What a submission of a run expects of a key: the submission within the flush, and the expectation in its terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedLast {
    pub work: usize,
    pub index: usize,
}

/// An idempotency key in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlannedKey {
    /// Its event in the run, from 0.
    pub place: i32,
    /// The submission within the flush, and the key in its terms.
    pub work: usize,
    pub index: usize,
    pub known: Known,
}

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// It is new, as far as anybody knows.
    No,
    /// The database has it at this offset.
    At(i64),
    /// Its event says what the event at another place of the run says.
    Same(i32),
}

impl PlannedRun {
    /// Events that go into the log.
    pub fn new_events(&self) -> i32 {
        self.run.event_count - self.keys.iter().filter(|key| key.known != Known::No).count() as i32
    }

    /// Where each event stands when the run was appended from `base` on, and whether it had been there before.
    pub fn stands(&self, base: i64) -> Vec<(i64, bool)> {
        let mut keys = self.keys.iter().peekable();
        let mut next = base;
        let mut stands: Vec<(i64, bool)> = Vec::with_capacity(self.run.event_count as usize);
        for place in 0..self.run.event_count {
            let known = keys.next_if(|key| key.place == place).map_or(Known::No, |key| key.known);
            stands.push(match known {
                Known::No => {
                    next += 1;
                    (next - 1, false)
                }
                Known::At(offset) => (offset, true),
                Known::Same(first) => (stands[first as usize].0, true),
            });
        }
        stands
    }
}

/// One row of a flush: pieces of submissions, in order.
#[derive(Debug)]
pub struct PlannedRow {
    pub partition: PartitionId,
    pub encoded: Encoded,
    pub size_bytes: usize,
    pub publishers: Publishers,
    pieces: Vec<Piece>,
}

#[derive(Debug)]
struct Piece {
    /// Index of the planned run, and of the submission within the flush.
    run: usize,
    work: usize,
    events: Range<usize>,
    first_sequence: i64,
}

/// One flush: the runs and rows of a call, partitions in ascending order.
#[derive(Debug, Default)]
pub struct Plan {
    pub runs: Vec<PlannedRun>,
    pub rows: Vec<PlannedRow>,
    /// Submissions that have to wait for the next flush, in order.
    pub deferred: Vec<usize>,
}

/// Plans a flush of `works`, in the order in which they arrived.
pub fn plan(works: &[&Work], lane: &LaneProducer) -> Plan {
    let mut partitions: BTreeMap<PartitionId, Vec<PlannedRun>> = BTreeMap::new();
    let mut blocked: HashSet<(PartitionId, Uuid)> = HashSet::new();
    let mut terms = TermsSeen::of(works);
    let mut deferred = Vec::new();
    for (index, work) in works.iter().enumerate() {
        let producer = work.producer.unwrap_or(Producer { id: lane.id, epoch: 0, first_sequence: i64::MIN });
        let runs = partitions.entry(work.partition).or_default();
        let has_runs = !runs.is_empty();
        let open = runs.iter_mut().find(|planned| planned.run.producer == producer.id);
        if blocked.contains(&(work.partition, producer.id)) {
            deferred.push(index);
        } else if !terms.admit(work, producer.id, open.is_some() || has_runs) {
            blocked.insert((work.partition, producer.id));
            deferred.push(index);
        } else if let Some(planned) = open {
            if merges(planned, work, producer, works) {
                planned.keys.extend(terms.keys(work, index, producer.id, planned.run.event_count));
                planned.last.extend(last(work, index));
                planned.run.event_count += work.events.len() as i32;
                planned.works.push(index);
            } else {
                blocked.insert((work.partition, producer.id));
                deferred.push(index);
            }
        } else {
            let anonymous = work.producer.is_none();
            let first_sequence = if anonymous { lane.next(work.partition) } else { producer.first_sequence };
            let run = Run {
                organization: work.organization,
                partition: work.partition,
                producer: producer.id,
                epoch: producer.epoch,
                first_sequence,
                event_count: work.events.len() as i32,
                routing_version: work.routing_version,
            };
            let keys = terms.keys(work, index, producer.id, 0);
            let expected_next = work.terms.as_ref().and_then(|terms| terms.expected.next_offset);
            let last = last(work, index).collect();
            runs.push(PlannedRun { run, works: vec![index], keys, expected_next, last });
        }
    }
    let runs: Vec<PlannedRun> = partitions.into_values().flatten().collect();
    let rows = rows(&runs, works);
    Plan { runs, rows, deferred }
}

/// What a submission expects of keys.
fn last(work: &Work, number: usize) -> impl Iterator<Item = PlannedLast> {
    let expected = work.terms.as_ref().map_or(0, |terms| terms.expected.keys.len());
    (0..expected).map(move |index| PlannedLast { work: number, index })
}

/// Keys and conditions of a flush so far.
#[derive(Default)]
struct TermsSeen<'a> {
    /// The first event of a key: its producer, its place in the run, and what it says.
    keys: HashMap<(PartitionId, &'a str), (Uuid, i32, Fingerprint)>,
    /// Partitions with a condition.
    closed: HashSet<PartitionId>,
    /// Whether anything in the flush expects something of event keys.
    of_keys: bool,
    /// Event keys of which something is expected, and those that get events.
    expected: HashSet<(PartitionId, &'a str)>,
    written: HashSet<(PartitionId, &'a str)>,
}

impl<'a> TermsSeen<'a> {
    fn of(works: &[&Work]) -> Self {
        let of_keys = |work: &&Work| work.terms.as_ref().is_some_and(|terms| !terms.expected.keys.is_empty());
        Self { of_keys: works.iter().any(of_keys), ..Self::default() }
    }

    /// Whether a submission may go into this flush; its partition may have runs already.
    fn admit(&mut self, work: &'a Work, producer: Uuid, has_runs: bool) -> bool {
        if self.closed.contains(&work.partition) {
            return false;
        }
        if self.of_keys && !self.admit_keys(work) {
            return false;
        }
        let Some(terms) = &work.terms else { return true };
        if terms.expected.next_offset.is_some() {
            if has_runs {
                return false;
            }
            self.closed.insert(work.partition);
        }
        terms.keys.iter().filter(|keyed| keyed.known.is_none()).all(|keyed| {
            let seen = self.keys.get(&(work.partition, keyed.key.as_str()));
            seen.is_none_or(|(by, _, says)| *by == producer && *says == keyed.fingerprint)
        })
    }

    /// Whether nothing before a submission writes a key of which it expects something. Nor may it write one of which something before
    /// it is expected: runs grow, so it might come to stand before that.
    fn admit_keys(&mut self, work: &'a Work) -> bool {
        let expected = work.terms.iter().flat_map(|terms| &terms.expected.keys);
        let expected: Vec<_> = expected.map(|expected| (work.partition, expected.key.as_str())).collect();
        let written = work.events.iter().filter_map(|event| event.key.as_deref());
        let written: Vec<_> = written.map(|key| (work.partition, key)).collect();
        if expected.iter().any(|key| self.written.contains(key))
            || written.iter().any(|key| self.expected.contains(key))
        {
            return false;
        }
        self.expected.extend(expected);
        self.written.extend(written);
        true
    }

    /// The keys of a submission whose first event stands at `first` of its run.
    fn keys(&mut self, work: &'a Work, index: usize, producer: Uuid, first: i32) -> Vec<PlannedKey> {
        let keyed = work.terms.iter().flat_map(|terms| terms.keys.iter().enumerate());
        let planned = keyed.map(|(at, keyed)| {
            let place = first + keyed.place as i32;
            let known = match keyed.known {
                Some(offset) => Known::At(offset),
                None => match self.keys.entry((work.partition, keyed.key.as_str())) {
                    Entry::Occupied(seen) => Known::Same(seen.get().1),
                    Entry::Vacant(new) => {
                        new.insert((producer, place, keyed.fingerprint));
                        Known::No
                    }
                },
            };
            PlannedKey { place, work: index, index: at, known }
        });
        planned.collect()
    }
}

/// Whether a submission goes on where a run ends.
fn merges(planned: &PlannedRun, work: &Work, producer: Producer, works: &[&Work]) -> bool {
    let run = &planned.run;
    let follows = work.producer.is_none()
        || (producer.epoch == run.epoch && producer.first_sequence == run.first_sequence + i64::from(run.event_count));
    let alone = work.alone || planned.works.iter().any(|&index| works[index].alone);
    follows && !alone && work.routing_version == run.routing_version
}

/// Cuts the runs into rows of bounded size. An event that is larger than a row stands in one of its own.
fn rows(runs: &[PlannedRun], works: &[&Work]) -> Vec<PlannedRow> {
    let mut rows = Vec::new();
    let mut open: Option<(PartitionId, Vec<Piece>, usize, usize)> = None;
    for (run_index, planned) in runs.iter().enumerate() {
        let mut sequence = planned.run.first_sequence;
        let mut known = planned.keys.iter().filter(|key| key.known != Known::No).peekable();
        for &work_index in &planned.works {
            let encoded = &works[work_index].encoded;
            for event in 0..works[work_index].events.len() {
                let place = sequence - planned.run.first_sequence;
                if known.next_if(|key| i64::from(key.place) == place).is_some() {
                    sequence += 1;
                    continue;
                }
                let size = (encoded.ends[event] - encoded.start_of(event)) as usize;
                let fits = open.as_ref().is_some_and(|(partition, _, events, bytes)| {
                    *partition == planned.run.partition && *events < ROW_EVENTS_MAX && bytes + size <= ROW_BYTES_MAX
                });
                if !fits && let Some(done) = open.replace((planned.run.partition, Vec::new(), 0, 0)) {
                    rows.push(close_row(done, works));
                }
                let (_, pieces, events, bytes) = open.get_or_insert((planned.run.partition, Vec::new(), 0, 0));
                match pieces.last_mut() {
                    Some(piece) if piece.work == work_index && piece.events.end == event => piece.events.end += 1,
                    _ => pieces.push(Piece {
                        run: run_index,
                        work: work_index,
                        events: event..event + 1,
                        first_sequence: sequence,
                    }),
                }
                *events += 1;
                *bytes += size;
                sequence += 1;
            }
        }
    }
    rows.extend(open.map(|done| close_row(done, works)));
    rows
}

fn close_row(
    (partition, pieces, events, bytes): (PartitionId, Vec<Piece>, usize, usize),
    works: &[&Work],
) -> PlannedRow {
    let encoded = match pieces.as_slice() {
        // One submission, whole: its encoding is the row's.
        [piece] if piece.events == (0..works[piece.work].events.len()) => works[piece.work].encoded.clone(),
        pieces => {
            let mut encoder = Encoder::with_capacity(events, bytes);
            pieces.iter().for_each(|piece| encoder.extend(&works[piece.work].encoded, piece.events.clone()));
            encoder.finish()
        }
    };
    let mut publishers = Publishers::default();
    pieces.iter().for_each(|piece| publishers.push(&works[piece.work].publisher, piece.events.len() as u32));
    PlannedRow { partition, encoded, size_bytes: bytes, publishers, pieces }
}

impl Plan {
    /// Whether anything in it has keys or conditions.
    pub fn has_terms(&self) -> bool {
        let has = |planned: &PlannedRun| {
            !planned.keys.is_empty() || planned.expected_next.is_some() || !planned.last.is_empty()
        };
        self.runs.iter().any(has)
    }

    /// The keys as the append wants them.
    pub fn to_keys<'a>(&self, works: &[&'a Work]) -> Vec<Key<'a>> {
        let runs = (1..).zip(&self.runs);
        let keys = runs.flat_map(|(run, planned)| planned.keys.iter().map(move |key| (run, key)));
        let keyed = keys.filter_map(|(run, key)| {
            let keyed = works[key.work].terms.as_ref()?.keys.get(key.index)?;
            let known = match key.known {
                Known::No => None,
                Known::At(offset) => Some(offset),
                Known::Same(place) => Some(-1 - i64::from(place)),
            };
            Some(Key { run, place: key.place, key: &keyed.key, fingerprint: &keyed.fingerprint, known })
        });
        keyed.collect()
    }

    /// What is expected of keys, as the append wants it.
    pub fn to_last<'a>(&self, works: &[&'a Work]) -> Vec<Last<'a>> {
        let runs = (1..).zip(&self.runs);
        let last = runs.flat_map(|(run, planned)| planned.last.iter().map(move |last| (run, last)));
        let last = last.filter_map(|(run, last)| {
            let expected = works[last.work].terms.as_ref()?.expected.keys.get(last.index)?;
            Some(Last { run, key: &expected.key, last_offset: expected.last_offset })
        });
        last.collect()
    }
}

impl PlannedRow {
    /// The row as the append wants it.
    pub fn to_row<'a>(&'a self, plan: &Plan, works: &[&'a Work]) -> Row<'a> {
        let mut events = Vec::with_capacity(self.encoded.ends.len());
        let mut pieces: Vec<RunPiece> = Vec::new();
        for piece in &self.pieces {
            events.extend(works[piece.work].events[piece.events.clone()].iter());
            let run = &plan.runs[piece.run].run;
            let count = piece.events.len() as i32;
            match pieces.last_mut() {
                Some(last) if last.producer == run.producer && last.end() == piece.first_sequence => {
                    last.event_count += count;
                }
                _ => pieces.push(RunPiece {
                    producer: run.producer,
                    epoch: run.epoch,
                    first_sequence: piece.first_sequence,
                    event_count: count,
                }),
            }
        }
        Row {
            partition: self.partition,
            size_bytes: self.size_bytes,
            crc: self.publishers.crc(self.encoded.crc()),
            events,
            publishers: &self.publishers,
            pieces,
        }
    }
}

/// Cuts what a duplicate run's events stand at into the part of one submission: `skip` events of the run come before it.
pub fn cut_ranges(ranges: &[(i64, i32)], skip: i64, count: i64) -> Vec<(i64, i32)> {
    let mut position = 0i64;
    let mut cut = Vec::new();
    for &(base, length) in ranges {
        let (start, end) = (skip.max(position), (skip + count).min(position + i64::from(length)));
        if start < end {
            cut.push((base + start - position, (end - start) as i32));
        }
        position += i64::from(length);
    }
    cut
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
