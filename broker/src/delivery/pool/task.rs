//! The task of a pool: what it does with each message, answer and tick.

use crate::delivery::control::{EventOutcome, OutcomeFailure, Verdict};
use crate::delivery::frame::Frame;
use crate::delivery::pool::claims::Lane;
use crate::delivery::pool::desk::{Desk, Origin, SeatId, Taken};
use crate::delivery::pool::gathered::{self, Failing, Gathered, Part, Waiting};
use crate::delivery::pool::looks::{Look, Looks};
use crate::delivery::pool::sieve::Sieve;
use crate::delivery::pool::writing::Written;
use crate::delivery::pool::{Going, Message, PoolKey, Pools, Sitting};
use crate::delivery::source::Turn;
use crate::delivery::{Deliveries, session_expired};
use crate::domain::group::ConsumerGroup;
use crate::domain::ids::PartitionId;
use crate::domain::retry::{Cause, Why};
use crate::domain::{Error, Reason, Result};
use crate::groups::coordinator::GroupWatch;
use crate::runtime::clock::since_boot;
use crate::store::dispatch::{Dispatched, KeyRow};
use crate::store::log::Page;
use crate::store::membership::GroupSnapshot;
use crate::store::outcomes::{Claim, Holder, Key, Settlement};
use crate::store::retries::Retry;
use crate::tail::Waker;
use crate::telemetry::metrics;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

/// Between looks at the clocks: deadlines, retries that are due, claims that others gave back.
const TICK: Duration = Duration::from_millis(50);
/// Between two writes, and between two claims of a partition: a row is changed at most so often.
pub(super) const REST_MS: u64 = 20;
/// Between questions for what others may have left: free claims, retries of other brokers.
pub(super) const POLL_MS: u64 = 500;
/// Between attempts to write when the database is away.
pub(super) const BACKOFF: Duration = Duration::from_millis(100);
/// How long an outcome waits for the database before its sender is told that nobody knows.
const UNKNOWN_AFTER_MS: u64 = 10_000;

/// A member, as the pool knows it.
pub(super) struct Member {
    pub deals: mpsc::Sender<Result<Frame>>,
    /// In an ordered group: what it holds.
    pub holds: BTreeMap<u32, PartitionId>,
    pub batch: (u64, u64),
}

/// Something that was started beside the loop has finished.
pub(super) enum Done {
    Claimed {
        asked: Vec<(u32, i64)>,
        claims: Result<Vec<Claim>>,
    },
    Read {
        partition: u32,
        from: i64,
        page: Result<Option<Page>>,
    },
    Took {
        look: Look,
        retries: Result<Vec<Retry>>,
    },
    Wrote {
        settlement: Settlement,
        written: Written,
        began_ms: u64,
    },
    Held {
        known: (HashSet<Key>, HashSet<Key>),
        held: Result<(Vec<Key>, Vec<Key>)>,
    },
    Dispatched {
        answer: Result<Option<Dispatched>>,
    },
    Loaded {
        partition: u32,
        epoch: i64,
        rows: Result<Option<Vec<KeyRow>>>,
    },
    LetGone {
        partition: u32,
    },
    AllGone,
    /// Given back, or not: then the sweep or nobody takes it.
    Nothing,
}

/// See the module.
pub(super) struct PoolTask {
    pub parts: Deliveries,
    pub group: Arc<ConsumerGroup>,
    pub holder: Holder,
    inbox: mpsc::Receiver<Message>,
    watch: GroupWatch,
    pub waker: Waker,
    pub desk: Desk,
    pub members: HashMap<SeatId, Member>,
    pub turn: SeatId,
    pub lane_turn: u32,
    /// What is held here and what the database knows may differ.
    pub doubtful: bool,
    pub lanes: BTreeMap<u32, Lane>,
    pub indexes: HashMap<PartitionId, u32>,
    /// Retries in this broker's hands, and those of them that wait to be dealt.
    pub retries: HashMap<Key, Retry>,
    pub ready: VecDeque<Key>,
    /// When retries that this pool wrote fall due.
    pub due: BTreeSet<u64>,
    /// What the group's filter lets through.
    pub sieve: Sieve,
    pub gathered: Gathered,
    /// Who waits for the write that is under way.
    pub asked: Vec<Waiting>,
    pub writing: bool,
    /// Not to be written again before this time.
    pub write_at_ms: u64,
    pub claiming: bool,
    pub taking: bool,
    pub looks: Looks,
    /// Where keys are in order: partitions are being asked for, and when that was last.
    pub dispatching: bool,
    pub dispatched_ms: u64,
    pub polled_ms: u64,
    pub dealt_ms: u64,
    pub paused: bool,
    pub snapshot: Option<Arc<GroupSnapshot>>,
    pub work: FuturesUnordered<BoxFuture<'static, Done>>,
}

pub(super) fn now_ms() -> u64 {
    since_boot().as_millis() as u64
}

impl PoolTask {
    pub fn new(parts: Deliveries, group: Arc<ConsumerGroup>, broker: Uuid, inbox: mpsc::Receiver<Message>) -> Self {
        let holder = Holder { organization: group.organization, group: group.id, holder: Uuid::new_v4(), broker };
        Self {
            watch: parts.groups.watch(group.id),
            desk: Desk::new(group.ack_timeout_ms.unsigned_abs()),
            parts,
            group,
            holder,
            inbox,
            waker: Waker::default(),
            members: HashMap::new(),
            turn: SeatId(0),
            lane_turn: 0,
            doubtful: false,
            lanes: BTreeMap::new(),
            indexes: HashMap::new(),
            retries: HashMap::new(),
            ready: VecDeque::new(),
            due: BTreeSet::new(),
            sieve: Sieve::default(),
            gathered: Gathered::default(),
            asked: Vec::new(),
            writing: false,
            write_at_ms: 0,
            claiming: false,
            taking: false,
            looks: Looks::default(),
            dispatching: false,
            dispatched_ms: 0,
            polled_ms: 0,
            dealt_ms: 0,
            paused: false,
            snapshot: None,
            work: FuturesUnordered::new(),
        }
    }

    pub async fn run(mut self, pools: &Pools, key: PoolKey) -> Result<()> {
        let mut view = self.watch.view().clone();
        view.mark_changed();
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            self.write();
            self.ask_what_is_held();
            self.deal();
            let (waker, rest) = (self.waker.clone(), self.rest_ms());
            tokio::select! {
                message = self.inbox.recv() => match message {
                    Some(message) => self.take(message),
                    None => return Ok(()),
                },
                Some(done) = self.work.next(), if !self.work.is_empty() => self.finish(done),
                changed = view.changed() => match changed {
                    Ok(()) => { let now = view.borrow_and_update().clone(); self.look_at(now) }
                    // The broker goes down; the sweep frees what is held.
                    Err(_) => return Ok(()),
                },
                () = waker.notified() => {}
                () = tokio::time::sleep(Duration::from_millis(rest.unwrap_or_default())), if rest.is_some() => {}
                _ = ticks.tick() => self.tick(),
            }
            if self.desk.is_empty() && self.give_everything_back() && pools.close(key, &mut self.inbox) {
                return Ok(());
            }
        }
    }

    /// How long until something that rests may go on.
    fn rest_ms(&self) -> Option<u64> {
        let now = now_ms();
        let write = (!self.writing && !self.gathered.is_empty()).then_some(self.write_at_ms);
        let claim =
            (!self.claiming).then(|| self.lanes.values().map(|lane| lane.rested_ms).filter(|at| *at > now).min());
        let due = self.due.range(now + 1..).next().copied();
        let next = [write, claim.flatten(), due].into_iter().flatten().min()?;
        Some(next.saturating_sub(now).max(1))
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Sit { seat, sitting, deals } => {
                let Sitting { member, window_events, window_bytes, batch } = sitting;
                self.desk.sit(seat, member, (window_events, window_bytes));
                self.members.insert(seat, Member { deals, holds: BTreeMap::new(), batch });
                self.polled_ms = 0;
            }
            Message::Outcomes { seat, outcomes, reply } => self.settle(seat, outcomes, reply),
            Message::Holds { seat, partitions } => {
                self.indexes.extend(partitions.iter().map(|(index, id)| (*id, *index)));
                if let Some(member) = self.members.get_mut(&seat) {
                    member.holds = partitions;
                }
                self.polled_ms = 0;
            }
            Message::Ask { partition, offset, reply } => {
                let mut known = self.desk.known(partition, offset);
                if let Some(lane) = self.lanes.get(&partition) {
                    (known.behind, known.full) = lane.held_up(offset);
                }
                // Who asked may have gone.
                let _ = reply.send(known);
            }
            Message::Leave { seat, going } => self.leave(seat, going),
        }
    }

    fn leave(&mut self, seat: SeatId, going: Going) {
        self.members.remove(&seat);
        let member = self.desk.member(seat);
        let (flushed, queued) = self.desk.leave(seat, now_ms());
        queued.iter().for_each(|taken| self.put_back(taken));
        match (going, member) {
            (Going::Lost, Some(member)) => {
                let why = Why::new("the member's stream ended without a leave", "stream_lost");
                let failing = Failing { cause: Cause::StreamLost, why, member };
                for taken in &flushed {
                    self.fail(taken, &failing);
                }
            }
            _ => flushed.iter().for_each(|taken| self.put_back(taken)),
        }
    }

    /// Events that nobody settled wait to be dealt again, uncounted.
    pub(super) fn put_back(&mut self, taken: &Taken) {
        match taken.origin {
            Origin::Claim { from } => {
                if let Some(lane) = self.lanes.get_mut(&taken.partition) {
                    lane.returned(from, taken.fence, &taken.offsets);
                }
            }
            Origin::Retry { .. } => {
                let offset = taken.offsets.first().map_or(0, |range| range.start);
                let Some(partition) = self.id_of(taken.partition) else { return };
                let key = Key { partition, offset, lease_epoch: taken.fence.lease_epoch };
                if self.retries.contains_key(&key) {
                    self.ready.push_front(key);
                }
            }
        }
    }

    pub(super) fn lane_of(&self, partition: PartitionId) -> Option<&Lane> {
        self.lanes.get(self.indexes.get(&partition)?)
    }

    pub(super) fn lane_mut(&mut self, partition: PartitionId) -> Option<&mut Lane> {
        self.lanes.get_mut(self.indexes.get(&partition)?)
    }

    pub(super) fn id_of(&self, index: u32) -> Option<PartitionId> {
        let known = self.indexes.iter().find(|(_, known)| **known == index).map(|(id, _)| *id);
        self.lanes.get(&index).map(|lane| lane.id).or(known)
    }

    fn settle(&mut self, seat: SeatId, outcomes: Vec<EventOutcome>, reply: oneshot::Sender<Vec<OutcomeFailure>>) {
        let now = now_ms();
        let member = self.desk.member(seat).unwrap_or_else(|| "".into());
        let (mut failures, mut parts) = (Vec::new(), Vec::new());
        for outcome in outcomes {
            let (partition, fence) = (outcome.partition, outcome.fence);
            let refused = if let Verdict::Extend { by } = &outcome.verdict {
                let by = by.map_or(self.group.ack_timeout_ms.unsigned_abs(), |by| by.as_millis() as u64);
                self.desk.extend(seat, &outcome, now + by)
            } else {
                let (taken, refused) = self.desk.settle(seat, &outcome, now);
                for taken in taken {
                    let which = match failing(&outcome.verdict, &member) {
                        None => self.ack(&taken),
                        Some(failing) => self.fail(&taken, &failing),
                    };
                    parts.extend(which.map(|which| Part { which, partition, fence, offsets: taken.offsets }));
                }
                refused
            };
            let failure = |(offsets, error)| OutcomeFailure { partition, fence, offsets, error };
            failures.extend(refused.into_iter().map(failure));
        }
        if parts.is_empty() {
            // Nothing to be written: extensions, and what was refused.
            let _ = reply.send(failures);
            return;
        }
        self.gathered.wait(Waiting { reply, failures, parts, since_ms: now });
    }

    fn ack(&mut self, taken: &Taken) -> Option<gathered::Which> {
        let id = self.id_of(taken.partition)?;
        self.done_in_order(taken);
        Some(self.gathered.ack(id, taken))
    }

    fn fail(&mut self, taken: &Taken, failing: &Failing) -> Option<gathered::Which> {
        let id = self.id_of(taken.partition)?;
        metrics::get().failed_attempts.increment(taken.offsets.len());
        let (which, fates) = self.gathered.fail(id, taken, failing, &self.group.retry);
        let now = now_ms();
        self.due.extend(fates.iter().filter_map(|(_, delay)| Some(now + (*delay)?.unsigned_abs())));
        self.settled_in_order(taken, &fates);
        Some(which)
    }

    fn finish(&mut self, done: Done) {
        match done {
            Done::Claimed { asked, claims } => self.claimed(asked, claims),
            Done::Read { partition, from, page } => self.turn_page(partition, from, page),
            Done::Took { look, retries } => self.took(look, retries),
            Done::Wrote { settlement, written, began_ms } => self.wrote(&settlement, &written, began_ms),
            Done::Held { known, held } => self.compare(&known, held),
            Done::Dispatched { answer } => self.dispatched(answer),
            Done::Loaded { partition, epoch, rows } => self.loaded(partition, epoch, rows),
            Done::LetGone { partition } => self.let_gone(partition),
            Done::AllGone => self.dispatching = false,
            Done::Nothing => {}
        }
    }

    fn tick(&mut self) {
        let now = now_ms();
        let lost: Vec<SeatId> =
            self.members.iter().filter(|(_, member)| member.deals.is_closed()).map(|(seat, _)| *seat).collect();
        // Who left in order has said so before its seat closed: that counts, although it is read only now.
        while !lost.is_empty()
            && let Ok(message) = self.inbox.try_recv()
        {
            self.take(message);
        }
        lost.into_iter().for_each(|seat| self.leave(seat, Going::Lost));
        if self.desk.has_flights() {
            for (member, taken) in self.desk.expire(now) {
                let why = Why::new(format!("no outcome within {} ms", taken.held_ms), "deadline");
                let failing = Failing { cause: Cause::Expired, why, member };
                self.fail(&taken, &failing);
            }
        }
        let late = now.saturating_sub(UNKNOWN_AFTER_MS);
        self.gathered.give_up_before(late, UNKNOWN_AFTER_MS / 1_000);
        for waiting in self.asked.extract_if(.., |waiting| waiting.since_ms < late) {
            waiting.give_up(UNKNOWN_AFTER_MS / 1_000);
        }
        self.hand_back_idle(now);
        self.end_settled(now);
        self.ask_for_partitions(now);
    }

    fn turn_page(&mut self, partition: u32, from: i64, page: Result<Option<Page>>) {
        let Some(lane) = self.lanes.get_mut(&partition) else { return };
        lane.reading = false;
        let page = match page {
            Ok(page) => page,
            Err(error) if error.reason() == Reason::DataLoss => return self.end_all(&error),
            Err(error) => {
                tracing::debug!(?error, partition, "the log could not be read; trying again");
                return;
            }
        };
        match lane.source.turn(from, page) {
            // A cut log has another epoch: its snapshot is on its way.
            Turn::Going | Turn::Gone | Turn::Cut { .. } => {}
            Turn::Truncated { floor } => {
                for (key, gone) in lane.cut_below(floor) {
                    self.gathered.done(key, &gone);
                }
                for member in self.members.values() {
                    let told = Frame::Truncated { partition, from, to: floor, resumed: true };
                    let _ = member.deals.try_send(Ok(told));
                }
            }
        }
    }

    /// No member can go on.
    fn end_all(&mut self, error: &Error) {
        for member in self.members.values() {
            let _ = member.deals.try_send(Err(error.clone()));
        }
    }

    /// The broker's lease was swept: whoever is here must come again.
    pub(super) fn is_fenced(&self) -> bool {
        self.parts.trust.incarnation() != self.holder.broker
    }

    pub(super) fn fenced(&mut self) {
        self.end_all(&session_expired());
    }
}

/// Why events fail, by a member's word; None: they do not.
fn failing(verdict: &Verdict, member: &Arc<str>) -> Option<Failing> {
    let member = member.clone();
    match verdict {
        Verdict::Nack { why, delay_ms } => {
            Some(Failing { cause: Cause::Nack { delay_ms: *delay_ms }, why: why.clone(), member })
        }
        Verdict::DeadLetter { why } => Some(Failing { cause: Cause::GivenUp, why: why.clone(), member }),
        Verdict::Ack | Verdict::Extend { .. } => None,
    }
}
