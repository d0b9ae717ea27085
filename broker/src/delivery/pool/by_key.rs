//! Groups that keep the order of keys: which partitions this pool dispatches, and what each outcome means for its key.
//!
//! **Invariant:** for a key, event n + 1 is delivered only when n is acknowledged, dead-lettered or filtered. One pool at a time
//! dispatches a partition: it alone has claims and retries of it, which it takes in the order of their offsets. [`Keys`] says whose
//! turn it is. Whatever casts doubt on what is known of a partition ends with letting it go and taking it again.

use crate::delivery::pool::claims::Dispatch;
use crate::delivery::pool::dealing::until_done;
use crate::delivery::pool::desk::{Origin, Taken};
use crate::delivery::pool::keys::{Freed, Keys};
use crate::delivery::pool::scan::due_at;
use crate::delivery::pool::task::{BACKOFF, Done, POLL_MS, PoolTask, now_ms};
use crate::delivery::pool::waiting::Waiting;
use crate::domain::Result;
use crate::domain::ids::PartitionId;
use crate::domain::limits::PARKED_MAX;
use crate::domain::ranges::Ranges;
use crate::store::dispatch::{self, Aside, Dispatched, KeyRow};
use crate::store::outcomes::Key;
use crate::store::retries::Retry;
use std::collections::HashMap;

/// Parked events of a key that are let go at a time.
pub(super) const UNPARK: u32 = 64;

impl PoolTask {
    /// Twice a second: takes partitions up to a fair share, and says for which key the most events wait.
    pub(super) fn ask_for_partitions(&mut self, now: u64) {
        let due = now >= self.dispatched_ms + POLL_MS && !self.dispatching;
        if !self.group.key_order || !due || self.desk.is_empty() || self.lanes.is_empty() {
            return;
        }
        (self.dispatching, self.dispatched_ms) = (true, now);
        let hot = self.lanes.iter().filter_map(|(index, lane)| lane.keys.as_ref()?.hottest(*index));
        let hot = hot.max_by_key(|hot| hot.waiting);
        let (store, holder) = (self.parts.store.clone(), self.holder);
        self.work.push(Box::pin(async move {
            let asked = async { dispatch::dispatch(&store.conn().await?, &holder, hot.as_ref()).await };
            Done::Dispatched { answer: asked.await }
        }));
    }

    pub(super) fn dispatched(&mut self, answer: Result<Option<Dispatched>>) {
        self.dispatching = false;
        let answer = match answer {
            Ok(Some(answer)) => answer,
            // The broker's lease ran out, which ends the pool.
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(?error, "partitions could not be asked for; trying again");
                return;
            }
        };
        let mine: HashMap<PartitionId, i64> = answer.partitions.iter().copied().collect();
        let lanes: Vec<(u32, PartitionId, Dispatch)> =
            self.lanes.iter().map(|(index, lane)| (*index, lane.id, lane.turn)).collect();
        for (index, id, turn) in lanes {
            match (mine.get(&id).copied(), turn) {
                (_, Dispatch::Going) | (None, Dispatch::No) => {}
                (Some(epoch), Dispatch::Yes(known) | Dispatch::Loading(known) | Dispatch::Ending(known, _))
                    if epoch == known => {}
                (Some(epoch), _) => {
                    self.forget(index);
                    self.load(index, epoch);
                }
                (None, _) => self.forget(index),
            }
        }
        self.end_some(answer.excess);
    }

    /// Finds out what stands in the way of which keys.
    fn load(&mut self, index: u32, epoch: i64) {
        let Some(lane) = self.lanes.get_mut(&index) else { return };
        lane.turn = Dispatch::Loading(epoch);
        let (store, holder, id) = (self.parts.store.clone(), self.holder, lane.id);
        self.work.push(Box::pin(async move {
            let read = async { dispatch::key_rows(&store.conn().await?, &holder, id).await };
            let rows = read.await;
            if rows.is_err() {
                tokio::time::sleep(BACKOFF).await;
            }
            Done::Loaded { partition: index, epoch, rows }
        }));
    }

    pub(super) fn loaded(&mut self, index: u32, epoch: i64, rows: Result<Option<Vec<KeyRow>>>) {
        let lanes = self.lanes.len();
        let Some(lane) = self.lanes.get_mut(&index).filter(|lane| lane.turn == Dispatch::Loading(epoch)) else {
            return;
        };
        match rows {
            Err(_) => self.load(index, epoch),
            Ok(None) => lane.turn = Dispatch::No,
            Ok(Some(rows)) => {
                let (keys, stuck) = Keys::new(rows, (PARKED_MAX / lanes.max(1)).max(1));
                (lane.keys, lane.turn, lane.dry_at) = (Some(keys), Dispatch::Yes(epoch), None);
                let id = lane.id;
                stuck.into_iter().for_each(|key| self.gathered.unpark(id, key));
                self.polled_ms = 0;
            }
        }
    }

    /// Others lack partitions: those where the least waits go to them, once what was dealt is settled.
    fn end_some(&mut self, excess: usize) {
        let until = now_ms() + self.group.drain_ms.unsigned_abs();
        let ending = self.lanes.values().filter(|lane| matches!(lane.turn, Dispatch::Ending(..))).count();
        let mut dealt: Vec<_> = self.lanes.values_mut().filter(|lane| lane.is_dealt()).collect();
        dealt.sort_by_key(|lane| lane.waiting());
        for lane in dealt.into_iter().take(excess.saturating_sub(ending)) {
            if let Dispatch::Yes(epoch) = lane.turn {
                lane.turn = Dispatch::Ending(epoch, until);
            }
        }
    }

    /// Lets partitions go whose time has come.
    pub(super) fn end_settled(&mut self, now: u64) {
        let ending = self.lanes.iter().filter(|(_, lane)| matches!(lane.turn, Dispatch::Ending(..)));
        let done: Vec<u32> = ending
            .filter(|(index, lane)| {
                let settled = !self.desk.has(**index) && !self.writing && !self.gathered.has(lane.id);
                settled || matches!(lane.turn, Dispatch::Ending(_, until) if until <= now)
            })
            .map(|(index, _)| *index)
            .collect();
        done.into_iter().for_each(|index| self.let_go(index));
    }

    /// Lets a partition go with all that is claimed and taken of it, uncounted.
    pub(super) fn let_go(&mut self, index: u32) {
        let Some(lane) = self.lanes.get(&index).filter(|lane| !matches!(lane.turn, Dispatch::Going | Dispatch::No))
        else {
            return;
        };
        let (store, holder, ids) = (self.parts.store.clone(), self.holder, [lane.id]);
        self.forget(index);
        if let Some(lane) = self.lanes.get_mut(&index) {
            lane.turn = Dispatch::Going;
        }
        self.work.push(Box::pin(async move {
            until_done(|| async { dispatch::let_go(&store.conn().await?, &holder, Some(&ids)).await }).await;
            Done::LetGone { partition: index }
        }));
    }

    pub(super) fn let_gone(&mut self, index: u32) {
        if let Some(lane) = self.lanes.get_mut(&index) {
            lane.turn = Dispatch::No;
        }
        // Whoever else wants it had half a second.
        self.dispatched_ms = now_ms();
    }

    /// Nobody is left here: lets all partitions go. True: there was none.
    pub(super) fn let_all_go(&mut self) -> bool {
        if self.dispatched_ms == 0 {
            return true;
        }
        // Who sits down meanwhile asks for partitions when that is done.
        (self.dispatched_ms, self.dispatching) = (0, true);
        let lanes: Vec<u32> = self.lanes.keys().copied().collect();
        lanes.into_iter().for_each(|index| self.forget(index));
        let (store, holder) = (self.parts.store.clone(), self.holder);
        self.work.push(Box::pin(async move {
            until_done(|| async { dispatch::let_go(&store.conn().await?, &holder, None).await }).await;
            Done::AllGone
        }));
        false
    }

    /// What is known here of a partition does not hold any more. What members have of it is void, and they are told.
    fn forget(&mut self, index: u32) {
        let Some(lane) = self.lanes.get_mut(&index) else { return };
        (lane.keys, lane.turn, lane.dry_at) = (None, Dispatch::No, None);
        lane.claims.clear();
        let id = lane.id;
        self.retries.retain(|key, _| key.partition != id);
        self.ready.retain(|key| key.partition != id);
        if self.desk.has(index) {
            self.desk.void(|partition, _, _| partition == index);
            self.tell_moved(id);
        }
    }

    /// A retry came into this pool's hands, and waits for its key's turn.
    pub(super) fn took_in_order(&mut self, key: Key, retry: Retry) {
        let Some(keys) = self.lane_mut(key.partition).and_then(|lane| lane.keys.as_mut()) else { return };
        let event = retry.again.event.encoded.view(0);
        let turn = match event.and_then(|event| event.key) {
            Some(name) => keys.took(name, key, retry.redriven),
            None => Some(key),
        };
        self.retries.insert(key, retry);
        self.ready.extend(turn);
    }

    /// True: it is the turn of an event that was published for later. It is set aside, and its key waits for it.
    pub(super) fn is_delayed(&mut self, index: u32, waited: &Waiting) -> bool {
        let due_at = waited.event.encoded.view(0).and_then(|event| due_at(&event, &waited.event));
        let (Some(due_at), Some(lane)) = (due_at, self.lanes.get(&index)) else { return false };
        let (offset, fence) = (waited.event.base_offset, waited.fence);
        let claim = Key { partition: lane.id, offset: waited.claim, lease_epoch: fence.lease_epoch };
        self.gathered.aside(Aside { claim, offset, due_at: Some(due_at) });
        let (offsets, origin) = (Ranges::of(offset..offset + 1), Origin::Claim { from: waited.claim });
        self.settled_in_order(&Taken { partition: index, offsets, origin, fence, held_ms: 0 }, &[(offset, Some(0))]);
        true
    }

    /// Events are done.
    pub(super) fn done_in_order(&mut self, taken: &Taken) {
        let fates: Vec<(i64, Option<i64>)> = taken.offsets.iter().flatten().map(|offset| (offset, None)).collect();
        self.settled_in_order(taken, &fates);
    }

    /// Events are done, or are tried again after a time.
    pub(super) fn settled_in_order(&mut self, taken: &Taken, fates: &[(i64, Option<i64>)]) {
        let is_retry = matches!(taken.origin, Origin::Retry { .. });
        let Some(lane) = self.lanes.get_mut(&taken.partition) else { return };
        let (Some(keys), partition) = (&mut lane.keys, lane.id) else { return };
        for (offset, delay) in fates {
            let way = (*offset, is_retry);
            let Freed { retry, unpark } = if delay.is_some() {
                let (parked, freed) = keys.failed(way);
                for waiting in parked {
                    let claim = Key { partition, offset: waiting.claim, lease_epoch: waiting.fence.lease_epoch };
                    self.gathered.aside(Aside { claim, offset: waiting.event.base_offset, due_at: None });
                }
                freed
            } else {
                keys.settled(way)
            };
            self.ready.extend(retry);
            // Behind one that is tried again nothing goes yet.
            if let Some(key) = unpark.filter(|_| delay.is_none()) {
                self.gathered.unpark(partition, key);
            }
        }
    }
}
