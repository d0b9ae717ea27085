//! The order of one partition: what is sent when, under which numbers, and what happens after a failure.
//!
//! Pure: no async, no I/O. The sender asks [`Sequencer::next`] what to send, tells every answer to [`Sequencer::answered`],
//! and a lost connection to [`Sequencer::disconnected`].
//!
//! # Rules
//!
//! * Parcels leave in the order in which they came, each under the next numbers of its producer id and epoch.
//! * After any answer but success the partition stops: nothing new is sent until every answer that is still due has come, or
//!   the connection is lost. Then it goes on from the first parcel that has no place in the log.
//! * A parcel whose outcome is unknown is *in doubt*. It keeps its bytes, its numbers and its place until the broker says
//!   what became of it, even when its receipts have given up.
//! * A refused parcel leaves, and its numbers go to what follows. What follows was not applied, because numbers are dense.
//!   If any of it had been in doubt, a copy may still be on its way through a broker that was given up, and under the
//!   new numbering it could be mistaken for another parcel. Then the epoch is raised, which fences every such copy; but only
//!   once nothing before it is in doubt.
//! * A new epoch and a new id begin on a new `PublishStream`: the old one waits for the refused number, which never comes.
//! * When the broker has forgotten the producer, parcels that were never in doubt go on under a new id; the others fail.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::parcel::{Parcel, Placement};
use crate::error::{Applied, Error, ErrorKind, reason};

/// Who publishes, as the broker's deduplication knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) producer: Uuid,
    pub(super) epoch: u32,
}

/// What a broker said about one request, as far as order is concerned.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// All events are in the log.
    Appended(Placement),
    /// Nobody knows. The same again, not before the given time.
    Unknown(Instant),
    /// Nothing was applied. The same again, not before the given time.
    Later(Instant),
    /// Nothing was applied, because of something before it.
    Preceded,
    /// Nothing was applied, because something before it is missing.
    OutOfSequence,
    /// Nothing was applied, because of some events: these, each with what is wrong with it, when the broker said so.
    EventsRefused { error: Error, bad: BTreeMap<usize, Error> },
    /// Nothing was applied, because of the whole request.
    Refused(Error),
    /// Nothing was applied: keys go elsewhere now.
    StaleRouting,
    /// Nothing was applied: the broker does not know the producer, or what it knew is too long ago.
    IdentityLost(Error),
}

/// A request to be sent.
#[derive(Debug, Clone)]
pub(super) struct Request {
    pub(super) ticket: u64,
    pub(super) identity: Identity,
    pub(super) first_sequence: i64,
    pub(super) body: Bytes,
}

/// What the sender must do after a step.
#[derive(Debug)]
pub(super) enum Effect {
    /// The parcel is in the log.
    Appended(Parcel, Placement),
    /// The parcel will not be sent again.
    Failed(Parcel, Error),
    /// The receipts of a parcel in doubt give up; the parcel itself stays, to keep order.
    GaveUp(Parcel, Error),
}

#[derive(Debug)]
struct Entry {
    parcel: Parcel,
    /// Number of its first event. `None`: not given yet, or taken back.
    sequence: Option<i64>,
    /// Set while an answer is due on the present connection.
    ticket: Option<u64>,
    in_doubt: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Sequencer {
    identity: Identity,
    next_sequence: i64,
    next_ticket: u64,
    queue: VecDeque<Entry>,
    in_flight: usize,
    /// Something went wrong; nothing is sent until all answers are in.
    stopped: bool,
    /// Lowest number that was refused: what stands at or above it is numbered anew.
    hole: Option<i64>,
    /// The epoch must rise before the next unnumbered parcel is sent.
    raise_epoch: bool,
    /// What comes next belongs on a new `PublishStream`.
    wants_fresh_stream: bool,
    /// The broker has forgotten the producer.
    forgotten: Option<Error>,
    /// Only parcels that have numbers are sent: routing is changing.
    held: bool,
    not_before: Option<Instant>,
}

impl Sequencer {
    pub(super) fn new(producer: Uuid) -> Self {
        Self {
            identity: Identity { producer, epoch: 0 },
            next_sequence: 0,
            next_ticket: 0,
            queue: VecDeque::new(),
            in_flight: 0,
            stopped: false,
            hole: None,
            raise_epoch: false,
            wants_fresh_stream: false,
            forgotten: None,
            held: false,
            not_before: None,
        }
    }

    /// True while nothing is on its way or waits to be resent.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Requests whose answers are due.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Until when nothing is sent.
    pub(super) fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// True when a new parcel would be sent at once, given how many may be in flight.
    pub(super) fn takes(&self, limit: usize, now: Instant) -> bool {
        !self.stopped
            && !self.held
            && !self.wants_fresh_stream
            && (!self.raise_epoch || self.queue.is_empty())
            && self.in_flight < limit
            && self.in_flight == self.queue.len()
            && self.not_before.is_none_or(|time| time <= now)
    }

    /// Adds a parcel behind all others.
    pub(super) fn push(&mut self, parcel: Parcel) {
        self.queue.push_back(Entry::new(parcel));
    }

    /// The next request to send, if one may be sent now.
    pub(super) fn next(&mut self, limit: usize, now: Instant) -> Option<Request> {
        let delayed = self.not_before.is_some_and(|time| time > now);
        // What is in flight stands in front, so the next one stands behind it.
        let idle = self.in_flight >= limit || self.in_flight == self.queue.len();
        if self.stopped || delayed || idle || self.wants_fresh_stream {
            return None;
        }
        if self.queue[self.in_flight].sequence.is_none() {
            if self.raise_epoch {
                self.wants_fresh_stream = self.in_flight == 0;
                return None;
            }
            if self.held {
                return None;
            }
        }
        self.not_before = None;
        let entry = &mut self.queue[self.in_flight];
        let first_sequence = *entry.sequence.get_or_insert(self.next_sequence);
        self.next_sequence = self.next_sequence.max(first_sequence + entry.parcel.len() as i64);
        let ticket = self.next_ticket;
        entry.ticket = Some(ticket);
        self.next_ticket += 1;
        self.in_flight += 1;
        Some(Request { ticket, identity: self.identity, first_sequence, body: entry.parcel.body.clone() })
    }

    /// Takes the answer to a request of the present connection.
    pub(super) fn answered(&mut self, ticket: u64, answer: Answer) -> Vec<Effect> {
        let Some(index) = self.queue.iter().position(|entry| entry.ticket == Some(ticket)) else {
            return Vec::new();
        };
        self.queue[index].ticket = None;
        self.in_flight -= 1;
        let mut effects = Vec::new();
        match answer {
            Answer::Appended(placement) => effects.extend(self.appended(index, placement)),
            Answer::Unknown(again) => {
                self.queue[index].in_doubt = true;
                self.stop_until(again);
            }
            Answer::Later(again) => self.stop_until(again),
            Answer::Preceded => {
                // Nothing precedes it here: the broker waits for a number that went to something else.
                self.wants_fresh_stream |= index == 0 && !self.stopped;
                self.stopped = true;
            }
            // Something before it may be missing, perhaps the producer's very first request: that comes first.
            Answer::OutOfSequence | Answer::IdentityLost(_) if index > 0 || self.stopped => {
                self.stopped = true;
            }
            // With nothing missing here, it is the broker that has lost events: its database was restored.
            Answer::OutOfSequence => {
                self.queue[index].in_doubt = false;
                self.forget(forgotten());
            }
            Answer::EventsRefused { error, bad } => effects.extend(self.events_refused(index, bad, error)),
            Answer::Refused(error) => effects.push(self.refuse(index, error)),
            Answer::StaleRouting => self.open_hole(index),
            Answer::IdentityLost(error) => self.forget(error),
        }
        effects.extend(self.recover());
        effects
    }

    /// True when what comes next must be sent on a new `PublishStream`: end the present one, then say so.
    pub(super) fn wants_fresh_stream(&self) -> bool {
        self.wants_fresh_stream
    }

    /// Takes the end of the `PublishStream`: whatever was in flight is in doubt.
    pub(super) fn disconnected(&mut self) -> Vec<Effect> {
        for entry in &mut self.queue {
            entry.in_doubt |= entry.ticket.take().is_some();
        }
        self.in_flight = 0;
        let effects = self.recover();
        self.wants_fresh_stream = false;
        let unnumbered = self.queue.iter().all(|entry| entry.sequence.is_none());
        if unnumbered && std::mem::take(&mut self.raise_epoch) {
            self.identity.epoch += 1;
            self.next_sequence = 0;
        }
        effects
    }

    /// Gives up the receipts whose time is over.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut index = 0;
        while index < self.queue.len() {
            let entry = &mut self.queue[index];
            if entry.parcel.gave_up || entry.parcel.deadline > now {
                index += 1;
            } else if entry.in_doubt || entry.ticket.is_some() {
                effects.push(Effect::GaveUp(entry.parcel.clone(), overdue(Applied::Unknown)));
                entry.parcel.gave_up = true;
                index += 1;
            } else {
                let stopped = self.stopped;
                effects.push(self.refuse(index, overdue(Applied::No)));
                self.stopped = stopped;
            }
        }
        if self.in_flight == 0 || !self.stopped {
            self.close_hole();
        }
        effects
    }

    /// Sends nothing unnumbered from now on, so that the partition comes to rest.
    pub(super) fn hold(&mut self) {
        self.held = true;
    }

    /// True when nothing is in flight or in doubt: everything may be sent elsewhere.
    pub(super) fn is_at_rest(&self) -> bool {
        self.in_flight == 0 && !self.stopped && self.queue.iter().all(|entry| entry.sequence.is_none())
    }

    /// Gives back what was never applied, in order, and ends the hold. Only at rest.
    pub(super) fn withdraw(&mut self) -> Vec<Parcel> {
        debug_assert!(self.is_at_rest(), "only what was never applied may go elsewhere");
        self.held = false;
        self.queue.drain(..).map(|entry| entry.parcel).collect()
    }

    /// Gives up everything: the producer is fenced, or closed at once.
    pub(super) fn abandon(&mut self, error: &Error) -> Vec<Effect> {
        self.in_flight = 0;
        self.queue
            .drain(..)
            .map(|entry| {
                let doubt = entry.in_doubt || entry.ticket.is_some();
                let applied = if doubt { Applied::Unknown } else { Applied::No };
                Effect::Failed(entry.parcel, error.clone().with_applied(applied))
            })
            .collect()
    }

    fn appended(&mut self, index: usize, placement: Placement) -> Option<Effect> {
        let parcel = self.queue.remove(index)?.parcel;
        if placement.events() == parcel.len() as u64 {
            return Some(Effect::Appended(parcel, placement));
        }
        let message = format!("{} events were sent, and {} acknowledged", parcel.len(), placement.events());
        Some(Effect::Failed(parcel, Error::protocol(message).with_applied(Applied::Unknown)))
    }

    fn stop_until(&mut self, again: Instant) {
        self.stopped = true;
        self.not_before = self.not_before.max(Some(again));
    }

    fn forget(&mut self, error: Error) {
        self.stopped = true;
        self.forgotten = Some(error);
    }

    /// The numbers from this entry's on will be given anew.
    fn open_hole(&mut self, index: usize) {
        self.stopped = true;
        self.raise_epoch |= std::mem::take(&mut self.queue[index].in_doubt);
        if let Some(sequence) = self.queue[index].sequence {
            self.hole = Some(self.hole.map_or(sequence, |hole| hole.min(sequence)));
        }
    }

    fn refuse(&mut self, index: usize, error: Error) -> Effect {
        self.open_hole(index);
        let entry = self.queue.remove(index);
        let parcel = entry.map(|entry| entry.parcel).unwrap_or_else(|| unreachable!("the index was found"));
        Effect::Failed(parcel, error)
    }

    /// Takes the bad events out. When the broker did not say which they are, halves the parcel until one stands alone.
    fn events_refused(&mut self, index: usize, mut bad: BTreeMap<usize, Error>, error: Error) -> Vec<Effect> {
        let events = self.queue[index].parcel.len();
        if events == 1 {
            return vec![self.refuse(index, error)];
        }
        self.open_hole(index);
        let Some(Entry { parcel, .. }) = self.queue.remove(index) else { return Vec::new() };
        bad.retain(|bad, _| *bad < events);
        let (mut keep, mut refused) = (Vec::new(), Vec::new());
        if bad.is_empty() {
            let (head, tail) = parcel.split(events / 2);
            keep.extend([head, tail]);
        } else {
            let mut rest = Some((0, parcel));
            for (place, error) in bad {
                let Some((start, parcel)) = rest.take() else { break };
                let (before, from) = parcel.cut(place - start);
                let (bad, behind) = from.map_or((None, None), |from| from.cut(1));
                keep.extend(before);
                refused.extend(bad.map(|parcel| Effect::Failed(parcel, error)));
                rest = behind.map(|behind| (place + 1, behind));
            }
            keep.extend(rest.map(|(_, parcel)| parcel));
            // One request again: many small ones would take as many round trips.
            keep = keep.into_iter().reduce(Parcel::join).into_iter().collect();
        }
        for parcel in keep.into_iter().rev() {
            self.queue.insert(index, Entry::new(parcel));
        }
        refused
    }

    /// Goes on after a stop, once every answer is in.
    fn recover(&mut self) -> Vec<Effect> {
        if !self.stopped || self.in_flight > 0 {
            return Vec::new();
        }
        self.stopped = false;
        match self.forgotten.take() {
            Some(error) => self.begin_anew(&error),
            None => {
                self.close_hole();
                Vec::new()
            }
        }
    }

    fn close_hole(&mut self) {
        let Some(hole) = self.hole.take() else { return };
        for entry in self.queue.iter_mut().filter(|entry| entry.sequence.is_some_and(|first| first >= hole)) {
            entry.sequence = None;
            self.raise_epoch |= std::mem::take(&mut entry.in_doubt);
        }
        self.next_sequence = hole;
    }

    fn begin_anew(&mut self, error: &Error) -> Vec<Effect> {
        let (in_doubt, safe): (VecDeque<Entry>, VecDeque<Entry>) =
            std::mem::take(&mut self.queue).into_iter().partition(|entry| entry.in_doubt);
        self.queue = safe;
        for entry in &mut self.queue {
            entry.sequence = None;
        }
        self.identity = Identity { producer: Uuid::new_v4(), epoch: 0 };
        self.next_sequence = 0;
        self.hole = None;
        self.raise_epoch = false;
        self.wants_fresh_stream = true;
        let error = error.clone().with_applied(Applied::Unknown);
        in_doubt.into_iter().map(|entry| Effect::Failed(entry.parcel, error.clone())).collect()
    }
}

impl Entry {
    fn new(parcel: Parcel) -> Self {
        Self { parcel, sequence: None, ticket: None, in_doubt: false }
    }
}

fn forgotten() -> Error {
    let message = "the broker has lost events of this producer; was the database restored?";
    Error::new(ErrorKind::FailedPrecondition, "OUT_OF_SEQUENCE", message)
}

fn overdue(applied: Applied) -> Error {
    let message = match applied {
        Applied::No => "the event could not be sent within its delivery timeout",
        _ => "no broker said within the delivery timeout what became of the event",
    };
    Error::new(ErrorKind::DeadlineExceeded, reason::TIMED_OUT, message).with_applied(applied)
}
