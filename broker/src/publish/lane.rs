//! A lane: one task, one connection, group commit.
//!
//! Who is authoritative: the append function, under the partition's lock. The lane only gathers, sends, and interprets.
//!
//! - A partition always uses the same lane of a broker, so its submissions keep their order.
//! - The lane flushes at once when idle; what arrives meanwhile goes into the next flush. There is no linger.
//! - Submissions with idempotency keys or conditions, and what is for the same partitions, go by the second connection, to a
//!   function of their own.
//! - A partition whose lock somebody else holds goes into a call of its own on a second connection, and is parked meanwhile.
//! - A connection lost during a call leaves the outcome unknown: the same call is made again, waits on the same lock, and is
//!   decisive, because every run carries a producer (the lane's own for events that have none).
//! - A paused lane holds no lock: one call is one transaction.
//! - It ends when every handle is gone and everything submitted has its answer.

use crate::domain::event::{Batch, Event};
use crate::domain::ids::PartitionId;
use crate::domain::{Applied, Error, Reason};
use crate::publish::chain::Chain;
use crate::publish::flush::{Flush, FlushEnd};
use crate::publish::line::Line;
use crate::publish::plan::{LaneProducer, Work};
use crate::publish::queue::FairQueue;
use crate::publish::settle::settle;
use crate::store::Store;
use crate::store::epoch::LogEpochs;
use crate::tail::Tail;
use std::collections::{HashSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// Bytes of one flush: enough for the database to be efficient, small enough that the next one need not wait long.
const FLUSH_BYTES: usize = 3 * 1024 * 1024;
/// Submissions of one flush.
const FLUSH_SUBMISSIONS: usize = 4_096;
/// Submissions waiting for a lane; what comes then waits in its sender.
const QUEUE: usize = 4_096;

/// Where the events of a submission stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Appended {
    /// (first offset, count), in order of the events; one entry unless an earlier append had cut them differently.
    pub ranges: Vec<(i64, i32)>,
    pub appended_at_us: i64,
    /// The offsets are those of an earlier append, of the same sequence or of the same idempotency keys.
    pub duplicate: bool,
    /// When only some had been appended before: which, by their place, ascending.
    pub known: Vec<u32>,
}

/// What the sender of a submission hears.
#[derive(Debug)]
pub enum Reply {
    Appended(Appended),
    Refused(Error),
    /// The broker had chosen the partition by what it remembered of the stream, and that is over. Nothing was applied; the
    /// events come back to be routed again.
    Misrouted(Vec<Event>),
}

/// Who chose the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoutedBy {
    Client,
    Broker,
}

/// A submission with what it needs to be answered.
#[derive(Debug)]
pub struct Submission {
    pub work: Work,
    pub reply: oneshot::Sender<Reply>,
    pub routed_by: RoutedBy,
    /// Room in the broker's memory, given back with the answer.
    pub permit: Option<OwnedSemaphorePermit>,
    /// The publish stream that it came by.
    pub chain: Option<Chain>,
    /// It was refused before it came here, and only takes its place in the order of its publish stream.
    pub refusal: Option<Error>,
}

impl AsRef<Work> for Submission {
    fn as_ref(&self) -> &Work {
        &self.work
    }
}

impl Submission {
    /// Answers with a refusal, and refuses what comes behind it on the same publish stream.
    pub fn refuse(self, error: Error) {
        if let Some(chain) = &self.chain {
            chain.block(&self.work);
        }
        // A caller that has gone away does not need its answer.
        let _ = self.reply.send(Reply::Refused(error));
    }

    /// Answers that the stream is another one by now. What the client routed is refused; what the broker routed goes back, and
    /// blocks nothing: it keeps its place in the order by being routed again before anything newer.
    pub fn misroute(self, error: Error) {
        match self.routed_by {
            RoutedBy::Client => self.refuse(error),
            // A caller that has gone away does not need its answer.
            RoutedBy::Broker => drop(self.reply.send(Reply::Misrouted(self.work.events))),
        }
    }
}

/// The way to a lane. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LaneHandle {
    sender: mpsc::Sender<Submission>,
}

impl LaneHandle {
    /// Queues a submission; waits while the lane has too many. The order of calls is the order of events.
    pub async fn submit(&self, submission: Submission) {
        if let Err(mpsc::error::SendError(submission)) = self.sender.send(submission).await {
            submission.refuse(
                Error::new(Reason::BrokerDraining, "the broker is shutting down; nothing was applied")
                    .applied(Applied::No)
                    .retry_after(std::time::Duration::from_millis(100)),
            );
        }
    }
}

/// What a lane works with.
#[derive(Clone)]
pub struct LaneParts {
    pub store: Store,
    pub epochs: LogEpochs,
    pub tail: Tail,
}

/// Makes a lane, ready for its first publish: the handle, and the future that the runtime spawns.
pub async fn lane(index: usize, parts: LaneParts) -> (LaneHandle, impl Future<Output = crate::domain::Result<()>>) {
    let (sender, receiver) = mpsc::channel(QUEUE);
    let mut main = Line::new(format!("lane {index}"), parts.clone());
    main.warm().await;
    let state = Lane {
        receiver,
        open: true,
        queue: FairQueue::default(),
        producer: LaneProducer::default(),
        aside: Vec::new(),
        waiting: VecDeque::new(),
        main: Some(main),
        side: Some(Line::new(format!("lane {index} side"), parts.clone())),
        parts,
    };
    (LaneHandle { sender }, state.run())
}

type Call = Pin<Box<dyn Future<Output = (Line, Flush, FlushEnd)> + Send>>;

struct Lane {
    parts: LaneParts,
    receiver: mpsc::Receiver<Submission>,
    open: bool,
    queue: FairQueue<Submission>,
    producer: LaneProducer,
    /// Partitions of the call on the second connection.
    aside: Vec<PartitionId>,
    /// Calls for the second connection: what must not stall the others. Planned when their turn comes, because those before them
    /// use up numbers of the lane's producer.
    waiting: VecDeque<Vec<Submission>>,
    main: Option<Line>,
    side: Option<Line>,
}

impl Lane {
    async fn run(mut self) -> crate::domain::Result<()> {
        let mut main: Option<Call> = None;
        let mut side: Option<Call> = None;
        loop {
            self.start(&mut main, &mut side);
            if main.is_none() && side.is_none() && !self.open {
                return Ok(());
            }
            tokio::select! {
                biased;
                end = finish(&mut main) => self.main = Some(self.settle(end)),
                end = finish(&mut side) => {
                    self.aside.clear();
                    self.side = Some(self.settle(end));
                }
                received = self.receiver.recv(), if self.open => match received {
                    Some(submission) => self.queue.push(submission),
                    None => self.open = false,
                },
            }
            while let Ok(submission) = self.receiver.try_recv() {
                self.queue.push(submission);
            }
        }
    }

    /// Starts what can be started on the two connections.
    fn start(&mut self, main: &mut Option<Call>, side: &mut Option<Call>) {
        loop {
            self.start_main(main);
            if !self.start_side(side) {
                return;
            }
        }
    }

    fn start_main(&mut self, main: &mut Option<Call>) {
        while main.is_none() && !self.queue.is_empty() {
            let taken = self.queue.take(FLUSH_BYTES, FLUSH_SUBMISSIONS, &self.parked());
            if taken.is_empty() {
                // Only parked partitions wait: their call's end goes on with them.
                break;
            }
            let (taken, with_terms) = apart(in_order(taken));
            if !with_terms.is_empty() {
                // They go to a function of their own, so that nobody without terms pays for them.
                self.waiting.push_back(with_terms);
            }
            let (flush, deferred) = Flush::plan(taken, &self.producer);
            self.queue.push_front(deferred);
            if !flush.is_empty()
                && let Some(line) = self.main.take()
            {
                let wait = flush.partitions().nth(1).is_none();
                *main = Some(Box::pin(line.call(flush, wait)));
            }
        }
    }

    /// True: partitions are parked no longer, because all that waited for a call was refused without one. No call's end will go on
    /// with what is queued for them.
    fn start_side(&mut self, side: &mut Option<Call>) -> bool {
        let mut freed = false;
        while side.is_none()
            && let Some(submissions) = self.waiting.pop_front()
        {
            // Something before them may have been refused since they were put here.
            let (flush, deferred) = Flush::plan(in_order(submissions), &self.producer);
            if !deferred.is_empty() {
                self.waiting.push_front(deferred);
            }
            if flush.is_empty() {
                freed = true;
            } else if let Some(line) = self.side.take() {
                self.aside = flush.partitions().collect();
                *side = Some(Box::pin(line.call(flush, true)));
            }
        }
        freed
    }

    /// Answers what is decided, puts back what is not, and hands what was appended to the tail.
    fn settle(&mut self, (line, flush, end): (Line, Flush, FlushEnd)) -> Line {
        let settled = settle(flush, end, &mut self.producer);
        for (partition, batches) in settled.appended {
            self.publish_to_tail(partition, batches);
        }
        settled.stale.iter().for_each(|partition| self.parts.tail.stale(*partition));
        // Halves of a refused call come before what stood behind it.
        settled.apart.into_iter().rev().for_each(|submissions| self.waiting.push_front(submissions));
        // What goes again comes before what was deferred behind it, wherever that waits.
        let waiting: HashSet<PartitionId> = self.waiting.iter().flatten().map(|waits| waits.work.partition).collect();
        let (ahead, again): (Vec<_>, Vec<_>) =
            settled.again.into_iter().partition(|again| waiting.contains(&again.work.partition));
        if !ahead.is_empty() {
            self.waiting.push_front(ahead);
        }
        self.queue.push_front(again);
        line
    }

    /// Partitions whose calls on the second connection are not over: what is newer waits for them.
    fn parked(&self) -> HashSet<PartitionId> {
        let waiting = self.waiting.iter().flatten().map(|submission| submission.work.partition);
        waiting.chain(self.aside.iter().copied()).collect()
    }

    fn publish_to_tail(&self, partition: PartitionId, batches: Vec<Batch>) {
        for batch in batches {
            self.parts.tail.appended(partition, batch);
        }
    }
}

/// Takes apart what is for partitions with keys or conditions: all of it, so that it keeps its order.
fn apart(submissions: Vec<Submission>) -> (Vec<Submission>, Vec<Submission>) {
    let with_terms = submissions.iter().filter(|submission| submission.work.terms.is_some());
    let partitions: HashSet<PartitionId> = with_terms.map(|submission| submission.work.partition).collect();
    if partitions.is_empty() {
        return (submissions, Vec::new());
    }
    submissions.into_iter().partition(|submission| !partitions.contains(&submission.work.partition))
}

async fn finish(call: &mut Option<Call>) -> (Line, Flush, FlushEnd) {
    match call {
        Some(running) => {
            let end = running.await;
            *call = None;
            end
        }
        None => std::future::pending().await,
    }
}

/// Keeps the order of publish streams: what was refused takes effect here, and what stands behind a refusal is refused too.
fn in_order(submissions: Vec<Submission>) -> Vec<Submission> {
    let mut kept = Vec::with_capacity(submissions.len());
    for mut submission in submissions {
        let refusal = match (submission.refusal.take(), &submission.chain) {
            (Some(refusal), _) => Some(refusal),
            (None, Some(chain)) => chain.admit(&submission.work).err(),
            (None, None) => None,
        };
        match refusal {
            Some(error) => submission.refuse(error),
            None => kept.push(submission),
        }
    }
    kept
}
