//! How a pool gets events and hands them out: members take turns, each as much as it has room for.

use crate::delivery::frame::{Delivery, Frame, Redelivered, Stamp};
use crate::delivery::pool::claims::{Found, Lane, Next};
use crate::delivery::pool::desk::{Flight, Origin, SeatId, TURN};
use crate::delivery::pool::looks::Look;
use crate::delivery::pool::task::{Done, POLL_MS, PoolTask, REST_MS, now_ms};
use crate::delivery::pool::waiting::{Waiting, together};
use crate::delivery::source;
use crate::domain::Result;
use crate::domain::event::Batch;
use crate::domain::group::DeliveryMode;
use crate::domain::ids::PartitionId;
use crate::domain::limits::CLAIM_EVENTS_MAX;
use crate::domain::ranges::Ranges;
use crate::store::dispatch::Aside;
use crate::store::outcomes::{self, Claim, Key};
use crate::store::retries::{self, Retry};
use crate::telemetry::metrics;
use std::sync::Arc;
use std::time::Duration;

/// The smallest claim: a member that takes one event at a time does not change a row for each.
const CLAIM_EVENTS_MIN: u64 = 32;
/// Partitions of one claim call.
const CLAIM_PARTITIONS: usize = 16;
/// Retries of one call, and bytes of them.
const RETRIES: u32 = 256;
const RETRY_BYTES: usize = 2 * 1024 * 1024;
/// Retries of one frame.
const FRAME_RETRIES: u64 = 64;
const FRAME_BYTES: u64 = 1024 * 1024;
/// What nobody here has room for goes back after this time, for other brokers' members.
const IDLE_MS: u64 = 1_000;
const READ_RETRY: Duration = Duration::from_millis(200);

impl PoolTask {
    /// Hands out what there is, and asks for more.
    pub(super) fn deal(&mut self) {
        if self.is_fenced() {
            return self.fenced();
        }
        let unknown = self.group.mode == DeliveryMode::Shared && self.lanes.is_empty();
        if self.paused || unknown || self.doubtful || !self.parts.trust.holds() || self.desk.is_empty() {
            return;
        }
        self.sieve.rest();
        loop {
            let mut progress = false;
            for seat in self.desk.seats_from(self.turn) {
                self.turn = SeatId(seat.0 + 1);
                progress |= !self.sieve.is_tired() && self.deal_to(seat);
            }
            if !progress {
                break;
            }
        }
        if self.sieve.is_tired() {
            // The rest in the next round of the loop, which hears what else there is.
            self.waker.notify_one();
        }
        self.ask_for_retries();
        if self.group.mode == DeliveryMode::Shared {
            self.ask_for_claims();
        }
    }

    /// True: the member got something.
    fn deal_to(&mut self, seat: SeatId) -> bool {
        let room = self.desk.room(seat);
        let Some(member) = self.members.get(&seat).filter(|member| member.deals.capacity() > 0) else { return false };
        let room = (room.0.min(member.batch.0), room.1.min(member.batch.1));
        if room.0 == 0 {
            return false;
        }
        // An event that is tried alone waits until its member has nothing else.
        let alone = self.ready.iter().position(|key| self.retries.get(key).is_some_and(|retry| retry.tries.alone));
        if let Some(place) = alone.filter(|_| self.desk.first_seat() == Some(seat)) {
            if !self.desk.holds_nothing(seat) {
                return false;
            }
            self.ready.rotate_left(place);
        }
        let dealt = self.deal_retries(seat, room) || self.deal_events(seat, room);
        if dealt {
            self.dealt_ms = now_ms();
        }
        dealt
    }

    fn deal_retries(&mut self, seat: SeatId, (events, bytes): (u64, u64)) -> bool {
        let stamp = Stamp::default();
        let mut frame = Vec::new();
        let (mut left, mut room) = (events.min(FRAME_RETRIES), bytes.min(FRAME_BYTES));
        let mut waiting = std::mem::take(&mut self.ready);
        while let Some(key) = waiting.pop_front() {
            let Some(retry) = self.retries.get(&key) else { continue };
            let alone = retry.tries.alone;
            let fits = left > 0
                && (frame.is_empty() || retry.again.bytes() <= room)
                && (!alone || (frame.is_empty() && self.desk.holds_nothing(seat)));
            if !fits || !self.is_for(seat, key.partition) {
                self.ready.push_back(key);
                continue;
            }
            let Some(index) = self.indexes.get(&key.partition).copied() else { continue };
            room = room.saturating_sub(retry.again.bytes());
            left = if alone { 0 } else { left - 1 };
            frame.push(redelivered(index, retry));
            let flight = Flight {
                origin: Origin::Retry { tries: retry.tries },
                fence: retry.fence,
                open: Ranges::of(key.offset..key.offset + 1),
                bytes: retry.again.bytes(),
                stamp: stamp.clone(),
                dealt_ms: now_ms(),
                deadline_ms: None,
            };
            self.desk.deal(seat, index, flight);
        }
        if frame.is_empty() {
            return false;
        }
        metrics::get().redeliveries.increment(frame.len() as u64);
        self.send(seat, Frame::Redelivered { events: frame, stamp })
    }

    /// In an ordered group retries go to whoever holds the partition.
    fn is_for(&self, seat: SeatId, partition: PartitionId) -> bool {
        if self.group.key_order {
            return self.lane_of(partition).is_some_and(|lane| lane.is_dealt());
        }
        self.group.mode == DeliveryMode::Shared
            || self.members.get(&seat).is_some_and(|member| member.holds.values().any(|held| *held == partition))
    }

    fn deal_events(&mut self, seat: SeatId, (events, bytes): (u64, u64)) -> bool {
        // Partitions take turns too.
        let first = self.lane_turn;
        let order: Vec<u32> =
            self.lanes.range(first..).chain(self.lanes.range(..first)).map(|(index, _)| *index).collect();
        let filter = self.snapshot.as_ref().and_then(|snapshot| snapshot.filter.clone());
        for index in order {
            let keyed = self.group.key_order;
            let Some(lane) = self.lanes.get_mut(&index).filter(|lane| !keyed || lane.is_dealt()) else { continue };
            match lane.next((events.min(TURN), bytes), filter.as_ref()) {
                Next::Nothing => {}
                Next::Soon => self.parts.tail.stale(lane.id),
                Next::Read(from) => {
                    lane.reading = true;
                    let (store, organization, id) = (self.parts.store.clone(), self.group.organization, lane.id);
                    self.work.push(Box::pin(async move {
                        let page = source::read(store, organization, id, from).await;
                        if page.is_err() {
                            tokio::time::sleep(READ_RETRY).await;
                        }
                        Done::Read { partition: index, from, page }
                    }));
                }
                Next::Waited(waited) => {
                    self.lane_turn = index + 1;
                    return self.deal_waited(seat, index, waited);
                }
                Next::Deal(found) => {
                    self.lane_turn = index + 1;
                    return self.deal_found(seat, index, found, filter.is_some());
                }
            }
        }
        false
    }

    /// True: the member got something of it, or it was set aside.
    fn deal_waited(&mut self, seat: SeatId, index: u32, mut waited: Vec<Waiting>) -> bool {
        waited.retain(|waited| !self.is_delayed(index, waited));
        let Some((claim, fence)) = waited.first().map(|first| (first.claim, first.fence)) else { return true };
        let events: Vec<Arc<Batch>> = waited.into_iter().map(|waited| waited.event).collect();
        let mut open = Ranges::default();
        events.iter().for_each(|event| open.add(event.base_offset..event.end_offset()));
        let Some((batch, picked)) = together(&events) else { return true };
        let events = 0..batch.event_count();
        self.hand_out(seat, claim, open, Delivery { partition: index, fence, batch, events, picked })
    }

    /// True: the member got something of it, or it was passed over.
    fn deal_found(&mut self, seat: SeatId, index: u32, found: Found, is_filtered: bool) -> bool {
        let Some(lane) = self.lanes.get_mut(&index) else { return false };
        let Found { claim, fence, batch, looked, picked, passed, asides } = found;
        let base = batch.base_offset;
        lane.dealt(claim, base + looked.start as i64..base + looked.end as i64);
        let key = Key { partition: lane.id, offset: claim, lease_epoch: fence.lease_epoch };
        if is_filtered || lane.keys.is_some() {
            self.sieve.saw(looked.len() as u64, looked.len() as u64 - passed.len());
        }
        if !passed.is_empty() {
            // Nobody is to see it.
            self.gathered.done(key, &passed);
        }
        asides.into_iter().for_each(|(offset, due_at)| self.gathered.aside(Aside { claim: key, offset, due_at }));
        if picked.as_ref().is_some_and(|picked| picked.is_empty()) {
            return true;
        }
        let delivery = Delivery { partition: index, fence, batch, events: looked, picked };
        let mut open = Ranges::default();
        delivery.ranges().iter().for_each(|range| open.add(base + range.start as i64..base + range.end as i64));
        self.hand_out(seat, claim, open, delivery)
    }

    /// True: the member gets it.
    fn hand_out(&mut self, seat: SeatId, claim: i64, open: Ranges, delivery: Delivery) -> bool {
        let stamp = Stamp::default();
        let flight = Flight {
            origin: Origin::Claim { from: claim },
            fence: delivery.fence,
            open,
            bytes: delivery.bytes() as u64,
            stamp: stamp.clone(),
            dealt_ms: now_ms(),
            deadline_ms: None,
        };
        metrics::get().deliveries.increment(flight.open.len());
        metrics::get().delivery_bytes.increment(flight.bytes);
        self.desk.deal(seat, delivery.partition, flight);
        self.send(seat, Frame::Dealt { delivery, stamp })
    }

    fn send(&mut self, seat: SeatId, frame: Frame) -> bool {
        // There was room; a member that has gone meanwhile is found by the next tick, and its events come back.
        self.members.get(&seat).is_some_and(|member| member.deals.try_send(Ok(frame)).is_ok())
    }

    /// Asks for retries that are due, when there is somebody for them.
    fn ask_for_retries(&mut self) {
        let now = now_ms();
        let due = self.due.first().is_some_and(|due| *due <= now);
        let poll = now >= self.polled_ms + POLL_MS;
        if self.taking || !(due || poll) || !self.ready.is_empty() || self.desk.total_room() == 0 {
            return;
        }
        self.due = self.due.split_off(&(now + 1));
        if poll {
            self.polled_ms = now;
            self.lanes.values_mut().for_each(|lane| lane.dry_at = None);
        }
        let partitions: Option<Vec<PartitionId>> = match self.group.mode {
            DeliveryMode::Shared if self.group.key_order => {
                Some(self.lanes.values().filter(|lane| lane.is_dealt()).map(|lane| lane.id).collect())
            }
            DeliveryMode::Shared => None,
            DeliveryMode::Ordered => {
                Some(self.members.values().flat_map(|member| member.holds.values().copied()).collect())
            }
        };
        self.taking = true;
        let look = self.looks.next(now, partitions);
        let (store, holder) = (self.parts.store.clone(), self.holder);
        self.work.push(Box::pin(async move {
            let taken = async {
                let (partitions, within_ms) = (look.partitions.as_deref(), look.within_ms);
                retries::take(&store.conn().await?, &holder, partitions, within_ms, (RETRIES, RETRY_BYTES)).await
            };
            let retries = taken.await;
            Done::Took { look, retries }
        }));
    }

    pub(super) fn took(&mut self, look: Look, taken: Result<Vec<Retry>>) {
        self.taking = false;
        let taken = match taken {
            Ok(taken) => taken,
            Err(error) => {
                tracing::debug!(?error, "retries could not be taken; trying again");
                self.doubtful = true;
                return;
            }
        };
        let bytes: u64 = taken.iter().map(|retry| retry.again.bytes()).sum();
        self.looks.took(look, taken.len() < RETRIES as usize && bytes < RETRY_BYTES as u64);
        if taken.len() as u32 >= RETRIES / 2 {
            // There are more.
            self.polled_ms = 0;
        }
        for retry in taken {
            let key =
                Key { partition: retry.partition, offset: retry.again.offset(), lease_epoch: retry.fence.lease_epoch };
            if self.group.key_order {
                self.took_in_order(key, retry);
                continue;
            }
            self.retries.insert(key, retry);
            self.ready.push_back(key);
        }
    }

    /// Claims for what members have room for.
    fn ask_for_claims(&mut self) {
        let wanted = self.sieve.events_for(self.desk.total_room());
        let waiting = self.lanes.values().map(|lane| lane.waiting()).sum::<u64>();
        if self.claiming || waiting >= wanted {
            return;
        }
        let now = now_ms();
        let keyed = self.group.key_order;
        let may_have = |lane: &Lane| lane.may_have(now) && (!keyed || lane.is_dealt());
        let mut lanes: Vec<(u32, PartitionId, i64, u64)> = (self.lanes.iter().filter(|(_, lane)| may_have(lane)))
            .map(|(index, lane)| (*index, lane.id, lane.source.head(), lane.waiting()))
            .collect();
        // Those with the least first.
        lanes.sort_by_key(|(.., waiting)| *waiting);
        lanes.truncate(CLAIM_PARTITIONS);
        if lanes.is_empty() {
            return;
        }
        for (index, ..) in &lanes {
            if let Some(lane) = self.lanes.get_mut(index) {
                lane.rested_ms = now + REST_MS;
            }
        }
        let each = (wanted - waiting).div_ceil(lanes.len() as u64);
        // Where keys are in order the partition is in one hand, and nobody else waits for what is claimed ahead.
        let least = if keyed { CLAIM_EVENTS_MAX } else { CLAIM_EVENTS_MIN };
        let events = each.clamp(least, CLAIM_EVENTS_MAX);
        let partitions: Vec<PartitionId> = lanes.iter().map(|(_, id, ..)| *id).collect();
        let asked = lanes.iter().map(|(index, _, head, _)| (*index, *head)).collect();
        self.claiming = true;
        let (store, holder) = (self.parts.store.clone(), self.holder);
        self.work.push(Box::pin(async move {
            let claims = async { outcomes::claim(&store.conn().await?, &holder, &partitions, events).await };
            Done::Claimed { asked, claims: claims.await }
        }));
    }

    pub(super) fn claimed(&mut self, asked: Vec<(u32, i64)>, claims: Result<Vec<Claim>>) {
        self.claiming = false;
        let claims = match claims {
            Ok(claims) => claims,
            Err(error) => {
                tracing::debug!(?error, "nothing could be claimed; trying again");
                self.doubtful = true;
                return;
            }
        };
        for (index, head) in asked {
            let Some(lane) = self.lanes.get_mut(&index) else { continue };
            if !claims.iter().any(|claim| claim.partition == lane.id) {
                lane.dry_at = Some(head);
            }
        }
        for claim in claims {
            let lane = self.indexes.get(&claim.partition).and_then(|index| self.lanes.get_mut(index));
            if let Some(lane) = lane {
                lane.take_in(claim);
            }
        }
    }

    /// Gives back what waits here and that no member has room for.
    pub(super) fn hand_back_idle(&mut self, now: u64) {
        if self.group.key_order {
            // All of a partition is in one hand.
            return;
        }
        let orphans: Vec<Key> = (self.ready.iter().copied())
            .filter(|key| !self.members.keys().any(|seat| self.is_for(*seat, key.partition)))
            .collect();
        if !orphans.is_empty() {
            orphans.iter().for_each(|key| self.drop_retry(*key));
            self.give_back(Vec::new(), orphans);
        }
        if self.desk.is_empty() || now < self.dealt_ms + IDLE_MS || self.desk.total_room() > 0 {
            return;
        }
        self.dealt_ms = now;
        let ready: Vec<Key> = self.ready.drain(..).collect();
        ready.iter().for_each(|key| drop(self.retries.remove(key)));
        let (mut whole, mut parts) = (Vec::new(), Vec::new());
        for lane in self.lanes.values_mut().filter(|lane| !lane.reading) {
            let id = lane.id;
            lane.claims.retain(|from, claim| {
                let key = Key { partition: id, offset: *from, lease_epoch: claim.fence.lease_epoch };
                let mut rest = claim.todo.clone();
                if rest == Ranges::of(*from..claim.to) {
                    whole.push(key);
                    return false;
                }
                // What begins where the claim does stays with it.
                rest.take(*from..rest.first().filter(|first| first.start == *from).map_or(*from, |first| first.end));
                if !rest.is_empty() {
                    rest.iter().for_each(|range| drop(claim.todo.take(range)));
                    claim.done.add_all(&rest);
                    parts.push((key, rest));
                }
                true
            });
        }
        if !whole.is_empty() || !ready.is_empty() {
            self.give_back(whole, ready);
        }
        for (key, rest) in parts {
            let (store, holder) = (self.parts.store.clone(), self.holder);
            self.work.push(Box::pin(async move {
                until_done(|| async { outcomes::split(&store.conn().await?, &holder, key, &rest).await }).await;
                Done::Nothing
            }));
        }
    }
}

/// What was forgotten here must be given back there: tries until it is. Both are fenced, and may be done twice.
pub(super) async fn until_done<F: Future<Output = Result<()>>>(work: impl Fn() -> F) {
    while let Err(error) = work().await {
        tracing::debug!(?error, "claims could not be given back; trying again");
        tokio::time::sleep(READ_RETRY).await;
    }
}

fn redelivered(index: u32, retry: &Retry) -> Redelivered {
    let event = retry.again.event.clone();
    Redelivered {
        delivery: Delivery { partition: index, fence: retry.fence, batch: event, events: 0..1, picked: None },
        attempt: retry.tries.failed + 1,
        reason: retry.again.reason.clone(),
        error_class: retry.again.error_class.clone(),
        in_place: false,
        redriven: retry.redriven,
    }
}
