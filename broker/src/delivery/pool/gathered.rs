//! What became of events, gathered for the next write; and who waits for it.

use crate::delivery::control::{OutcomeFailure, member_fenced};
use crate::delivery::pool::desk::{Origin, Taken};
use crate::domain::ids::PartitionId;
use crate::domain::position::Fence;
use crate::domain::ranges::Ranges;
use crate::domain::retry::{Cause, Fate, RetryPolicy, Tries, Why, decide};
use crate::domain::{Applied, Error, Reason};
use crate::store::dispatch::Aside;
use crate::store::outcomes::{Failed, Key, Lost, Settlement};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use tokio::sync::oneshot;
use uuid::Uuid;

/// A frame whose outcomes are not durable yet.
pub(super) struct Waiting {
    pub reply: oneshot::Sender<Vec<OutcomeFailure>>,
    pub failures: Vec<OutcomeFailure>,
    pub parts: Vec<Part>,
    pub since_ms: u64,
}

/// Events that a frame speaks of.
pub(super) struct Part {
    pub which: Which,
    pub partition: u32,
    pub fence: Fence,
    pub offsets: Ranges,
}

/// What an outcome is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Which {
    Claim(Key),
    Retry(Key),
}

/// Why events failed, and with whom.
#[derive(Clone, Debug)]
pub(super) struct Failing {
    pub cause: Cause,
    pub why: Why,
    pub member: Arc<str>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Gathered {
    done: BTreeMap<Key, Ranges>,
    failed: Vec<Failed>,
    acked: Vec<Key>,
    asides: Vec<Aside>,
    unparked: Vec<(PartitionId, Arc<str>)>,
    waiting: Vec<Waiting>,
}

impl Gathered {
    pub fn is_empty(&self) -> bool {
        self.done.is_empty()
            && self.failed.is_empty()
            && self.acked.is_empty()
            && self.asides.is_empty()
            && self.unparked.is_empty()
            && self.waiting.is_empty()
    }

    /// Whether something of a partition is to be written.
    pub fn has(&self, partition: PartitionId) -> bool {
        self.done.keys().any(|key| key.partition == partition)
            || self.failed.iter().any(|failed| failed.key.partition == partition)
            || self.acked.iter().any(|key| key.partition == partition)
            || self.asides.iter().any(|aside| aside.claim.partition == partition)
    }

    /// Books an event that is moved out of its claim.
    pub fn aside(&mut self, aside: Aside) {
        self.asides.push(aside);
    }

    /// The next events of a key are to be let go that were parked.
    pub fn unpark(&mut self, partition: PartitionId, key: Arc<str>) {
        self.unparked.push((partition, key));
    }

    pub fn wait(&mut self, waiting: Waiting) {
        self.waiting.push(waiting);
    }

    /// Books events that are done.
    pub fn ack(&mut self, partition: PartitionId, taken: &Taken) -> Which {
        let which = which(partition, taken);
        match which {
            Which::Claim(key) => self.done.entry(key).or_default().add_all(&taken.offsets),
            Which::Retry(key) => self.acked.push(key),
        }
        which
    }

    /// Books what nobody is to see: it does not match the filter, or is gone from the log.
    pub fn done(&mut self, key: Key, offsets: &Ranges) {
        self.done.entry(key).or_default().add_all(offsets);
    }

    /// Books events that failed. Says of each when it falls due, in milliseconds from now; None: a dead letter.
    pub fn fail(
        &mut self,
        partition: PartitionId,
        taken: &Taken,
        failing: &Failing,
        policy: &RetryPolicy,
    ) -> (Which, Vec<(i64, Option<i64>)>) {
        let which = which(partition, taken);
        let (claim, tries) = match taken.origin {
            Origin::Claim { from } => (Some(from), Tries::default()),
            Origin::Retry { tries } => (None, tries),
        };
        let mut due = Vec::new();
        for offset in taken.offsets.iter().flatten() {
            let fate = decide(policy, tries, &failing.cause, Uuid::new_v4().as_u128() as u64);
            let (delay_ms, lost_only, alone) = match fate {
                Fate::Retry { delay_ms, lost_only, alone } => (Some(delay_ms), lost_only, alone),
                Fate::DeadLetter => (None, false, false),
            };
            due.push((offset, delay_ms));
            self.failed.push(Failed {
                key: Key { partition, offset, lease_epoch: taken.fence.lease_epoch },
                claim,
                delay_ms,
                lost_only,
                alone,
                why: failing.why.clone(),
                member: failing.member.clone(),
                duration_ms: taken.held_ms.cast_signed(),
            });
        }
        if let Which::Claim(key) = which {
            self.done.entry(key).or_default().add_all(&taken.offsets);
        }
        (which, due)
    }

    /// Tells those that have waited for too long; what they said is written all the same.
    pub fn give_up_before(&mut self, since_ms: u64, seconds: u64) {
        for waiting in self.waiting.extract_if(.., |waiting| waiting.since_ms < since_ms) {
            waiting.give_up(seconds);
        }
    }

    /// Takes everything, for one write.
    pub fn take(&mut self) -> (Settlement, Vec<Waiting>) {
        let Self { done, failed, acked, asides, unparked, waiting } = std::mem::take(self);
        (Settlement { done: done.into_iter().collect(), failed, acked, asides, unparked }, waiting)
    }
}

fn which(partition: PartitionId, taken: &Taken) -> Which {
    let lease_epoch = taken.fence.lease_epoch;
    match taken.origin {
        Origin::Claim { from } => Which::Claim(Key { partition, offset: from, lease_epoch }),
        Origin::Retry { .. } => {
            let offset = taken.offsets.first().map_or(0, |range| range.start);
            Which::Retry(Key { partition, offset, lease_epoch })
        }
    }
}

/// What a write found to be held no more.
pub(super) fn lost(settlement: &Settlement, lost: &Lost) -> HashSet<Which> {
    let claims = lost.claims.iter().filter_map(|place| Some(Which::Claim(settlement.done.get(*place)?.0)));
    let failed = lost.failed.iter().filter_map(|place| Some(Which::Retry(settlement.failed.get(*place)?.key)));
    let acked = lost.acked.iter().filter_map(|place| Some(Which::Retry(*settlement.acked.get(*place)?)));
    claims.chain(failed).chain(acked).collect()
}

impl Waiting {
    /// Answers: what was lost was fenced, or, after a write whose first answer was lost, nobody knows; the rest is durable.
    pub fn answer(mut self, lost: &HashSet<Which>, repeated: bool) {
        if !lost.is_empty() {
            let why = if repeated { unknown_after_repeat } else { member_fenced };
            let fenced = self.parts.iter().filter(|part| lost.contains(&part.which));
            let failures = fenced.flat_map(|part| part.failures(why));
            self.failures.extend(failures.collect::<Vec<_>>());
        }
        // A Commit stream that has gone does not need its answer.
        let _ = self.reply.send(self.failures);
    }

    /// The database has not answered for too long.
    pub fn give_up(mut self, seconds: u64) {
        let unknown = |partition: u32| {
            let message = format!(
                "the database did not answer within {seconds} s; the outcome is written when it is back and the lease still stands"
            );
            Error::new(Reason::OutcomeUnknown, message).applied(Applied::Unknown).fact("partition", partition)
        };
        let parts = self.parts.iter().flat_map(|part| part.failures(unknown));
        self.failures.extend(parts.collect::<Vec<_>>());
        let _ = self.reply.send(self.failures);
    }
}

fn unknown_after_repeat(partition: u32) -> Error {
    let message = "the database's answer was lost, and the event has left this session; it may have been written, and otherwise the \
                   event comes again";
    Error::new(Reason::OutcomeUnknown, message).applied(Applied::Unknown).fact("partition", partition)
}

impl Part {
    fn failures(&self, error: impl Fn(u32) -> Error) -> impl Iterator<Item = OutcomeFailure> {
        let (partition, fence) = (self.partition, self.fence);
        self.offsets.iter().map(move |offsets| OutcomeFailure { partition, fence, offsets, error: error(partition) })
    }
}
