//! Batches of records, as they come from the broker.

use std::{sync::Arc, time::SystemTime};

use eventflow_proto::{EventBatch, v1};

use crate::{
    convert::{event_from_wire, time_from_wire},
    position::Record,
};

/// Consecutive records of one partition; iterate over it. Taking a record out copies nothing.
#[derive(Clone, Debug)]
pub struct Batch {
    stream: Arc<str>,
    partition: u32,
    log_epoch: u64,
    base_offset: i64,
    next_offset: i64,
    append_time: SystemTime,
    deltas: Vec<u32>,
    /// Publishers, each with the index behind its last event.
    publishers: std::collections::VecDeque<(Arc<str>, usize)>,
    events: std::vec::IntoIter<v1::Event>,
    /// Index of the first event that is left.
    index: usize,
}

impl Batch {
    pub(crate) fn from_wire(stream: &Arc<str>, batch: EventBatch) -> Self {
        Self {
            stream: Arc::clone(stream),
            partition: batch.partition,
            log_epoch: batch.log_epoch,
            base_offset: batch.base_offset,
            next_offset: batch.next_offset,
            append_time: time_from_wire(&batch.append_time.unwrap_or_default()),
            deltas: batch.offset_deltas,
            publishers: publishers(batch.publishers),
            events: batch.events.into_iter(),
            index: 0,
        }
    }

    /// Name of the stream.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Partition, 0-based.
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// True for a batch without records; none is given out.
    pub fn is_empty(&self) -> bool {
        self.events.len() == 0
    }

    /// Where to go on behind this batch: what a commit of the whole batch commits.
    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    /// When Postgres appended the events (database time).
    pub fn append_time(&self) -> SystemTime {
        self.append_time
    }

    fn offset(&self, index: usize) -> i64 {
        match self.deltas.get(index) {
            Some(delta) => self.base_offset + i64::from(*delta),
            None => self.base_offset + index as i64,
        }
    }

    /// Where to go on behind the next record, if there is one.
    pub(crate) fn next_record_end(&self) -> Option<i64> {
        match self.len() {
            0 => None,
            1 => Some(self.next_offset),
            _ => Some(self.offset(self.index) + 1),
        }
    }

    /// Only the first so many of the records that are left.
    pub(crate) fn first(mut self, records: u64) -> Self {
        let records = usize::try_from(records).unwrap_or(usize::MAX);
        if records > 0 && records < self.len() {
            self.next_offset = self.offset(self.index + records - 1) + 1;
            let first: Vec<v1::Event> = self.events.by_ref().take(records).collect();
            self.events = first.into_iter();
        }
        self
    }

    /// Takes all records that are left.
    pub(crate) fn take_rest(&mut self) -> Self {
        Self {
            stream: Arc::clone(&self.stream),
            deltas: std::mem::take(&mut self.deltas),
            publishers: std::mem::take(&mut self.publishers),
            events: std::mem::take(&mut self.events),
            ..*self
        }
    }

    /// Takes the next record out.
    pub(crate) fn next_record(&mut self) -> Option<Record> {
        let next_offset = self.next_record_end()?;
        let event = self.events.next()?;
        let offset = self.offset(self.index);
        let publisher = self.publisher();
        self.index += 1;
        Some(Record {
            stream: Arc::clone(&self.stream),
            partition: self.partition,
            offset,
            next_offset,
            log_epoch: self.log_epoch,
            append_time: self.append_time,
            publisher,
            event: event_from_wire(event),
        })
    }

    /// Who published the next record.
    fn publisher(&mut self) -> Option<Arc<str>> {
        while self.publishers.front().is_some_and(|(_, end)| *end <= self.index) {
            self.publishers.pop_front();
        }
        self.publishers.front().map(|(publisher, _)| Arc::clone(publisher))
    }

    /// Leaves out what lies below an offset.
    pub(crate) fn skip_below(&mut self, offset: i64) {
        while !self.is_empty() && self.offset(self.index) < offset {
            self.events.next();
            self.index += 1;
        }
    }
}

fn publishers(runs: Vec<v1::PublisherRun>) -> std::collections::VecDeque<(Arc<str>, usize)> {
    let ends = runs.into_iter().scan(0, |end, run| {
        *end += run.event_count as usize;
        Some((run.publisher.into(), *end))
    });
    ends.collect()
}

impl IntoIterator for Batch {
    type Item = Record;
    type IntoIter = Records;

    fn into_iter(self) -> Records {
        Records(self)
    }
}

/// The records of a [`Batch`], one by one.
#[derive(Clone, Debug)]
pub struct Records(Batch);

impl Iterator for Records {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        self.0.next_record()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.events.size_hint()
    }
}

impl ExactSizeIterator for Records {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_carry_their_offsets_and_the_last_one_moves_past_what_was_left_out() {
        let wire = EventBatch {
            base_offset: 100,
            next_offset: 120,
            events: vec![v1::Event::default(); 3],
            offset_deltas: vec![0, 4, 9],
            publishers: [("key:a", 2), ("key:b", 1)]
                .map(|(publisher, event_count)| v1::PublisherRun { publisher: publisher.into(), event_count })
                .to_vec(),
            ..EventBatch::default()
        };
        let mut batch = Batch::from_wire(&"orders".into(), wire);
        batch.skip_below(101);
        let records: Vec<Record> = batch.into_iter().collect();
        let offsets: Vec<_> = records.iter().map(|record| (record.offset(), record.next_offset())).collect();
        assert_eq!(offsets, [(104, 105), (109, 120)]);
        let publishers: Vec<_> = records.iter().map(Record::publisher).collect();
        assert_eq!(publishers, [Some("key:a"), Some("key:b")]);
    }
}
