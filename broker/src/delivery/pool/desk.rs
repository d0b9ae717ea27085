//! Who has what: the members of a pool, and the events that each was dealt and has not settled. Pure; times are milliseconds.

use crate::delivery::control::{EventOutcome, event_not_in_flight, member_fenced};
use crate::delivery::frame::Stamp;
use crate::delivery::pool::pace::Pace;
use crate::delivery::pool::{Flying, Known};
use crate::domain::position::Fence;
use crate::domain::ranges::Ranges;
use crate::domain::retry::Tries;
use crate::domain::{Error, Reason};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// A member's place at the desk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeatId(pub u64);

/// Where dealt events come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A claim, by its first offset.
    Claim {
        from: i64,
    },
    Retry {
        tries: Tries,
    },
}

/// Events that were dealt together.
#[derive(Clone, Debug)]
pub struct Flight {
    pub origin: Origin,
    pub fence: Fence,
    /// What is not settled of it.
    pub open: Ranges,
    pub bytes: u64,
    /// When they left the broker.
    pub stamp: Stamp,
    pub dealt_ms: u64,
    /// Set by an extension.
    pub deadline_ms: Option<u64>,
}

/// Events that left the desk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub partition: u32,
    pub offsets: Ranges,
    pub origin: Origin,
    pub fence: Fence,
    pub held_ms: u64,
}

/// Partition, first offset, and whether it is a retry: the first event of a batch may be tried again while the rest is still open.
type FlightKey = (u32, i64, bool);

struct Seat {
    member: Arc<str>,
    window: (u64, u64),
    pace: Pace,
    events: u64,
    bytes: u64,
    flights: BTreeMap<FlightKey, Flight>,
    /// The most offsets between the first and the last event that were dealt together.
    span: i64,
    /// What this member let pass, by partition: the latest part of it, for better words.
    expired: BTreeMap<u32, Ranges>,
}

/// Events that are dealt together, at most.
pub const TURN: u64 = 256;
/// Ranges of one partition whose expiry is remembered.
const EXPIRED_MAX: usize = 1_000;

/// The desk.
pub struct Desk {
    timeout_ms: u64,
    seats: BTreeMap<SeatId, Seat>,
}

impl Desk {
    pub fn new(timeout_ms: u64) -> Self {
        Self { timeout_ms, seats: BTreeMap::new() }
    }

    pub fn sit(&mut self, seat: SeatId, member: Arc<str>, window: (u64, u64)) {
        let pace = Pace::new(window.0, self.timeout_ms);
        let flights = BTreeMap::new();
        let expired = BTreeMap::new();
        self.seats.insert(seat, Seat { member, window, pace, events: 0, bytes: 0, flights, span: 0, expired });
    }

    pub fn is_empty(&self) -> bool {
        self.seats.is_empty()
    }

    pub fn member(&self, seat: SeatId) -> Option<Arc<str>> {
        self.seats.get(&seat).map(|seat| seat.member.clone())
    }

    /// The seat that an event which is tried alone waits for.
    pub fn first_seat(&self) -> Option<SeatId> {
        self.seats.keys().next().copied()
    }

    /// Seats, beginning behind one of them.
    pub fn seats_from(&self, turn: SeatId) -> Vec<SeatId> {
        self.seats.range(turn..).chain(self.seats.range(..turn)).map(|(seat, _)| *seat).collect()
    }

    /// What a member may be dealt now, in events and bytes. One that holds nothing may get one event of any size.
    pub fn room(&self, seat: SeatId) -> (u64, u64) {
        let Some(seat) = self.seats.get(&seat) else { return (0, 0) };
        let alone = |flight: &Flight| matches!(flight.origin, Origin::Retry { tries } if tries.alone);
        if seat.flights.values().any(alone) {
            return (0, 0);
        }
        let events = seat.window.0.min(seat.pace.limit()).saturating_sub(seat.events);
        let bytes = if seat.events == 0 { u64::MAX } else { seat.window.1.saturating_sub(seat.bytes) };
        if bytes == 0 { (0, 0) } else { (events, bytes) }
    }

    pub fn holds_nothing(&self, seat: SeatId) -> bool {
        self.seats.get(&seat).is_some_and(|seat| seat.events == 0)
    }

    pub fn total_room(&self) -> u64 {
        self.seats.keys().map(|seat| self.room(*seat).0).sum()
    }

    pub fn deal(&mut self, seat: SeatId, partition: u32, flight: Flight) {
        let Some(seat) = self.seats.get_mut(&seat) else { return };
        let Some(first) = flight.open.first() else { return };
        seat.events += flight.open.len();
        seat.bytes += flight.bytes;
        let end = flight.open.last().map_or(first.end, |last| last.end);
        seat.span = seat.span.max(end - first.start);
        // It is in flight again: what was said of it before is over.
        if let Some(expired) = seat.expired.get_mut(&partition) {
            flight.open.iter().for_each(|range| drop(expired.take(range)));
        }
        let is_retry = matches!(flight.origin, Origin::Retry { .. });
        seat.flights.insert((partition, first.start, is_retry), flight);
    }

    /// Takes what an outcome speaks of; what the member does not have is refused.
    pub fn settle(&mut self, seat: SeatId, outcome: &EventOutcome, now: u64) -> (Vec<Taken>, Vec<(Range<i64>, Error)>) {
        let (mut taken, mut refused) = (Vec::new(), Vec::new());
        let partition = outcome.partition;
        let Some(seat) = self.seats.get_mut(&seat) else { return (taken, refused) };
        let mut left = Ranges::of(outcome.offsets.clone());
        for key in seat.keys(partition, &outcome.offsets) {
            let Some(flight) = seat.flights.get_mut(&key) else { continue };
            if flight.fence != outcome.fence {
                continue;
            }
            let offsets = flight.open.take(outcome.offsets.clone());
            offsets.iter().for_each(|range| drop(left.take(range)));
            if let Some(one) = seat.took(key, offsets, now) {
                taken.push(one);
            }
        }
        for range in left.iter() {
            refused.push((range.clone(), seat.refusal(partition, range.start, outcome.fence)));
        }
        (taken, refused)
    }

    /// Gives an event more time.
    pub fn extend(&mut self, seat: SeatId, outcome: &EventOutcome, deadline: u64) -> Vec<(Range<i64>, Error)> {
        let Some(seat) = self.seats.get_mut(&seat) else { return Vec::new() };
        let partition = outcome.partition;
        let mut left = Ranges::of(outcome.offsets.clone());
        for key in seat.keys(partition, &outcome.offsets) {
            if let Some(flight) = seat.flights.get_mut(&key).filter(|flight| flight.fence == outcome.fence) {
                // What was dealt together expires together.
                flight.deadline_ms = Some(deadline.max(flight.deadline_ms.unwrap_or_default()));
                flight.open.iter().for_each(|range| drop(left.take(range)));
            }
        }
        left.iter().map(|range| (range.clone(), seat.refusal(partition, range.start, outcome.fence))).collect()
    }

    /// Takes what has passed its deadline.
    pub fn expire(&mut self, now: u64) -> Vec<(Arc<str>, Taken)> {
        let mut gone = Vec::new();
        for seat in self.seats.values_mut() {
            let over = |flight: &Flight| {
                let flushed = flight.stamp.at().map(|flushed| flushed + self.timeout_ms);
                flushed.is_some_and(|deadline| deadline.max(flight.deadline_ms.unwrap_or_default()) <= now)
            };
            let keys: Vec<FlightKey> =
                seat.flights.iter().filter(|(_, flight)| over(flight)).map(|(key, _)| *key).collect();
            for key in keys {
                let offsets = seat.flights.get_mut(&key).map(|flight| std::mem::take(&mut flight.open));
                let Some(offsets) = offsets else { continue };
                let remembered = seat.expired.entry(key.0).or_default();
                if remembered.iter().count() > EXPIRED_MAX {
                    *remembered = Ranges::default();
                }
                remembered.add_all(&offsets);
                let member = seat.member.clone();
                gone.extend(seat.took(key, offsets, now).map(|taken| (member, taken)));
            }
        }
        gone
    }

    /// The member goes: what had left the broker, and what had not.
    pub fn leave(&mut self, seat: SeatId, now: u64) -> (Vec<Taken>, Vec<Taken>) {
        let Some(seat) = self.seats.remove(&seat) else { return (Vec::new(), Vec::new()) };
        let flights = seat.flights.into_iter().map(|((partition, ..), flight)| (partition, flight));
        let (flushed, queued): (Vec<_>, Vec<_>) = flights.partition(|(_, flight)| flight.stamp.at().is_some());
        let taken = |(partition, flight): (u32, Flight)| Taken {
            partition,
            origin: flight.origin,
            fence: flight.fence,
            held_ms: now.saturating_sub(flight.stamp.at().unwrap_or(flight.dealt_ms)),
            offsets: flight.open,
        };
        (flushed.into_iter().map(taken).collect(), queued.into_iter().map(taken).collect())
    }

    /// Drops events that this broker does not hold any more.
    pub fn void(&mut self, is_void: impl Fn(u32, i64, &Flight) -> bool) {
        for seat in self.seats.values_mut() {
            let keys: Vec<FlightKey> = seat
                .flights
                .iter()
                .filter(|((at, first, _), flight)| is_void(*at, *first, flight))
                .map(|(key, _)| *key)
                .collect();
            for key in keys {
                if let Some(flight) = seat.flights.remove(&key) {
                    seat.events -= flight.open.len();
                    seat.bytes -= flight.bytes;
                }
            }
        }
    }

    /// Who has an event, and whether anybody has room.
    pub fn known(&self, partition: u32, offset: i64) -> Known {
        let has = |flight: &Flight| flight.open.contains(offset);
        let flight = self.seats.values().find_map(|seat| {
            let flights = seat.flights.iter().filter(|((at, ..), _)| *at == partition);
            let flight = flights.map(|(_, flight)| flight).find(|flight| has(flight))?;
            let since_ms = flight.stamp.at();
            let until_ms = since_ms.map(|at| (at + self.timeout_ms).max(flight.deadline_ms.unwrap_or_default()));
            Some(Flying { member: seat.member.clone(), since_ms, until_ms })
        });
        Known { flight, members: self.seats.len() as u64, room: self.total_room(), behind: None, full: None }
    }

    /// Whether anybody has something of a partition.
    pub fn has(&self, partition: u32) -> bool {
        self.seats.values().any(|seat| seat.flights.keys().any(|(at, ..)| *at == partition))
    }

    /// Whether anybody has something.
    pub fn has_flights(&self) -> bool {
        self.seats.values().any(|seat| !seat.flights.is_empty())
    }
}

impl Seat {
    /// Flights of a partition that a range may touch.
    fn keys(&self, partition: u32, offsets: &Range<i64>) -> Vec<FlightKey> {
        let from = offsets.start.saturating_sub(self.span);
        self.flights.range((partition, from, false)..(partition, offsets.end, false)).map(|(key, _)| *key).collect()
    }

    /// Books what was taken out of a flight.
    fn took(&mut self, key: FlightKey, offsets: Ranges, now: u64) -> Option<Taken> {
        if offsets.is_empty() {
            return None;
        }
        let flight = self.flights.get(&key)?;
        let held_ms = now.saturating_sub(flight.stamp.at().unwrap_or(flight.dealt_ms));
        let taken = Taken { partition: key.0, origin: flight.origin, fence: flight.fence, held_ms, offsets };
        self.events -= taken.offsets.len();
        self.pace.settled(taken.offsets.len(), now.saturating_sub(flight.dealt_ms));
        if flight.open.is_empty() {
            self.bytes -= flight.bytes;
            self.flights.remove(&key);
        }
        Some(taken)
    }

    fn refusal(&self, partition: u32, offset: i64, fence: Fence) -> Error {
        let holds = |flight: &Flight| flight.fence != fence && flight.open.contains(offset);
        if self.flights.iter().any(|((at, ..), flight)| *at == partition && holds(flight)) {
            return member_fenced(partition);
        }
        if self.expired.get(&partition).is_some_and(|expired| expired.contains(offset)) {
            let message = format!(
                "the deadline for event {offset} of partition {partition} has passed; it is tried again, so drop its result"
            );
            return Error::new(Reason::AckDeadlinePassed, message).fact("partition", partition).fact("offset", offset);
        }
        event_not_in_flight(partition, offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::control::Verdict;

    const FENCE: Fence = Fence { log_epoch: 0, lease_epoch: 7 };
    const ME: SeatId = SeatId(1);

    fn flight(range: Range<i64>, stamp: Stamp) -> Flight {
        Flight {
            origin: Origin::Claim { from: 0 },
            fence: FENCE,
            open: Ranges::of(range),
            bytes: 10,
            stamp,
            dealt_ms: 0,
            deadline_ms: None,
        }
    }

    fn ack(offsets: Range<i64>) -> EventOutcome {
        EventOutcome { partition: 3, fence: FENCE, offsets, verdict: Verdict::Ack }
    }

    fn desk(stamp: &Stamp) -> Desk {
        let mut desk = Desk::new(1_000);
        desk.sit(ME, "me".into(), (10, 1_000));
        desk.deal(ME, 3, flight(0..6, stamp.clone()));
        desk
    }

    #[test]
    fn what_is_settled_makes_room_and_is_settled_once() {
        let mut desk = desk(&Stamp::default());
        assert_eq!(desk.room(ME), (4, 990));
        let (taken, refused) = desk.settle(ME, &ack(2..4), 50);
        assert_eq!((taken[0].offsets.clone(), refused.len()), (Ranges::of(2..4), 0));
        let (taken, refused) = desk.settle(ME, &ack(1..8), 50);
        assert_eq!(taken[0].offsets.iter().collect::<Vec<_>>(), [1..2, 4..6]);
        let refused: Vec<_> = refused.iter().map(|(range, error)| (range.clone(), error.reason())).collect();
        assert_eq!(refused, [(2..4, Reason::EventNotInFlight), (6..8, Reason::EventNotInFlight)]);
        desk.settle(ME, &ack(0..1), 50);
        assert_eq!(desk.room(ME), (10, u64::MAX));
    }

    #[test]
    fn the_clock_starts_when_the_events_leave_the_broker() {
        let stamp = Stamp::default();
        let mut desk = desk(&stamp);
        assert!(desk.expire(1_000_000).is_empty(), "they are still here");
        stamp.flushed_at(500);
        assert!(desk.expire(1_499).is_empty());
        let gone = desk.expire(1_500);
        assert_eq!((gone[0].0.as_ref(), gone[0].1.offsets.len(), gone[0].1.held_ms), ("me", 6, 1_000));
        let (_, refused) = desk.settle(ME, &ack(0..6), 1_600);
        assert_eq!(refused[0].1.reason(), Reason::AckDeadlinePassed);
    }

    #[test]
    fn an_extension_moves_the_deadline_of_what_was_dealt_together() {
        let stamp = Stamp::default();
        let mut desk = desk(&stamp);
        stamp.flushed_at(500);
        assert!(desk.extend(ME, &ack(2..3), 5_000).is_empty());
        assert!(desk.expire(4_999).is_empty());
        assert_eq!(desk.expire(5_000).len(), 1);
        assert_eq!(desk.extend(ME, &ack(2..3), 9_000)[0].1.reason(), Reason::AckDeadlinePassed);
    }

    #[test]
    fn an_outcome_under_another_epoch_is_fenced() {
        let mut desk = desk(&Stamp::default());
        let stale = EventOutcome { fence: Fence { lease_epoch: 6, ..FENCE }, ..ack(0..1) };
        let (taken, refused) = desk.settle(ME, &stale, 0);
        assert_eq!((taken.len(), refused[0].1.reason()), (0, Reason::MemberFenced));
    }

    #[test]
    fn who_leaves_is_charged_only_with_what_left_the_broker() {
        let stamp = Stamp::default();
        let mut desk = desk(&stamp);
        desk.deal(ME, 3, flight(6..8, Stamp::default()));
        stamp.flushed_at(1);
        desk.settle(ME, &ack(0..1), 2);
        let (flushed, queued) = desk.leave(ME, 3);
        assert_eq!((flushed[0].offsets.clone(), queued[0].offsets.clone()), (Ranges::of(1..6), Ranges::of(6..8)));
        assert!(desk.is_empty());
    }

    #[test]
    fn the_first_of_a_batch_may_be_tried_again_while_the_rest_is_open() {
        let mut desk = desk(&Stamp::default());
        desk.settle(ME, &ack(0..1), 1);
        let again = Fence { lease_epoch: 1, ..FENCE };
        let tries = Tries { failed: 1, ..Tries::default() };
        let retry = Flight { origin: Origin::Retry { tries }, fence: again, ..flight(0..1, Stamp::default()) };
        desk.deal(ME, 3, retry);
        let (taken, refused) = desk.settle(ME, &ack(1..6), 2);
        assert_eq!((taken[0].offsets.clone(), refused.len()), (Ranges::of(1..6), 0), "nothing was forgotten");
        let (taken, refused) = desk.settle(ME, &EventOutcome { fence: again, ..ack(0..1) }, 3);
        assert_eq!((taken[0].origin, refused.len()), (Origin::Retry { tries }, 0));
    }

    #[test]
    fn an_event_that_is_tried_alone_keeps_everything_else_away() {
        let mut desk = Desk::new(1_000);
        desk.sit(ME, "me".into(), (10, 1_000));
        let tries = Tries { failed: 9, lost_only: true, alone: true };
        let alone = Flight { origin: Origin::Retry { tries }, ..flight(5..6, Stamp::default()) };
        desk.deal(ME, 3, alone);
        assert_eq!(desk.room(ME), (0, 0));
        desk.settle(ME, &ack(5..6), 1);
        assert!(desk.room(ME).0 > 0);
    }
}
