//! The claims of one partition, and where the next event of them comes from.

use crate::delivery::picking::{cut, pick};
use crate::delivery::source::{Look, Source};
use crate::domain::event::Batch;
use crate::domain::filter::Filter;
use crate::domain::ids::PartitionId;
use crate::domain::position::Fence;
use crate::domain::ranges::Ranges;
use crate::store::outcomes::{Claim, Key};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// A claim in this broker's hands.
pub(super) struct Claimed {
    pub to: i64,
    pub fence: Fence,
    /// Not dealt.
    pub todo: Ranges,
    /// Known to be durably done.
    pub done: Ranges,
}

/// A partition of the group.
pub(super) struct Lane {
    pub id: PartitionId,
    pub source: Source,
    /// A page of the log is being read for it.
    pub reading: bool,
    /// By first offset.
    pub claims: BTreeMap<i64, Claimed>,
    /// Not to be claimed from before this time: its row rests between two changes.
    pub rested_ms: u64,
    /// Nothing was free while the head stood here.
    pub dry_at: Option<i64>,
}

/// What a lane has for a member.
pub(super) enum Next {
    Nothing,
    /// The log must be read from here.
    Read(i64),
    /// The tail should have it soon.
    Soon,
    Deal {
        claim: i64,
        fence: Fence,
        batch: Arc<Batch>,
        events: Range<usize>,
        picked: Option<Arc<[u32]>>,
        passed: Ranges,
    },
    /// Nothing of this matches the filter.
    Pass {
        claim: i64,
        fence: Fence,
        offsets: Range<i64>,
    },
}

impl Lane {
    pub fn new(id: PartitionId, source: Source) -> Self {
        Self { id, source, reading: false, claims: BTreeMap::new(), rested_ms: 0, dry_at: None }
    }

    pub fn take_in(&mut self, claim: Claim) {
        let mut todo = Ranges::of(claim.from..claim.to);
        claim.done.iter().for_each(|range| drop(todo.take(range)));
        let claimed = Claimed { to: claim.to, fence: claim.fence, todo, done: claim.done };
        self.claims.insert(claim.from, claimed);
    }

    /// Events that wait to be dealt.
    pub fn waiting(&self) -> u64 {
        self.claims.values().map(|claim| claim.todo.len()).sum()
    }

    /// Whether there may be something to claim.
    pub fn may_have(&self, now: u64) -> bool {
        now >= self.rested_ms && self.dry_at.is_none_or(|head| self.source.head() > head)
    }

    /// What to deal next: the lowest that waits, at most so much. What does not match the filter on the way is looked at only.
    pub fn next(&mut self, (events, bytes): (u64, u64), filter: Option<&Filter>) -> Next {
        let waiting = self.claims.iter().find_map(|(from, claim)| Some((*from, claim, claim.todo.first()?)));
        let Some((from, claim, first)) = waiting.filter(|_| !self.reading) else { return Next::Nothing };
        if self.source.next() != first.start {
            self.source.seek(first.start);
        }
        match self.source.look() {
            Look::Park => Next::Soon,
            Look::Read => Next::Read(first.start),
            Look::Batch(batch) => {
                let (claim, fence) = (from, claim.fence);
                let Some(filter) = filter else {
                    let most = events.min((first.end - first.start).unsigned_abs());
                    let events = cut(&batch, first.start, (most, bytes));
                    return Next::Deal { claim, fence, batch, events, picked: None, passed: Ranges::default() };
                };
                let place = |offset: i64| (offset - batch.base_offset).max(0) as usize;
                let found = pick(&batch, place(first.start), place(first.end), (events, bytes), filter);
                if found.matching.is_empty() {
                    let base = batch.base_offset;
                    let offsets = base + found.looked.start as i64..base + found.looked.end as i64;
                    return Next::Pass { claim, fence, offsets };
                }
                let passed = found.passed(batch.base_offset);
                Next::Deal { claim, fence, events: found.looked.clone(), picked: found.picked(), passed, batch }
            }
        }
    }

    /// These events of a claim are on their way, or passed over.
    pub fn dealt(&mut self, claim: i64, offsets: Range<i64>) {
        self.source.advance(offsets.end);
        if let Some(claim) = self.claims.get_mut(&claim) {
            claim.todo.take(offsets);
        }
    }

    /// Events come back, to be dealt again.
    pub fn returned(&mut self, claim: i64, fence: Fence, offsets: &Ranges) {
        if let Some(claim) = self.claims.get_mut(&claim).filter(|claim| claim.fence == fence) {
            claim.todo.add_all(offsets);
        }
    }

    /// What is done of a claim is durable. True: all of it, and the claim is gone.
    pub fn written(&mut self, key: Key, done: &Ranges) -> bool {
        let Some(claim) = self.claims.get_mut(&key.offset) else { return false };
        if claim.fence.lease_epoch != key.lease_epoch {
            return false;
        }
        claim.done.add_all(done);
        let finished = claim.done == Ranges::of(key.offset..claim.to);
        if finished {
            self.claims.remove(&key.offset);
        }
        finished
    }

    /// Takes what waits and lies below the floor: it is gone from the log. By claim.
    pub fn cut_below(&mut self, floor: i64) -> Vec<(Key, Ranges)> {
        let partition = self.id;
        let cut = self.claims.iter_mut().map(|(from, claim)| {
            let key = Key { partition, offset: *from, lease_epoch: claim.fence.lease_epoch };
            (key, claim.todo.take(i64::MIN..floor))
        });
        cut.filter(|(_, gone)| !gone.is_empty()).collect()
    }

    pub fn keys(&self) -> impl Iterator<Item = Key> + '_ {
        self.claims.iter().map(|(from, claim)| Key {
            partition: self.id,
            offset: *from,
            lease_epoch: claim.fence.lease_epoch,
        })
    }
}
