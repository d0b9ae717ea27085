//! The partitions of a producer, as its sender sees them: what may be sent, and what answers mean for the receipts.
//!
//! No async and no I/O: the [sender](super::sender) moves requests and answers.

use std::collections::{BTreeMap, BTreeSet};

use tokio::time::Instant;
use uuid::Uuid;

use super::{
    Shared,
    intake::out_of_range,
    parcel::Parcel,
    reroute::reroute,
    sequencer::{Answer, Effect, Request, Sequencer},
};
use crate::error::{Applied, Error, ErrorKind, reason};

/// See the [module](self).
pub(super) struct Lanes {
    producer: Uuid,
    sequencers: BTreeMap<u32, Sequencer>,
    /// Partitions that may have something to send.
    work: BTreeSet<u32>,
    /// Keys go elsewhere: everything comes to rest, then goes on by the new routing.
    rerouting: bool,
    /// The first time at which something that was told to wait may be sent again.
    resume_at: Option<Instant>,
    in_flight_max: usize,
}

impl Lanes {
    pub(super) fn new(in_flight_max: usize) -> Self {
        Self {
            producer: Uuid::new_v4(),
            sequencers: BTreeMap::new(),
            work: BTreeSet::new(),
            rerouting: false,
            resume_at: None,
            in_flight_max,
        }
    }

    /// Notes what has gathered since the last time.
    pub(super) fn look(&mut self, shared: &Shared) {
        self.work.extend(shared.intake().take_ready());
    }

    /// The next request to send, of whichever partition has one.
    pub(super) fn next(&mut self, shared: &Shared, now: Instant) -> Option<(u32, Request)> {
        while let Some(&partition) = self.work.first() {
            let sequencer = self.sequencers.entry(partition).or_insert_with(|| Sequencer::new(self.producer));
            if self.rerouting {
                sequencer.hold();
            }
            if sequencer.takes(self.in_flight_max, now)
                && let Some(parcel) = shared.intake().take(partition, sequencer.in_flight() > 0)
            {
                sequencer.push(parcel);
            }
            if let Some(request) = sequencer.next(self.in_flight_max, now) {
                return Some((partition, request));
            }
            self.work.remove(&partition);
        }
        None
    }

    pub(super) fn answered(&mut self, shared: &Shared, partition: u32, ticket: u64, answer: Answer) {
        self.rerouting |= matches!(answer, Answer::StaleRouting);
        let Some(sequencer) = self.sequencers.get_mut(&partition) else {
            return;
        };
        let effects = sequencer.answered(ticket, answer);
        self.resume_at = self.resume_at.into_iter().chain(sequencer.not_before()).min();
        self.work.insert(partition);
        settle(shared, effects);
    }

    /// When [`Lanes::tick`] is due at the latest, because something may be sent again.
    pub(super) fn resume_at(&self) -> Option<Instant> {
        self.resume_at
    }

    /// The `PublishStream` has ended.
    pub(super) fn disconnected(&mut self, shared: &Shared) {
        for (partition, sequencer) in &mut self.sequencers {
            settle(shared, sequencer.disconnected());
            self.work.insert(*partition);
        }
    }

    /// Fails what is overdue, and looks again at what waits for its time.
    pub(super) fn tick(&mut self, shared: &Shared, now: Instant) {
        let waiting = self.sequencers.values().filter_map(Sequencer::not_before);
        self.resume_at = waiting.filter(|time| *time > now).min();
        for (partition, sequencer) in &mut self.sequencers {
            if !sequencer.is_empty() {
                settle(shared, sequencer.expire(now));
                self.work.insert(*partition);
            }
        }
        let overdue = shared.intake().take_overdue(now);
        if !overdue.is_empty() {
            let message = "the event could not be sent within its delivery timeout";
            let error = Error::new(ErrorKind::DeadlineExceeded, reason::TIMED_OUT, message).with_applied(Applied::No);
            settle(shared, overdue.into_iter().map(|parcel| Effect::Failed(parcel, error.clone())).collect());
        }
    }

    pub(super) fn wants_fresh_stream(&self) -> bool {
        self.sequencers.values().any(Sequencer::wants_fresh_stream)
    }

    /// True when all that is needed to go on is the new routing.
    pub(super) fn wants_routing(&self) -> bool {
        self.rerouting && self.sequencers.values().all(Sequencer::is_at_rest)
    }

    /// Goes on by a new routing.
    pub(super) fn reroute(&mut self, shared: &Shared, routing: super::intake::Routing) {
        let mut parcels: Vec<(u32, Parcel)> = Vec::new();
        for (partition, sequencer) in &mut self.sequencers {
            parcels.extend(sequencer.withdraw().into_iter().map(|parcel| (*partition, parcel)));
        }
        let mut intake = shared.intake();
        parcels.extend(intake.take_all());
        // What was sent stands before what had gathered, partition by partition.
        parcels.sort_by_key(|(partition, _)| *partition);
        // A stream that was made anew may have fewer partitions than were named.
        let gone = |(partition, parcel): &(u32, Parcel)| parcel.named && *partition >= routing.partitions;
        let (gone, parcels): (Vec<_>, Vec<_>) = parcels.into_iter().partition(gone);
        intake.resume(routing, reroute(parcels, routing.partitions, shared.sizes));
        self.rerouting = false;
        self.work.extend(intake.take_ready());
        drop(intake);
        let failed = |(partition, parcel)| Effect::Failed(parcel, out_of_range(partition, routing.partitions));
        settle(shared, gone.into_iter().map(failed).collect());
    }

    /// Fails everything.
    pub(super) fn abandon(&mut self, shared: &Shared, error: &Error) {
        for sequencer in self.sequencers.values_mut() {
            settle(shared, sequencer.abandon(error));
        }
        let gathered = shared.intake().take_all();
        let error = error.clone().with_applied(Applied::No);
        settle(shared, gathered.into_iter().map(|(_, parcel)| Effect::Failed(parcel, error.clone())).collect());
    }
}

/// Tells the receipts, gives memory back, and wakes who waits for a flush.
fn settle(shared: &Shared, effects: Vec<Effect>) {
    for effect in effects {
        let (parcel, failure, gone) = match effect {
            Effect::Appended(parcel, placement) => {
                parcel.settle_appended(placement);
                (parcel, None, true)
            }
            Effect::Failed(parcel, error) => {
                parcel.settle_failed(&error);
                (parcel, Some(error), true)
            }
            Effect::GaveUp(parcel, error) => {
                parcel.settle_failed(&error);
                (parcel, Some(error), false)
            }
        };
        if gone {
            shared.give_back(&parcel);
        }
        let mut intake = shared.intake();
        if !parcel.gave_up {
            intake.settled(&parcel);
            if let Some(failure) = failure {
                intake.failure.get_or_insert(failure);
            }
        }
        drop(intake);
        shared.settled.notify_waiters();
    }
}
