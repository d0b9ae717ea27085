//! The books of a member: what it holds, what was delivered, what is done, what is committed.
//!
//! Pure: no async, no I/O, no clock.
//!
//! # Rules
//!
//! * A commit never goes beyond what this session was sent, nor beyond what the application is done with.
//! * A partition that comes back after a lost connection is *continued* when nobody else can have touched it: the log epoch is
//!   the same, its lease epoch is the next one, and the group stands between what was committed and what was delivered. Then
//!   what had been delivered is not given out again, and what is done is committed under the new lease. Otherwise everything
//!   from the group's position on is new.
//! * A partition that is being revoked is released once everything that was given out is committed.

use std::{collections::BTreeMap, sync::Arc};

use super::lease::{Lease, State};

/// A lease as the broker states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grant {
    pub(super) partition: u32,
    pub(super) log_epoch: u64,
    pub(super) lease_epoch: u64,
    pub(super) next_offset: i64,
}

/// What to commit for one partition.
pub(super) type Commit = Grant;

#[derive(Debug)]
struct Held {
    grant: Grant,
    lease: Arc<Lease>,
    /// This session was sent everything below.
    delivered: i64,
    /// Everything below was given to the application or waits for it.
    taken: i64,
    /// What the newest commit says.
    sent: i64,
    /// What is durable.
    confirmed: i64,
    released: bool,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Ledger {
    held: BTreeMap<u32, Held>,
    /// What the session before held, until it is assigned anew.
    before: BTreeMap<u32, Held>,
}

impl Ledger {
    /// The session is gone; what it held may come back.
    pub(super) fn disconnected(&mut self) {
        // What did not come back to the session before this one is not waited for any longer.
        self.forget_before();
        self.before = std::mem::take(&mut self.held);
    }

    /// A new session has begun; `kept` says that the member's partitions were kept for it.
    pub(super) fn joined(&mut self, kept: bool) {
        if !kept {
            self.forget_before();
        }
    }

    fn forget_before(&mut self) {
        for held in std::mem::take(&mut self.before).into_values() {
            held.lease.set_state(State::Gone);
        }
    }

    /// The session holds a partition.
    pub(super) fn assigned(&mut self, grant: Grant) {
        self.lost(grant.partition);
        let held = match self.before.remove(&grant.partition) {
            Some(before) if before.is_continued_by(grant) => {
                before.lease.set_state(State::Live);
                Held { grant, delivered: grant.next_offset, released: false, ..before }.at(grant.next_offset)
            }
            before => {
                if let Some(before) = before {
                    before.lease.set_state(State::Gone);
                }
                Held::new(grant)
            }
        };
        self.held.insert(grant.partition, held);
    }

    /// The group was moved: what was delivered is void.
    pub(super) fn repositioned(&mut self, grant: Grant) {
        self.lost(grant.partition);
        self.held.insert(grant.partition, Held::new(grant));
    }

    /// Events up to `next_offset` have come. Gives the lease, and the offset below which they came before.
    pub(super) fn delivered(
        &mut self,
        partition: u32,
        lease_epoch: u64,
        next_offset: i64,
    ) -> Option<(Arc<Lease>, i64)> {
        let held = self.held.get_mut(&partition).filter(|held| held.grant.lease_epoch == lease_epoch)?;
        held.delivered = held.delivered.max(next_offset);
        let taken = held.taken;
        held.taken = taken.max(next_offset);
        Some((Arc::clone(&held.lease), taken))
    }

    /// Events were removed; the partition goes on behind them.
    pub(super) fn truncated(&mut self, partition: u32, to_offset: i64) {
        if let Some(held) = self.held.get_mut(&partition) {
            held.delivered = held.delivered.max(to_offset);
            held.taken = held.taken.max(to_offset);
        }
    }

    /// The partition goes to another member.
    pub(super) fn revoking(&mut self, partition: u32) {
        if let Some(held) = self.held.get(&partition) {
            held.lease.set_state(State::Draining);
        }
    }

    /// The partition is no longer held.
    pub(super) fn lost(&mut self, partition: u32) {
        if let Some(held) = self.held.remove(&partition) {
            held.lease.set_state(State::Gone);
        }
    }

    /// Everything is lost: the consumer ends.
    pub(super) fn end(&mut self) {
        self.forget_before();
        for held in std::mem::take(&mut self.held).into_values() {
            held.lease.set_state(State::Gone);
        }
    }

    /// The application says explicitly that everything below an offset is done. False: that partition is not held.
    pub(super) fn done(&mut self, partition: u32, next_offset: i64) -> bool {
        let Some(held) = self.held.get(&partition) else {
            return false;
        };
        // Nobody is done with what was never given out; a position beyond would skip events.
        if next_offset > held.lease.yielded() {
            return false;
        }
        held.lease.set_done(next_offset);
        true
    }

    /// What should be committed now; it counts as sent.
    pub(super) fn take_commits(&mut self) -> Vec<Commit> {
        let mut commits = Vec::new();
        for held in self.held.values_mut() {
            let next_offset = held.lease.done().min(held.delivered);
            if next_offset > held.sent && !held.released {
                held.sent = next_offset;
                commits.push(Commit { next_offset, ..held.grant });
            }
        }
        commits
    }

    /// A commit has become durable; the group stands at `committed` now.
    pub(super) fn confirmed(&mut self, commit: Commit, committed: i64) {
        if let Some(held) = self.held.get_mut(&commit.partition)
            && held.grant.lease_epoch == commit.lease_epoch
        {
            held.confirmed = held.confirmed.max(committed);
        }
    }

    /// A commit was not made, or nobody knows: it is sent again.
    pub(super) fn unconfirmed(&mut self, commit: Commit) {
        if let Some(held) = self.held.get_mut(&commit.partition)
            && held.grant.lease_epoch == commit.lease_epoch
        {
            held.sent = held.confirmed;
        }
    }

    /// Partitions that are being revoked and have nothing more to commit; they count as released.
    pub(super) fn take_releases(&mut self) -> Vec<u32> {
        let drained = |held: &&mut Held| {
            !held.released
                && held.lease.state() == State::Draining
                && held.confirmed >= held.lease.yielded().min(held.delivered)
        };
        let released = self.held.values_mut().filter(drained).map(|held| {
            held.released = true;
            held.grant.partition
        });
        released.collect()
    }

    /// What is durable of a partition; `None` when it is not held.
    pub(super) fn committed(&self, partition: u32) -> Option<i64> {
        self.held.get(&partition).map(|held| held.confirmed)
    }

    /// True while the partition is held and everything below the offset is marked as done.
    pub(super) fn is_done(&self, partition: u32, next_offset: i64) -> bool {
        self.held.get(&partition).is_some_and(|held| held.lease.done() >= next_offset)
    }

    /// True while a partition is being revoked.
    pub(super) fn is_draining(&self) -> bool {
        self.held.values().any(|held| !held.released && held.lease.state() == State::Draining)
    }

    /// Where delivery goes on, by partition.
    pub(super) fn positions(&self) -> Vec<(u32, i64)> {
        self.held.values().map(|held| (held.grant.partition, held.taken)).collect()
    }
}

impl Held {
    fn new(grant: Grant) -> Self {
        Self {
            grant,
            lease: Arc::new(Lease::new(grant.next_offset)),
            delivered: grant.next_offset,
            taken: grant.next_offset,
            sent: grant.next_offset,
            confirmed: grant.next_offset,
            released: false,
        }
    }

    /// The group stands at this offset, so nothing below needs a commit.
    fn at(mut self, next_offset: i64) -> Self {
        self.sent = next_offset;
        self.confirmed = next_offset;
        self
    }

    fn is_continued_by(&self, grant: Grant) -> bool {
        grant.log_epoch == self.grant.log_epoch
            && grant.lease_epoch == self.grant.lease_epoch + 1
            && (self.confirmed..=self.taken).contains(&grant.next_offset)
            && self.lease.state() == State::Live
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(lease_epoch: u64, next_offset: i64) -> Grant {
        Grant { partition: 3, log_epoch: 1, lease_epoch, next_offset }
    }

    /// A ledger that was sent ten events, of which four are done and a fifth is in the application's hands.
    fn at_work() -> (Ledger, Arc<Lease>) {
        let mut ledger = Ledger::default();
        ledger.joined(false);
        ledger.assigned(grant(7, 0));
        let (lease, before) = ledger.delivered(3, 7, 10).expect("held");
        assert_eq!(before, 0);
        lease.set_yielded(5);
        lease.set_done(4);
        (ledger, lease)
    }

    #[test]
    fn what_is_done_is_committed_once() {
        let (mut ledger, lease) = at_work();
        let commits = ledger.take_commits();
        assert_eq!(commits, [Commit { next_offset: 4, ..grant(7, 0) }]);
        assert!(ledger.take_commits().is_empty());
        ledger.unconfirmed(commits[0]);
        assert_eq!(ledger.take_commits(), commits, "an unconfirmed commit is sent again");
        ledger.confirmed(commits[0], 4);
        lease.set_done(5);
        assert_eq!(ledger.take_commits()[0].next_offset, 5);
    }

    #[test]
    fn a_continued_partition_gives_nothing_out_twice_and_commits_what_was_done() {
        let (mut ledger, lease) = at_work();
        ledger.disconnected();
        lease.set_done(5);
        ledger.joined(true);
        ledger.assigned(grant(8, 0));
        assert!(ledger.take_commits().is_empty(), "this session was sent nothing yet");
        assert!(ledger.delivered(3, 7, 6).is_none(), "a batch of the old lease is void");
        let (same, before) = ledger.delivered(3, 8, 3).expect("held");
        assert!(Arc::ptr_eq(&same, &lease));
        assert_eq!(before, 10, "all ten came before");
        assert_eq!(ledger.take_commits()[0].next_offset, 3, "never beyond what this session was sent");
        ledger.delivered(3, 8, 12);
        assert_eq!(ledger.take_commits()[0], Commit { next_offset: 5, ..grant(8, 0) });
    }

    #[test]
    fn a_partition_that_somebody_else_may_have_touched_begins_anew() {
        for other in [grant(9, 4), grant(8, 11), Grant { log_epoch: 2, ..grant(8, 4) }] {
            let (mut ledger, lease) = at_work();
            ledger.disconnected();
            ledger.joined(true);
            ledger.assigned(other);
            assert_eq!(lease.state(), State::Gone, "{other:?}");
            let (fresh, before) = ledger.delivered(3, other.lease_epoch, 20).expect("held");
            assert_eq!((fresh.done(), before), (other.next_offset, other.next_offset));
        }
    }

    #[test]
    fn a_partition_that_was_not_kept_is_gone() {
        let (mut ledger, lease) = at_work();
        ledger.disconnected();
        assert_eq!(lease.state(), State::Live, "what was delivered may be finished meanwhile");
        ledger.joined(false);
        assert_eq!(lease.state(), State::Gone);
    }

    #[test]
    fn a_revoked_partition_is_released_when_what_was_given_out_is_committed() {
        let (mut ledger, lease) = at_work();
        ledger.revoking(3);
        assert!(ledger.is_draining() && ledger.take_releases().is_empty());
        lease.set_done(5);
        let commit = ledger.take_commits()[0];
        assert!(ledger.take_releases().is_empty(), "the commit is not durable yet");
        ledger.confirmed(commit, 5);
        assert_eq!(ledger.take_releases(), [3]);
        assert!(ledger.take_releases().is_empty());
    }

    #[test]
    fn an_explicit_commit_cannot_skip_what_was_never_given_out() {
        let (mut ledger, _) = at_work();
        assert!(!ledger.done(3, 6));
        assert!(ledger.done(3, 5));
        assert!(!ledger.done(4, 0), "not held");
    }

    #[test]
    fn a_seek_voids_what_was_delivered() {
        let (mut ledger, lease) = at_work();
        ledger.repositioned(grant(8, 2));
        assert_eq!(lease.state(), State::Gone);
        assert!(ledger.take_commits().is_empty());
        assert_eq!(ledger.committed(3), Some(2));
    }
}
