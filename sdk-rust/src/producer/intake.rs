//! Where events gather until the sender takes them: encoded, by partition.
//!
//! One short lock for each event. There is no linger: the sender takes what has gathered as soon as a partition may send, so
//! batches grow exactly as long as answers take.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use eventflow_proto::{partition_of_key, v1};
use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint},
};
use tokio::time::Instant;

use super::{
    parcel::{Parcel, Span},
    receipt::{Outcome, Receipt},
};
use crate::error::{Applied, Error, ErrorKind, Result, reason};

/// Field of the events in `PublishRequest`.
const EVENTS_TAG: u32 = 2;
/// What has gathered is worth sending, although answers are due, from this many events or bytes on.
const WORTH_EVENTS: usize = 256;
const WORTH_BYTES: usize = 64 * 1024;

/// How a stream is partitioned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Routing {
    pub(super) partitions: u32,
    pub(super) version: u64,
    pub(super) max_event_bytes: usize,
    pub(super) track_keys: bool,
}

/// How parcels are cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) batch_events: usize,
    pub(super) batch_bytes: usize,
    pub(super) delivery_timeout: Duration,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Intake {
    pub(super) routing: Routing,
    sizes: Sizes,
    partitions: Vec<Gathering>,
    /// Where events without a key go until their parcel leaves.
    sticky: u32,
    next_serial: u64,
    /// Partitions that the sender should look at.
    ready: Vec<u32>,
    /// Events of closed parcels whose fate is open, by the serial of their outcome.
    outstanding: BTreeMap<u64, u32>,
    /// Why no more events are taken.
    pub(super) ended: Option<Error>,
    /// The first failure since the last flush.
    pub(super) failure: Option<Error>,
}

#[derive(Debug, Default)]
struct Gathering {
    full: VecDeque<Parcel>,
    open: Option<Open>,
    /// What the sender has been told: nothing, that there is something, that it is worth sending.
    told: Told,
    /// Size of the last parcel, to allocate the next at once.
    last_bytes: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Told {
    #[default]
    Nothing,
    Something,
    Worth,
}

#[derive(Debug)]
struct Open {
    body: BytesMut,
    ends: Vec<u32>,
    outcome: Arc<Outcome>,
    deadline: Instant,
    named: bool,
}

impl Intake {
    /// `first_partition` takes the first events without a key.
    pub(super) fn new(routing: Routing, sizes: Sizes, first_partition: u32) -> Self {
        let mut intake = Self {
            routing,
            sizes,
            partitions: Vec::new(),
            sticky: first_partition,
            next_serial: 0,
            ready: Vec::new(),
            outstanding: BTreeMap::new(),
            ended: None,
            failure: None,
        };
        intake.partitions.resize_with(routing.partitions as usize, Gathering::default);
        intake
    }

    /// Takes an event of `len` encoded bytes, for the partition that its sender named, or that its key chooses. Says whether the
    /// sender should be woken.
    pub(super) fn push(&mut self, event: &v1::Event, len: usize, named: Option<u32>) -> Result<(Receipt, bool)> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        let partition = match (named, event.key.as_ref().or(event.idempotency_key.as_ref())) {
            (Some(named), _) if named >= self.routing.partitions => {
                return Err(out_of_range(named, self.routing.partitions));
            }
            (Some(named), _) => named,
            (None, Some(key)) => partition_of_key(key.as_bytes(), self.routing.partitions),
            (None, None) => self.sticky,
        };
        let gathering = &mut self.partitions[partition as usize];
        let too_full = gathering.open.as_ref().is_some_and(|open| {
            open.ends.len() >= self.sizes.batch_events
                || open.body.len() + len > self.sizes.batch_bytes
                || open.named != named.is_some()
        });
        if too_full {
            self.close(partition);
        }
        let gathering = &mut self.partitions[partition as usize];
        let open = gathering.open.get_or_insert_with(|| {
            let serial = self.next_serial;
            self.next_serial += 1;
            Open {
                body: BytesMut::with_capacity(gathering.last_bytes.max(len + 8)),
                ends: Vec::new(),
                outcome: Outcome::new(serial),
                deadline: Instant::now() + self.sizes.delivery_timeout,
                named: named.is_some(),
            }
        });
        encode_key(EVENTS_TAG, WireType::LengthDelimited, &mut open.body);
        encode_varint(len as u64, &mut open.body);
        event.encode_raw(&mut open.body);
        let receipt = Receipt::new(Arc::clone(&open.outcome), open.ends.len() as u32);
        open.ends.push(open.body.len() as u32);
        Ok((receipt, self.tell(partition)))
    }

    /// Puts a partition on the sender's list when there is news for it.
    fn tell(&mut self, partition: u32) -> bool {
        let gathering = &mut self.partitions[partition as usize];
        let news = match gathering.told {
            Told::Worth => return false,
            Told::Something if !gathering.is_worth() => return false,
            Told::Nothing if !gathering.is_worth() => Told::Something,
            _ => Told::Worth,
        };
        gathering.told = news;
        self.ready.push(partition);
        true
    }

    fn close(&mut self, partition: u32) {
        let gathering = &mut self.partitions[partition as usize];
        if let Some(open) = gathering.open.take() {
            gathering.last_bytes = open.body.len();
            let count = open.ends.len() as u32;
            self.outstanding.insert(open.outcome.serial, count);
            gathering.full.push_back(Parcel {
                body: open.body.freeze(),
                ends: open.ends,
                spans: vec![Span { outcome: open.outcome, first: 0, count }],
                deadline: open.deadline,
                gave_up: false,
                named: open.named,
            });
            if partition == self.sticky {
                self.sticky = (self.sticky + 1) % self.routing.partitions.max(1);
            }
        }
    }

    /// Partitions with news since the last call.
    pub(super) fn take_ready(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.ready)
    }

    /// Takes what has gathered for a partition: everything up to a batch, or nothing unless it is worth a request of its own.
    pub(super) fn take(&mut self, partition: u32, only_if_worth: bool) -> Option<Parcel> {
        let gathering = self.partitions.get_mut(partition as usize)?;
        if only_if_worth && !gathering.is_worth() {
            return None;
        }
        if gathering.full.is_empty() {
            self.close(partition);
        }
        let gathering = &mut self.partitions[partition as usize];
        let parcel = gathering.full.pop_front()?;
        gathering.told = match (gathering.is_empty(), gathering.is_worth()) {
            (true, _) => Told::Nothing,
            (_, true) => Told::Worth,
            (_, false) => Told::Something,
        };
        Some(parcel)
    }

    /// The first deadline among what has gathered and cannot be sent, so that it can fail in time.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Vec<Parcel> {
        let mut overdue = Vec::new();
        for partition in 0..self.partitions.len() as u32 {
            let late = |gathering: &Gathering| match (gathering.full.front(), &gathering.open) {
                (Some(parcel), _) => parcel.deadline <= now,
                (None, Some(open)) => open.deadline <= now,
                (None, None) => false,
            };
            while late(&self.partitions[partition as usize]) {
                overdue.extend(self.take(partition, false));
            }
        }
        overdue
    }

    /// Takes everything, in the order of partitions.
    pub(super) fn take_all(&mut self) -> Vec<(u32, Parcel)> {
        let mut all = Vec::new();
        for partition in 0..self.partitions.len() as u32 {
            while let Some(parcel) = self.take(partition, false) {
                all.push((partition, parcel));
            }
        }
        self.ready.clear();
        all
    }

    /// Changes the routing, and takes parcels that were routed anew. Only after [`Intake::take_all`].
    pub(super) fn resume(&mut self, routing: Routing, parcels: Vec<VecDeque<Parcel>>) {
        self.routing = routing;
        self.sticky %= routing.partitions.max(1);
        self.partitions.clear();
        self.partitions.extend(parcels.into_iter().map(|full| Gathering { full, ..Gathering::default() }));
        for partition in 0..routing.partitions {
            if !self.partitions[partition as usize].is_empty() {
                self.tell(partition);
            }
        }
    }

    /// The fate of a parcel's events is known.
    pub(super) fn settled(&mut self, parcel: &Parcel) {
        for span in &parcel.spans {
            if let Some(open) = self.outstanding.get_mut(&span.outcome.serial) {
                *open = open.saturating_sub(span.count);
                if *open == 0 {
                    self.outstanding.remove(&span.outcome.serial);
                }
            }
        }
    }

    /// Everything that was sent so far has a lower serial.
    pub(super) fn mark(&self) -> u64 {
        self.next_serial
    }

    /// True when the fate of everything below a mark is known.
    pub(super) fn is_settled_below(&self, mark: u64) -> bool {
        let closed = self.outstanding.first_key_value().is_none_or(|(serial, _)| *serial >= mark);
        let open = |gathering: &Gathering| gathering.open.as_ref().is_none_or(|open| open.outcome.serial >= mark);
        closed && self.partitions.iter().all(open)
    }
}

/// The stream has no such partition.
pub(super) fn out_of_range(partition: u32, partitions: u32) -> Error {
    let message = format!("the event names partition {partition}, and the stream has {partitions}, counted from 0");
    Error::new(ErrorKind::OutOfRange, reason::PARTITION_OUT_OF_RANGE, message).with_applied(Applied::No)
}

impl Gathering {
    fn is_empty(&self) -> bool {
        self.full.is_empty() && self.open.is_none()
    }

    fn is_worth(&self) -> bool {
        let worth = |events: usize, bytes: usize| events >= WORTH_EVENTS || bytes >= WORTH_BYTES;
        !self.full.is_empty() || self.open.as_ref().is_some_and(|open| worth(open.ends.len(), open.body.len()))
    }
}
