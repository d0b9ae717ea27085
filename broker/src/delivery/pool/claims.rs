//! The claims of one partition, and where the next event of them comes from.

use crate::delivery::picking::cut;
use crate::delivery::pool::keys::Keys;
use crate::delivery::pool::scan::{Bounds, scan};
use crate::delivery::pool::waiting::Waiting;
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
    /// Where the group keeps the order of keys: what this pool knows of them, while it dispatches the partition.
    pub keys: Option<Keys>,
    pub turn: Dispatch,
}

/// Whether this pool hands a partition out, in a group that keeps the order of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Dispatch {
    #[default]
    No,
    /// It does, and finds out what stands in the way of which keys. With the number of the taking.
    Loading(i64),
    Yes(i64),
    /// It goes to somebody else when what was dealt is settled, at the latest at this time.
    Ending(i64, u64),
    /// It is being let go.
    Going,
}

/// Claims of a partition that one pool has at most, in a group that keeps the order of keys: an event that waits for its key keeps
/// its claim.
const CLAIMS_MAX: usize = 1_000;

/// What a lane has for a member.
pub(super) enum Next {
    Nothing,
    /// The log must be read from here.
    Read(i64),
    /// The tail should have it soon.
    Soon,
    /// Events that have waited for their keys, and go together.
    Waited(Vec<Waiting>),
    Deal(Found),
}

/// A part of a claim that was looked at.
pub(super) struct Found {
    pub claim: i64,
    pub fence: Fence,
    pub batch: Arc<Batch>,
    pub looked: Range<usize>,
    /// What is to be dealt of it. None: all.
    pub picked: Option<Arc<[u32]>>,
    /// Nobody is to see it.
    pub passed: Ranges,
    /// What goes to `retry`, and when it is due.
    pub asides: Vec<(i64, Option<i64>)>,
}

impl Lane {
    pub fn new(id: PartitionId, source: Source) -> Self {
        Self {
            id,
            source,
            reading: false,
            claims: BTreeMap::new(),
            rested_ms: 0,
            dry_at: None,
            keys: None,
            turn: Dispatch::No,
        }
    }

    pub fn take_in(&mut self, claim: Claim) {
        let mut todo = Ranges::of(claim.from..claim.to);
        claim.done.iter().for_each(|range| drop(todo.take(range)));
        let claimed = Claimed { to: claim.to, fence: claim.fence, todo, done: claim.done };
        self.claims.insert(claim.from, claimed);
    }

    /// Events that wait to be dealt, where any can be.
    pub fn waiting(&self) -> u64 {
        if self.keys.as_ref().is_some_and(|keys| keys.full().is_some()) {
            return 0;
        }
        self.claims.values().map(|claim| claim.todo.len()).sum()
    }

    /// Where the group keeps the order of keys: whether this pool deals events of the partition.
    pub fn is_dealt(&self) -> bool {
        matches!(self.turn, Dispatch::Yes(_))
    }

    /// Where keys are in order: what an event waits for in memory, and whether nothing here is looked at any more.
    pub fn held_up(&self, offset: i64) -> (Option<i64>, Option<i64>) {
        let Some(keys) = &self.keys else { return (None, None) };
        let first =
            self.claims.values().find_map(|claim| claim.todo.first()).map_or(self.source.next(), |todo| todo.start);
        (keys.behind(offset), keys.full().filter(|_| offset >= first))
    }

    /// Whether there may be something to claim.
    pub fn may_have(&self, now: u64) -> bool {
        let full = |keys: &Keys| keys.full().is_some() || self.claims.len() >= CLAIMS_MAX;
        !self.keys.as_ref().is_some_and(full)
            && now >= self.rested_ms
            && self.dry_at.is_none_or(|head| self.source.head() > head)
    }

    /// What to deal next: the lowest that waits, at most so much. What does not match the filter on the way is looked at only.
    pub fn next(&mut self, room: (u64, u64), filter: Option<&Filter>) -> Next {
        if let Some(keys) = &mut self.keys {
            let waited = keys.chosen.take(room);
            if !waited.is_empty() {
                return Next::Waited(waited);
            }
            if keys.full().is_some() {
                return Next::Nothing;
            }
        }
        let waiting = self.claims.iter().find_map(|(from, claim)| Some((*from, claim.fence, claim.todo.first()?)));
        let Some((claim, fence, first)) = waiting.filter(|_| !self.reading) else { return Next::Nothing };
        if self.source.next() != first.start {
            self.source.seek(first.start);
        }
        match self.source.look() {
            Look::Park => Next::Soon,
            Look::Read => Next::Read(first.start),
            Look::Batch(batch) => {
                if filter.is_none() && self.keys.is_none() && !batch.encoded.is_delayed {
                    let most = room.0.min((first.end - first.start).unsigned_abs());
                    let looked = cut(&batch, first.start, (most, room.1));
                    let (passed, asides) = (Ranges::default(), Vec::new());
                    return Next::Deal(Found { claim, fence, batch, looked, picked: None, passed, asides });
                }
                let place = |offset: i64| (offset - batch.base_offset).max(0) as usize;
                let bounds = Bounds { claim, fence, events: place(first.start)..place(first.end), room };
                scan(batch, &bounds, filter, self.keys.as_mut()).map_or(Next::Nothing, Next::Deal)
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
        if let Some(keys) = &mut self.keys {
            keys.look_again();
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
