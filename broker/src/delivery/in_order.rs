//! Outcomes of single events at a session: those of an ordered group's next event are counted here, all others go to the pool.
//!
//! **Invariants:** in an ordered group only the event where progress stands (or will, with what was asked) can fail; while it is
//! retried in place nothing behind it is sent; a failure commits nothing but what it says.

use crate::delivery::control::{
    EventOutcome, OutcomeFailure, PartitionCommit, Verdict, commit_out_of_range, event_not_in_flight, member_fenced,
    mode_mismatch, outcome_out_of_order, seek_fenced,
};
use crate::delivery::frame::{Delivery, Frame, Redelivered, Stamp};
use crate::delivery::held::InPlace;
use crate::delivery::session::{Done, End, Session};
use crate::delivery::session_expired;
use crate::domain::group::DeliveryMode;
use crate::domain::position::Fence;
use crate::domain::retry::{Cause, Fate, OnFailure, Tries, Why, decide};
use crate::domain::{Applied, Error, Reason, Result};
use crate::store::outcomes::{Failed as Attempt, Key};
use crate::store::progress::Committed;
use crate::store::retries::{self, Counted, InOrder, InPlace as Row, Place};
use crate::store::{Pooled, Store};
use crate::telemetry::metrics;
use futures_util::future::{BoxFuture, join_all};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use uuid::Uuid;

/// How long an outcome waits for the database before its sender is told that nobody knows.
const UNKNOWN_AFTER: Duration = Duration::from_secs(10);
const BACKOFF: Duration = Duration::from_millis(100);

/// A failure that was counted, or not.
pub(super) struct Failed {
    partition: u32,
    fence: Fence,
    offset: i64,
    in_place: bool,
    counted: Result<Counted>,
    reply: oneshot::Sender<Vec<OutcomeFailure>>,
    failures: Vec<OutcomeFailure>,
}

/// What the database says about a partition's event in place.
pub(super) type Found = Result<Option<Row>>;

impl Session {
    pub(super) async fn settle(&mut self, outcomes: Vec<EventOutcome>, reply: oneshot::Sender<Vec<OutcomeFailure>>) {
        let of_pool = |outcome: &EventOutcome| match self.group.mode {
            DeliveryMode::Shared => true,
            // What was passed over is in the pool; what is not passed is in the partition.
            DeliveryMode::Ordered => {
                self.held.get(&outcome.partition).is_none_or(|held| outcome.offsets.start < held.asked)
            }
        };
        let (pooled, own): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(of_pool);
        match (&self.seat, pooled.is_empty()) {
            (_, true) => self.settle_in_order(own, reply, Vec::new()),
            (Some(seat), false) if own.is_empty() => seat.settle(pooled, reply).await,
            (Some(seat), false) => {
                let (forward, answer) = oneshot::channel();
                seat.settle(pooled, forward).await;
                self.settle_in_order(own, reply, vec![answer]);
            }
            (None, false) => {
                let refused = |outcome: EventOutcome| OutcomeFailure {
                    error: self.refusal(&outcome),
                    partition: outcome.partition,
                    fence: outcome.fence,
                    offsets: outcome.offsets,
                };
                let refused = pooled.into_iter().map(refused).collect();
                let (forward, answer) = oneshot::channel();
                let _ = forward.send(refused);
                self.settle_in_order(own, reply, vec![answer]);
            }
        }
    }

    /// Why an event of an ordered group without a pool cannot be settled.
    fn refusal(&self, outcome: &EventOutcome) -> Error {
        match self.held.get(&outcome.partition) {
            None => member_fenced(outcome.partition),
            Some(held) if held.fence != outcome.fence => seek_fenced(outcome.partition),
            Some(_) => event_not_in_flight(outcome.partition, outcome.offsets.start),
        }
    }

    fn settle_in_order(
        &mut self,
        outcomes: Vec<EventOutcome>,
        reply: oneshot::Sender<Vec<OutcomeFailure>>,
        others: Vec<oneshot::Receiver<Vec<OutcomeFailure>>>,
    ) {
        let mut answers = others;
        for outcome in outcomes {
            let (forward, answer) = oneshot::channel();
            answers.push(answer);
            self.settle_one(outcome, forward);
        }
        // A part that is dropped belongs to a session that ends; so does the reply.
        self.parts.tasks.spawn_call(async move {
            let parts = join_all(answers).await;
            if let Ok(parts) = parts.into_iter().collect::<Result<Vec<_>, _>>() {
                let _ = reply.send(parts.concat());
            }
        });
    }

    fn settle_one(&mut self, outcome: EventOutcome, reply: oneshot::Sender<Vec<OutcomeFailure>>) {
        let EventOutcome { partition, fence, offsets, verdict } = outcome;
        let refusal = match self.held.get(&partition) {
            None => Some(member_fenced(partition)),
            Some(held) if held.fence != fence => Some(seek_fenced(partition)),
            Some(held) if offsets.start > held.next_to_settle() => {
                Some(outcome_out_of_order(partition, offsets.start, held.next_to_settle()))
            }
            Some(held) if offsets.end > held.source.next() => {
                Some(commit_out_of_range(partition, offsets.end, held.source.next()))
            }
            Some(_) => match &verdict {
                Verdict::Extend { .. } => {
                    Some(mode_mismatch("in an ordered group there is no deadline for an event that is not passed over"))
                }
                Verdict::Nack { .. } | Verdict::DeadLetter { .. } if offsets.end - offsets.start > 1 => {
                    Some(outcome_out_of_order(partition, offsets.start + 1, offsets.start))
                }
                _ => None,
            },
        };
        if let Some(error) = refusal {
            let _ = reply.send(vec![OutcomeFailure { partition, fence, offsets, error }]);
            return;
        }
        match verdict {
            Verdict::Nack { why, delay_ms } => {
                self.fail(partition, offsets.start, Cause::Nack { delay_ms }, why, reply);
            }
            Verdict::DeadLetter { why } => self.fail(partition, offsets.start, Cause::GivenUp, why, reply),
            Verdict::Ack | Verdict::Extend { .. } => {
                let (forward, answer) = oneshot::channel();
                self.commit(vec![PartitionCommit { partition, fence, next_offset: offsets.end }], forward);
                self.parts.tasks.spawn_call(async move {
                    let Ok(answers) = answer.await else { return };
                    let refused = answers.into_iter().filter_map(|answer| answer.outcome.err());
                    let failures =
                        refused.map(|error| OutcomeFailure { partition, fence, offsets: offsets.clone(), error });
                    let _ = reply.send(failures.collect());
                });
            }
        }
    }

    /// Counts a failure of a partition's next event.
    fn fail(
        &mut self,
        partition: u32,
        offset: i64,
        cause: Cause,
        why: Why,
        reply: oneshot::Sender<Vec<OutcomeFailure>>,
    ) {
        let policy = self.group.retry;
        let on_failure = self.group.on_failure;
        let place = self.place(partition);
        let (Some(place), Some(held)) = (place, self.held.get_mut(&partition)) else { return };
        let failed = match held.in_place {
            InPlace::Sent { offset: sent, failed } if sent == offset => failed,
            _ => 0,
        };
        let cause = if on_failure == OnFailure::DeadLetter { Cause::GivenUp } else { cause };
        let fate = decide(&policy, Tries { failed, ..Tries::default() }, &cause, Uuid::new_v4().as_u128() as u64);
        let delay_ms = match fate {
            Fate::Retry { delay_ms, .. } => Some(delay_ms),
            Fate::DeadLetter => None,
        };
        let in_place = on_failure == OnFailure::Block && delay_ms.is_some();
        held.in_place = InPlace::Failing;
        let fence = held.fence;
        let attempt = Attempt {
            key: Key { partition: place.partition, offset, lease_epoch: fence.lease_epoch },
            claim: None,
            delay_ms,
            lost_only: false,
            alone: false,
            why,
            member: self.member.as_str().into(),
            duration_ms: 0,
        };
        metrics::get().failed_attempts.increment(1);
        metrics::get().dead_letters.increment(u64::from(delay_ms.is_none()));
        let store = self.parts.store.clone();
        let order = if in_place { InOrder::InPlace } else { InOrder::Later };
        self.commits_under_way += 1;
        self.work.push(Box::pin(async move {
            let counted = until_known(&store, |db| {
                let (place, attempt) = (&place, &attempt);
                async move { retries::fail(&db, place, failed + 1, order, attempt).await }
            });
            let counted = counted.await;
            Done::Failed(Failed { partition, fence, offset, in_place, counted, reply, failures: Vec::new() })
        }));
    }

    pub(super) fn failed(&mut self, failed: Failed) {
        let Failed { partition, fence, offset, in_place, counted, reply, mut failures } = failed;
        self.commits_under_way -= 1;
        let held = self.held.get_mut(&partition).filter(|held| held.fence == fence);
        let error = match counted {
            // Counted before, when its answer was lost.
            Ok(Counted::Passed) => None,
            Ok(Counted::At(_)) => None,
            Ok(Counted::SeekFenced) => Some(seek_fenced(partition)),
            Ok(Counted::MemberFenced) => Some(member_fenced(partition)),
            Err(error) => Some(error),
        };
        if let Some(held) = held {
            match (&error, in_place) {
                // It stays where it is, and what was delivered behind it comes again.
                (None, true) => {
                    held.committed = held.committed.max(offset);
                    held.restart(offset);
                    held.in_place = InPlace::Look;
                    self.window.forget(partition);
                    self.outbox.push_back(Frame::Repositioned(held.lease()));
                }
                (None, false) => {
                    held.committed = held.committed.max(offset + 1);
                    held.asked = held.asked.max(offset + 1);
                    held.in_place = InPlace::No;
                    self.window.committed(partition, offset + 1);
                    if self.group.on_failure == OnFailure::Block {
                        // A member of a group that blocks waits for this, whatever became of the event.
                        held.restart(offset + 1);
                        self.window.forget(partition);
                        self.outbox.push_back(Frame::Repositioned(held.lease()));
                    }
                }
                // The database says what holds: in place or not.
                (Some(_), _) => {
                    held.restart(held.committed);
                    held.asked = held.committed;
                    held.in_place = InPlace::Look;
                    self.window.forget(partition);
                    self.outbox.push_back(Frame::Repositioned(held.lease()));
                }
            }
        }
        failures.extend(error.map(|error| OutcomeFailure { partition, fence, offsets: offset..offset + 1, error }));
        let _ = reply.send(failures);
    }

    /// Asks for the event that is to be retried in place.
    pub(super) fn look_in_place(&mut self, partition: u32) {
        let place = self.place(partition);
        let Some(held) = self.held.get_mut(&partition).filter(|held| held.in_place == InPlace::Look) else { return };
        let Some(place) = place else { return };
        held.in_place = InPlace::Looking;
        let (fence, store) = (held.fence, self.parts.store.clone());
        self.work.push(Box::pin(async move {
            let found = async { retries::in_place(&store.conn().await?, &place).await };
            let found = found.await;
            if found.is_err() {
                tokio::time::sleep(BACKOFF).await;
            }
            Done::Looked { partition, fence, found }
        }));
    }

    pub(super) fn looked(&mut self, partition: u32, fence: Fence, found: Found) {
        let Some(held) = self.held.get_mut(&partition).filter(|held| held.fence == fence) else { return };
        let row = match found {
            Ok(Some(row)) => row,
            Ok(None) => {
                held.in_place = InPlace::No;
                return;
            }
            Err(error) => {
                tracing::debug!(?error, partition, "could not look for a retry; trying again");
                held.in_place = InPlace::Look;
                return;
            }
        };
        if row.due_in_ms > 0 {
            held.in_place = InPlace::Until(Instant::now() + Duration::from_millis(row.due_in_ms.unsigned_abs()));
            return;
        }
        let again = row.again;
        let (offset, bytes) = (again.offset(), again.bytes());
        held.in_place = InPlace::Sent { offset, failed: again.failed };
        held.source.seek(offset + 1);
        self.window.sent(partition, offset, offset + 1, 1, bytes);
        metrics::get().redeliveries.increment(1);
        let event = Redelivered {
            delivery: Delivery { partition, fence, batch: again.event, events: 0..1, picked: None },
            attempt: again.failed + 1,
            reason: again.reason,
            error_class: again.error_class,
            in_place: true,
            redriven: false,
        };
        self.outbox.push_back(Frame::Redelivered { events: vec![event], stamp: Stamp::default() });
    }

    /// A commit past an event that is retried in place settles it too.
    pub(super) fn commit_past_in_place(
        &mut self,
        commit: PartitionCommit,
    ) -> Option<BoxFuture<'static, Result<Committed>>> {
        let PartitionCommit { partition, fence, next_offset } = commit;
        let place = self.place(partition)?;
        let held = self.held.get_mut(&partition).filter(|held| held.fence == fence)?;
        let past = matches!(held.in_place, InPlace::Sent { offset, .. } if offset < next_offset);
        if !past || next_offset > held.source.next() {
            return None;
        }
        held.asked = held.asked.max(next_offset);
        self.window.committed(partition, next_offset);
        let store = self.parts.store.clone();
        Some(Box::pin(async move {
            let place = &place;
            until_known(&store, |db| async move { retries::pass(&db, place, next_offset).await }).await
        }))
    }

    fn place(&self, partition: u32) -> Option<Place> {
        let held = self.held.get(&partition)?;
        Some(Place {
            organization: self.group.organization,
            group: self.group.id,
            partition: held.source.partition(),
            session: self.id,
            fence: held.fence,
        })
    }

    /// Tells the pool whose retries this member gets.
    pub(super) async fn tell_holds(&mut self) {
        if !std::mem::take(&mut self.holds_changed) || self.group.mode == DeliveryMode::Shared {
            return;
        }
        if let Some(seat) = &self.seat {
            seat.holds(self.held.iter().map(|(index, held)| (*index, held.source.partition())).collect()).await;
        }
    }

    /// A frame of the pool goes on its way.
    pub(super) fn pass_on(&mut self, dealt: Option<Result<Frame>>) -> Option<End> {
        match dealt {
            Some(Ok(frame)) => {
                self.outbox.push_back(frame);
                None
            }
            Some(Err(error)) => Some(End::Failed(error)),
            None => Some(End::Failed(session_expired())),
        }
    }
}

/// Makes a call until it is known what came of it; who waits hears after a while that nobody knows. The calls are fenced, and change
/// nothing twice.
async fn until_known<T, F, Call>(store: &Store, call: F) -> Result<T>
where
    F: Fn(Pooled) -> Call,
    Call: Future<Output = Result<T>>,
{
    let known = async {
        loop {
            let once = async { call(store.conn().await?).await };
            match once.await {
                Ok(known) => return known,
                Err(error) => tracing::warn!(?error, "an outcome could not be written; trying again"),
            }
            tokio::time::sleep(BACKOFF).await;
        }
    };
    tokio::time::timeout(UNKNOWN_AFTER, known).await.map_err(|_| {
        let message =
            format!("the database did not answer within {} s; send the outcome again", UNKNOWN_AFTER.as_secs());
        Error::new(Reason::OutcomeUnknown, message).applied(Applied::Unknown)
    })
}
