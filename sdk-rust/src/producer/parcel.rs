//! Parcels: encoded events of one partition that travel together, and who waits for them.
//!
//! Events are encoded once, when they are sent, as the `events` field of a `PublishRequest`. A parcel that must be resent is
//! the same bytes; one that must be split is cut between events.

use std::{sync::Arc, time::SystemTime};

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::receipt::Outcome;
use crate::{error::Error, position::Appended};

/// Consecutive events of one partition.
#[derive(Debug, Clone)]
pub(super) struct Parcel {
    /// Complete `events` fields, one behind the other.
    pub(super) body: Bytes,
    /// End of each event within `body`.
    pub(super) ends: Vec<u32>,
    /// Whose receipts are settled, in the order of the events.
    pub(super) spans: Vec<Span>,
    /// When the receipts give up.
    pub(super) deadline: Instant,
    /// The receipts have given up; the events keep their place all the same.
    pub(super) gave_up: bool,
    /// Their senders named the partition, so that another routing does not move them.
    pub(super) named: bool,
}

/// Consecutive events of one gathered batch.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) outcome: Arc<Outcome>,
    pub(super) first: u32,
    pub(super) count: u32,
}

/// Where the events of a parcel stand.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Placement {
    pub(super) partition: u32,
    pub(super) log_epoch: u64,
    pub(super) append_time: SystemTime,
    pub(super) duplicate: bool,
    /// Places of events that had been appended before, when not all had.
    pub(super) known: Vec<u32>,
    /// Runs of consecutive offsets: first offset, number of events. At least one.
    pub(super) runs: Vec<(i64, u32)>,
}

impl Placement {
    pub(super) fn events(&self) -> u64 {
        self.runs.iter().map(|(_, count)| u64::from(*count)).sum()
    }

    pub(super) fn at(&self, index: u32) -> Appended {
        let mut rest = index;
        let mut offset = 0;
        for (base, count) in &self.runs {
            offset = base + i64::from(rest);
            if rest < *count {
                break;
            }
            rest -= count;
        }
        Appended {
            partition: self.partition,
            offset,
            log_epoch: self.log_epoch,
            append_time: self.append_time,
            duplicate: self.duplicate || self.known.binary_search(&index).is_ok(),
        }
    }
}

impl Parcel {
    /// Number of events.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Encoded event at an index, with its field's tag and length.
    pub(super) fn event(&self, index: usize) -> Bytes {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        self.body.slice(start..self.ends[index] as usize)
    }

    /// Cuts the parcel in front of an event. Both parts hold events.
    pub(super) fn split(mut self, at: usize) -> (Self, Self) {
        debug_assert!(0 < at && at < self.len(), "both parts of a parcel hold events");
        let cut = self.ends[at - 1];
        let tail = Self {
            body: self.body.split_off(cut as usize),
            ends: self.ends.split_off(at).into_iter().map(|end| end - cut).collect(),
            spans: split_spans(&mut self.spans, at as u32),
            deadline: self.deadline,
            gave_up: self.gave_up,
            named: self.named,
        };
        (self, tail)
    }

    /// Cuts the parcel in front of an event; a part without events is none.
    pub(super) fn cut(self, at: usize) -> (Option<Self>, Option<Self>) {
        if at == 0 {
            (None, Some(self))
        } else if at >= self.len() {
            (Some(self), None)
        } else {
            let (head, tail) = self.split(at);
            (Some(head), Some(tail))
        }
    }

    /// Puts the events of another parcel behind. They give up when the first of them does.
    pub(super) fn join(mut self, behind: Self) -> Self {
        let end = self.body.len() as u32;
        let mut body = BytesMut::with_capacity(self.body.len() + behind.body.len());
        body.extend_from_slice(&self.body);
        body.extend_from_slice(&behind.body);
        self.body = body.freeze();
        self.ends.extend(behind.ends.into_iter().map(|ends| end + ends));
        self.spans.extend(behind.spans);
        self.deadline = self.deadline.min(behind.deadline);
        self
    }

    pub(super) fn settle_appended(&self, placement: Placement) {
        let placement = Arc::new(placement);
        let mut skip = 0;
        for span in &self.spans {
            span.outcome.appended(span.first, span.count, &placement, skip);
            skip += span.count;
        }
    }

    pub(super) fn settle_failed(&self, error: &Error) {
        for span in &self.spans {
            span.outcome.failed(span.first, span.count, error);
        }
    }
}

fn split_spans(spans: &mut Vec<Span>, at: u32) -> Vec<Span> {
    let mut before = 0;
    let mut index = 0;
    while before + spans[index].count <= at {
        before += spans[index].count;
        index += 1;
        if index == spans.len() {
            return Vec::new();
        }
    }
    let mut tail = spans.split_off(index);
    let inside = at - before;
    if inside > 0 {
        let span = &mut tail[0];
        spans.push(Span { outcome: Arc::clone(&span.outcome), first: span.first, count: inside });
        span.first += inside;
        span.count -= inside;
    }
    tail
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// A parcel whose events are single bytes.
    pub(in crate::producer) fn parcel_of(events: &[u8], serial: u64) -> Parcel {
        Parcel {
            body: Bytes::copy_from_slice(events),
            ends: (1..=events.len() as u32).collect(),
            spans: vec![Span { outcome: Outcome::new(serial), first: 0, count: events.len() as u32 }],
            deadline: Instant::now() + Duration::from_secs(120),
            gave_up: false,
            named: false,
        }
    }

    #[test]
    fn a_split_parcel_settles_the_receipts_of_both_parts() {
        let whole = parcel_of(b"abcde", 1);
        let outcome = Arc::clone(&whole.spans[0].outcome);
        let (head, tail) = whole.split(2);
        assert_eq!((&head.body[..], &tail.body[..]), (&b"ab"[..], &b"cde"[..]));
        assert_eq!(&tail.event(1)[..], b"d");
        let (left, right) = tail.split(1);
        assert_eq!(
            (&left.clone().join(right.clone()).body[..], left.clone().join(right.clone()).ends),
            (&b"cde"[..], vec![1, 2, 3])
        );
        right.settle_failed(&Error::closed("producer"));
        let placement = |base| Placement {
            partition: 3,
            log_epoch: 1,
            append_time: UNIX_EPOCH,
            duplicate: false,
            known: vec![5],
            runs: vec![(base, 1), (base + 10, 5)],
        };
        head.settle_appended(placement(100));
        left.settle_appended(placement(200));
        let receipt = |index| super::super::receipt::Receipt::new(Arc::clone(&outcome), index).outcome();
        let offsets: Vec<_> = (0..3).map(|index| receipt(index).expect("known").expect("appended").offset).collect();
        assert_eq!(offsets, [100, 110, 200]);
        assert!(receipt(3).expect("known").is_err() && receipt(4).expect("known").is_err());
    }
}
