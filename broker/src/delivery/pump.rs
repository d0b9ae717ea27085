//! What a session does between two waits: send what may be sent, take over and give up partitions, confirm what is durable.

use crate::delivery::control::{
    CommitAnswer, PartitionCommit, commit_out_of_range, member_fenced, mode_mismatch, seek_fenced,
};
use crate::delivery::frame::Frame;
use crate::delivery::held::{Held, InPlace, State};
use crate::delivery::picking::LOOKS_MAX;
use crate::delivery::reader::log_truncated;
use crate::delivery::session::{Done, End, Session};
use crate::delivery::source::{self, Look, Source, Turn};
use crate::domain::group::{DeliveryMode, OnTruncated};
use crate::domain::position::{Fence, LogEpoch};
use crate::domain::ranges::Ranges;
use crate::domain::{Error, Reason};
use crate::store::membership::{self, GroupSnapshot, PartitionLease};
use crate::store::progress::{self, Committed, Progress};
use crate::telemetry::metrics::{self, Raised};
use futures_util::future::{BoxFuture, join_all};
use std::collections::HashSet;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// How long a partition that waits for the database rests before it asks again.
const READ_RETRY: Duration = Duration::from_millis(200);

impl Session {
    /// Sends until the window is full, the stream is full, or nothing is left: partitions take turns, a batch each.
    pub(super) fn pump(&mut self) {
        self.tell_cuts();
        self.send_what_may_go();
        if self.window.is_open() {
            self.window_full = None;
        } else {
            self.window_full.get_or_insert_with(|| Raised::new(&metrics::get().full_windows));
        }
    }

    fn send_what_may_go(&mut self) {
        while let Some(frame) = self.outbox.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(Ok(frame))) = self.frames.try_send(Ok(frame)) {
                self.outbox.push_front(frame);
                self.blocked.get_or_insert_with(Instant::now);
                return;
            }
        }
        if self.paused || !self.parts.trust.holds() {
            return;
        }
        self.filtering.looked = 0;
        loop {
            let mut progress = false;
            let order: Vec<u32> =
                self.held.range(self.turn..).chain(self.held.range(..self.turn)).map(|(index, _)| *index).collect();
            for index in order {
                if self.blocked.is_some() || !self.window.is_open() {
                    self.turn = index;
                    return;
                }
                progress |= self.pump_partition(index);
                if self.filtering.looked >= LOOKS_MAX {
                    // The rest in the next round of the loop, which hears what else there is.
                    self.turn = index;
                    self.waker.notify_one();
                    return;
                }
            }
            if !progress {
                return;
            }
        }
    }

    /// Sends one batch of a partition, or starts what it waits for. True: something was sent.
    fn pump_partition(&mut self, index: u32) -> bool {
        self.look_in_place(index);
        let Some(held) = self.held.get_mut(&index).filter(|held| held.flows()) else {
            return false;
        };
        match held.source.look() {
            Look::Park => false,
            Look::Read => {
                held.reading = true;
                let (fence, from) = (held.fence, held.source.next());
                let read =
                    source::read(self.parts.store.clone(), held.source.organization(), held.source.partition(), from);
                self.work.push(Box::pin(async move {
                    let page = read.await;
                    if page.is_err() {
                        tokio::time::sleep(READ_RETRY).await;
                    }
                    Done::Read { partition: index, fence, from, page }
                }));
                false
            }
            // Under this fence nobody could commit it: the snapshot that tells of the new log epoch is on its way.
            Look::Batch(batch) if LogEpoch::of(batch.base_offset).0 > held.fence.log_epoch => false,
            // The member is told first.
            Look::Batch(batch) if held.cut.is_some_and(|(_, to)| batch.base_offset >= to) => {
                self.waker.notify_one();
                false
            }
            Look::Batch(batch) => self.send(index, batch),
        }
    }

    /// Tells of what was lost, where delivery has come to it.
    fn tell_cuts(&mut self) {
        for held in self.held.values_mut() {
            if let Some((from, to)) = held.cut.take_if(|(from, _)| held.source.next() >= *from) {
                self.outbox.push_back(Frame::Truncated { partition: held.index, from, to, resumed: true });
            }
        }
    }

    /// Compares what is held with what the database says.
    pub(super) fn take_over(&mut self, snapshot: &GroupSnapshot) {
        let mut assigned = Vec::new();
        let mut revoking: Vec<(u32, Duration)> = Vec::new();
        let mut kept = HashSet::new();
        let id = self.id;
        for lease in snapshot.partitions.iter().filter(|lease| lease.session == Some(id)) {
            kept.insert(lease.index);
            let fence = Fence { log_epoch: snapshot.log_epoch, lease_epoch: lease.lease_epoch };
            match self.held.get(&lease.index).map(|held| held.fence == fence) {
                None => assigned.push(self.hold(lease, fence)),
                Some(false) => self.reposition(lease, fence),
                Some(true) => {}
            }
            let Some(held) = self.held.get_mut(&lease.index) else { continue };
            match (held.state, lease.drain_left_ms) {
                (State::Flowing | State::Stopped, Some(left)) => {
                    let left = Duration::from_millis(left.max(0) as u64);
                    held.state = State::Draining { deadline: Instant::now() + left, release: false };
                    revoking.push((lease.index, left));
                }
                // The others changed their minds: it stays, and what the member may have dropped comes again.
                (State::Draining { .. } | State::Releasing, None) => {
                    held.state = State::Flowing;
                    held.restart(held.committed);
                    held.asked = held.committed;
                    held.in_place = if lease.in_place { InPlace::Look } else { InPlace::No };
                    assigned.push(held.lease());
                    self.window.forget(lease.index);
                }
                _ => {}
            }
        }
        let lost: Vec<u32> = self.held.keys().filter(|index| !kept.contains(index)).copied().collect();
        for index in &lost {
            self.held.remove(index);
            self.window.forget(*index);
        }
        if !lost.is_empty() {
            self.outbox.push_back(Frame::Lost(lost));
        }
        if !assigned.is_empty() {
            self.outbox.push_back(Frame::Assigned(assigned));
        }
        if let Some(within) = revoking.iter().map(|(_, left)| *left).min() {
            let partitions = revoking.iter().map(|(index, _)| *index).collect();
            self.outbox.push_back(Frame::Revoking { partitions, within });
        }
        self.holds_changed = true;
    }

    fn hold(&mut self, lease: &PartitionLease, fence: Fence) -> crate::delivery::frame::Lease {
        let organization = self.group.organization;
        let source = Source::new(&self.parts.tail, &self.waker, organization, lease.partition, lease.next_offset);
        let held = Held {
            index: lease.index,
            fence,
            source,
            committed: lease.next_offset,
            asked: lease.next_offset,
            in_place: if lease.in_place { InPlace::Look } else { InPlace::No },
            reading: false,
            passed: Ranges::default(),
            skipping: false,
            cut: None,
            state: State::Flowing,
        };
        let told = held.lease();
        self.held.insert(lease.index, held);
        told
    }

    /// The group was moved, or the log has another life: what was delivered and not committed is void.
    fn reposition(&mut self, lease: &PartitionLease, fence: Fence) {
        let Some(held) = self.held.get_mut(&lease.index) else { return };
        let another_life = fence.log_epoch > held.fence.log_epoch;
        let given = held.source.next().max(held.committed);
        held.fence = fence;
        held.committed = lease.next_offset;
        held.asked = lease.next_offset;
        held.in_place = if lease.in_place { InPlace::Look } else { InPlace::No };
        held.reading = another_life;
        held.skipping = false;
        held.cut = None;
        held.state = State::Flowing;
        held.passed = Ranges::default();
        held.source.seek(lease.next_offset);
        let told = held.lease();
        self.window.forget(lease.index);
        self.outbox.push_back(Frame::Repositioned(told));
        if another_life {
            self.ask_what_survived(lease, fence, given);
        }
    }

    /// Of what the member was given up to `given`: how far does the log of this life still have it? Nothing is sent before.
    fn ask_what_survived(&mut self, lease: &PartitionLease, fence: Fence, given: i64) {
        let (store, organization) = (self.parts.store.clone(), self.group.organization);
        let (partition, id) = (lease.index, lease.partition);
        self.work.push(Box::pin(async move {
            let cut = loop {
                match source::cut_before(&store, organization, id, given).await {
                    Ok(cut) => break cut,
                    Err(error) => tracing::debug!(?error, partition, "could not compare with the log; trying again"),
                }
                tokio::time::sleep(READ_RETRY).await;
            };
            Done::Compared { partition, fence, cut }
        }));
    }

    pub(super) fn commit(&mut self, commits: Vec<PartitionCommit>, reply: oneshot::Sender<Vec<CommitAnswer>>) {
        let mut answers = Vec::new();
        let mut waiting = Vec::new();
        for commit in commits {
            let PartitionCommit { partition, fence, next_offset } = commit;
            if self.group.mode == DeliveryMode::Shared {
                let message = "a shared group has no progress to commit: settle events with `outcomes`";
                answers.push(CommitAnswer { partition, outcome: Err(mode_mismatch(message)) });
                continue;
            }
            if let Some(write) = self.commit_past_in_place(commit) {
                waiting.push((partition, fence, write));
                continue;
            }
            let refusal = match self.held.get_mut(&partition) {
                None => member_fenced(partition),
                Some(held) if held.fence != fence => seek_fenced(partition),
                Some(held) if next_offset > held.source.next() => {
                    commit_out_of_range(partition, next_offset, held.source.next())
                }
                // Also what is committed already: somebody else may hold the partition by now and stand further, so only the
                // database knows what is true.
                Some(held) => {
                    let progress = Progress {
                        organization: self.group.organization,
                        group: self.group.id,
                        partition: held.source.partition(),
                        session: self.id,
                        fence,
                        next_offset,
                    };
                    held.asked = held.asked.max(next_offset);
                    self.window.committed(partition, next_offset);
                    let write: BoxFuture<'static, Result<Committed, Error>> =
                        Box::pin(self.parts.commits.clone().write(progress));
                    waiting.push((partition, fence, write));
                    continue;
                }
            };
            metrics::get().fenced_commits.increment(1);
            answers.push(CommitAnswer { partition, outcome: Err(refusal) });
        }
        if waiting.is_empty() {
            // A Commit stream that has gone does not need its answer.
            let _ = reply.send(answers);
            return;
        }
        self.commits_under_way += 1;
        self.work.push(Box::pin(async move {
            let writes =
                waiting.into_iter().map(|(partition, fence, write)| async move { (partition, fence, write.await) });
            let outcomes = join_all(writes).await;
            Done::Commit { outcomes, answers, reply }
        }));
    }

    /// The member is done with partitions that are going away.
    pub(super) fn release(&mut self, partitions: &[u32], reply: oneshot::Sender<Vec<CommitAnswer>>) {
        let mut answers = Vec::with_capacity(partitions.len());
        for index in partitions {
            let outcome = match self.held.get_mut(index) {
                None => Err(member_fenced(*index)),
                Some(held) => {
                    if let State::Draining { release, .. } = &mut held.state {
                        *release = true;
                    }
                    Ok(held.committed)
                }
            };
            answers.push(CommitAnswer { partition: *index, outcome });
        }
        let _ = reply.send(answers);
    }

    /// Hands back what is drained. Commits that are under way go first: revocation keeps them.
    pub(super) fn give_up_settled(&mut self) {
        if self.commits_under_way > 0 {
            return;
        }
        let ready = |held: &Held| matches!(held.state, State::Draining { release, .. } if release || held.is_settled());
        let indexes: Vec<u32> = self.held.values().filter(|held| ready(held)).map(|held| held.index).collect();
        if indexes.is_empty() {
            return;
        }
        let mut partitions = Vec::with_capacity(indexes.len());
        for index in &indexes {
            if let Some(held) = self.held.get_mut(index) {
                held.state = State::Releasing;
                partitions.push(held.source.partition());
            }
        }
        let (store, organization) = (self.parts.store.clone(), self.group.organization);
        let (group, id) = (self.group.id, self.id);
        self.work.push(Box::pin(async move {
            let released = async {
                let db = store.conn().await?;
                membership::release(&**db, organization, group, id, &partitions).await
            };
            Done::Release { partitions: indexes, outcome: released.await.map(|_| ()) }
        }));
    }

    pub(super) fn finish(&mut self, done: Done) -> Option<End> {
        match done {
            Done::Read { partition, fence, from, page } => return self.turn_page(partition, fence, from, page),
            Done::Passed { partition, fence, outcome } => {
                self.commits_under_way -= 1;
                // Fenced: the snapshot that says so is on its way, and nothing more is written under this lease.
                let fenced = matches!(outcome, Ok(Committed::SeekFenced | Committed::MemberFenced));
                if let Some(held) = self.held.get_mut(&partition).filter(|held| held.fence == fence) {
                    held.skipping = fenced;
                }
                let _ = self.committed(partition, fence, outcome);
            }
            Done::Skip { partition, fence, from, floor } => self.skipped(partition, fence, from, floor),
            Done::Compared { partition, fence, cut } => {
                if let Some(held) = self.held.get_mut(&partition).filter(|held| held.fence == fence) {
                    (held.cut, held.reading) = (cut, false);
                }
            }
            Done::Failed(failed) => self.failed(failed),
            Done::Looked { partition, fence, found } => self.looked(partition, fence, found),
            Done::Release { partitions, outcome } => {
                if let Err(error) = outcome {
                    tracing::debug!(?error, "partitions could not be handed back; the sweep will take them");
                }
                tracing::debug!(?partitions, member = %self.member, "partitions handed back");
                self.parts.groups.changed(self.group.id);
            }
            Done::Commit { outcomes, mut answers, reply } => {
                self.commits_under_way -= 1;
                for (partition, fence, outcome) in outcomes {
                    answers.push(CommitAnswer { partition, outcome: self.committed(partition, fence, outcome) });
                }
                // A Commit stream that has gone does not need its answer.
                let _ = reply.send(answers);
            }
        }
        None
    }

    fn committed(&mut self, partition: u32, fence: Fence, outcome: Result<Committed, Error>) -> Result<i64, Error> {
        match outcome? {
            Committed::Durable(offset) => {
                if let Some(held) = self.held.get_mut(&partition).filter(|held| held.fence == fence) {
                    held.committed = held.committed.max(offset);
                    held.asked = held.asked.max(offset);
                    held.passed.take(i64::MIN..held.committed);
                    if matches!(held.in_place, InPlace::Sent { offset: sent, .. } if sent < offset) {
                        held.in_place = InPlace::No;
                    }
                }
                Ok(offset)
            }
            Committed::SeekFenced => Err(seek_fenced(partition)),
            Committed::MemberFenced => Err(member_fenced(partition)),
        }
    }

    fn turn_page(
        &mut self,
        partition: u32,
        fence: Fence,
        from: i64,
        page: Result<Option<crate::store::log::Page>, Error>,
    ) -> Option<End> {
        // A page for a lease that is over, or was moved, is of no use.
        let held = self.held.get_mut(&partition).filter(|held| held.fence == fence)?;
        if let Ok(Some(page)) = &page
            && page.log_epoch > fence.log_epoch
        {
            // Another life of the log: nothing is read under this lease until the snapshot comes that says so.
            return None;
        }
        held.reading = false;
        let page = match page {
            Ok(page) => page,
            Err(error) if error.reason() == Reason::DataLoss => return Some(End::Failed(error)),
            Err(error) => {
                tracing::debug!(?error, partition, "the log could not be read; trying again");
                return None;
            }
        };
        match held.source.turn(from, page) {
            Turn::Going => None,
            Turn::Gone => Some(End::Failed(crate::domain::stream::stream_not_found(self.stream.name.as_str()))),
            Turn::Cut { end } => Some(End::Failed(log_truncated(partition, end))),
            Turn::Truncated { floor } => {
                self.truncated(partition, fence, from, floor);
                None
            }
        }
    }

    /// Events were removed before the group had read them.
    fn truncated(&mut self, partition: u32, fence: Fence, from: i64, floor: i64) {
        let Some(held) = self.held.get_mut(&partition) else { return };
        if self.group.on_truncated == OnTruncated::Stop {
            held.state = State::Stopped;
            self.outbox.push_back(Frame::Truncated { partition, from, to: floor, resumed: false });
            return;
        }
        held.reading = true;
        let (store, organization, group) = (self.parts.store.clone(), self.group.organization, self.group.id);
        let (id, partition_id) = (self.id, held.source.partition());
        self.work.push(Box::pin(async move {
            let skipped = async {
                let db = store.conn().await?;
                progress::skip_truncated(&**db, organization, group, partition_id, id, fence.lease_epoch).await
            };
            let floor = skipped.await;
            if floor.is_err() {
                tokio::time::sleep(READ_RETRY).await;
            }
            Done::Skip { partition, fence, from, floor }
        }));
    }

    fn skipped(&mut self, partition: u32, fence: Fence, from: i64, floor: Result<Option<i64>, Error>) {
        let Some(held) = self.held.get_mut(&partition).filter(|held| held.fence == fence) else { return };
        held.reading = false;
        if let Ok(Some(floor)) = floor {
            held.committed = held.committed.max(floor);
            held.asked = held.asked.max(floor);
            held.restart(floor);
            self.window.forget(partition);
            self.outbox.push_back(Frame::Truncated { partition, from, to: floor, resumed: true });
        }
    }
}
