//! What a pool holds by the database's word: compared after every change of the group, and given back when nobody needs it.

use crate::delivery::frame::{Frame, Lease};
use crate::delivery::pool::claims::Lane;
use crate::delivery::pool::dealing::until_done;
use crate::delivery::pool::desk::Origin;
use crate::delivery::pool::task::{BACKOFF, Done, PoolTask};
use crate::delivery::source::Source;
use crate::domain::Result;
use crate::domain::group::DeliveryMode;
use crate::domain::ids::PartitionId;
use crate::domain::position::Fence;
use crate::groups::coordinator::View;
use crate::store::outcomes::{self, Key};
use std::collections::{BTreeSet, HashSet};

impl PoolTask {
    pub(super) fn drop_retry(&mut self, key: Key) {
        self.retries.remove(&key);
        self.ready.retain(|ready| *ready != key);
        let Some(index) = self.indexes.get(&key.partition).copied() else { return };
        if self.group.key_order {
            return self.let_go(index);
        }
        self.desk.void(|partition, first, flight| {
            partition == index
                && first == key.offset
                && matches!(flight.origin, Origin::Retry { .. })
                && flight.fence.lease_epoch == key.lease_epoch
        });
    }

    /// This broker does not hold the claim any more: nothing of it may be dealt, and what was is void.
    pub(super) fn drop_claim(&mut self, key: Key) {
        let Some(index) = self.indexes.get(&key.partition).copied() else { return };
        if self.group.key_order {
            return self.let_go(index);
        }
        let Some(lane) = self.lanes.get_mut(&index) else { return };
        lane.claims.retain(|from, claim| *from != key.offset || claim.fence.lease_epoch != key.lease_epoch);
        self.desk.void(|partition, _, flight| {
            partition == index
                && flight.origin == Origin::Claim { from: key.offset }
                && flight.fence.lease_epoch == key.lease_epoch
        });
    }

    pub(super) fn look_at(&mut self, view: View) {
        let View::Known(snapshot) = view else {
            return;
        };
        self.paused = snapshot.paused;
        let another_life = self.snapshot.as_ref().is_some_and(|known| known.log_epoch != snapshot.log_epoch);
        let moved = self.snapshot.as_ref().is_some_and(|known| known.group_version() != snapshot.group_version());
        if another_life {
            // Claims and retries of the old life are free for everybody, this broker too.
            let claims: Vec<Key> = self.lanes.values().flat_map(Lane::keys).collect();
            let retries: Vec<Key> = self.retries.keys().copied().collect();
            claims.into_iter().for_each(|key| self.drop_claim(key));
            retries.into_iter().for_each(|key| self.drop_retry(key));
        }
        if self.group.mode == DeliveryMode::Shared {
            for lease in &snapshot.partitions {
                self.indexes.insert(lease.partition, lease.index);
                let (tail, organization) = (&self.parts.tail, self.group.organization);
                let waker = &self.waker;
                self.lanes.entry(lease.index).or_insert_with(|| {
                    let source = Source::new(tail, waker, organization, lease.partition, lease.next_offset);
                    Lane::new(lease.partition, source)
                });
            }
        }
        self.lanes.values_mut().for_each(|lane| lane.dry_at = None);
        self.looks.start_anew();
        self.snapshot = Some(snapshot);
        self.doubtful |= moved && !another_life;
    }

    /// A seek may have taken claims and retries away, or a call whose answer was lost may have made some. Nothing is dealt or taken
    /// before that is known: what comes after a seek must come after the members were told.
    pub(super) fn ask_what_is_held(&mut self) {
        // What a call may finish or make at this moment is neither missing nor new.
        if !self.doubtful || self.writing || self.claiming || self.taking {
            return;
        }
        let claims: HashSet<Key> = self.lanes.values().flat_map(Lane::keys).collect();
        let retries: HashSet<Key> = self.retries.keys().copied().collect();
        let (store, holder) = (self.parts.store.clone(), self.holder);
        self.writing = true;
        self.work.push(Box::pin(async move {
            let held = async { outcomes::held(&store.conn().await?, &holder).await };
            let held = held.await;
            if held.is_err() {
                tokio::time::sleep(BACKOFF).await;
            }
            Done::Held { known: (claims, retries), held }
        }));
    }

    pub(super) fn compare(&mut self, known: &(HashSet<Key>, HashSet<Key>), held: Result<(Vec<Key>, Vec<Key>)>) {
        self.writing = false;
        let Ok((claims, retries)) = held else { return };
        self.doubtful = false;
        let (claims, retries): (HashSet<Key>, HashSet<Key>) =
            (claims.into_iter().collect(), retries.into_iter().collect());
        let mut moved = BTreeSet::new();
        for key in known.0.difference(&claims) {
            moved.insert(key.partition);
            self.drop_claim(*key);
        }
        for key in known.1.difference(&retries) {
            moved.insert(key.partition);
            self.drop_retry(*key);
        }
        // Where keys are in order it was told already, if anybody had something.
        if !self.group.key_order {
            moved.into_iter().for_each(|partition| self.tell_moved(partition));
        }
        let forgotten =
            |held: HashSet<Key>, known: &HashSet<Key>| -> Vec<Key> { held.difference(known).copied().collect() };
        let (claims, retries) = (forgotten(claims, &known.0), forgotten(retries, &known.1));
        if !claims.is_empty() || !retries.is_empty() {
            self.give_back(claims, retries);
        }
    }

    pub(super) fn tell_moved(&mut self, partition: PartitionId) {
        let Some(snapshot) = &self.snapshot else { return };
        let Some(lease) = snapshot.partitions.iter().find(|lease| lease.partition == partition) else { return };
        if self.group.mode != DeliveryMode::Shared {
            // The session of an ordered group tells its member itself.
            return;
        }
        let fence = Fence { log_epoch: snapshot.log_epoch, lease_epoch: lease.lease_epoch };
        let told = Lease { partition: lease.index, fence, next_offset: lease.next_offset };
        for member in self.members.values() {
            // A member whose frames are not taken finds out by its outcomes.
            let _ = member.deals.try_send(Ok(Frame::Repositioned(told)));
        }
    }

    /// With nobody left: gives back what is held. True: nothing is left to do.
    pub(super) fn give_everything_back(&mut self) -> bool {
        if self.writing || !self.gathered.is_empty() || !self.work.is_empty() {
            return false;
        }
        if self.group.key_order {
            return self.let_all_go();
        }
        let claims: Vec<Key> = self.lanes.values().flat_map(Lane::keys).collect();
        let retries: Vec<Key> = self.retries.drain().map(|(key, _)| key).collect();
        self.lanes.values_mut().for_each(|lane| lane.claims.clear());
        self.ready.clear();
        if claims.is_empty() && retries.is_empty() {
            return true;
        }
        self.give_back(claims, retries);
        false
    }

    pub(super) fn give_back(&mut self, claims: Vec<Key>, retries: Vec<Key>) {
        let (store, holder) = (self.parts.store.clone(), self.holder);
        self.work.push(Box::pin(async move {
            until_done(|| async { outcomes::give_back(&store.conn().await?, &holder, &claims, &retries).await }).await;
            Done::Nothing
        }));
    }
}
