//! Rules carried out on one delivery.

use crate::catalogue::Catalogue;
use crate::delivery::control::{Control, EventOutcome, PartitionCommit, Verdict};
use crate::delivery::frame::Delivery;
use crate::domain::ids::{OrganizationId, PartitionId, StreamName};
use crate::domain::limits::{ERROR_CLASS_BYTES_MAX, REASON_BYTES_MAX};
use crate::domain::position::Fence;
use crate::domain::retry::Why;
use crate::domain::rule::apply::{Copy, Processed, Source};
use crate::domain::stream::Stream;
use crate::domain::{Error, Reason};
use crate::rules::chain::Chain;
use crate::rules::copies::{Copier, Earlier};
use crate::rules::counts::Counts;
use crate::rules::place::Job;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// Events that are looked at before others get their turn.
const SLICE: usize = 64;
/// What will not change by itself is tried so often, and so soon again.
const HOPELESS_ATTEMPTS: u32 = 3;
const HOPELESS_DELAY_MS: i64 = 100;
/// Between looks for a partition that was just added.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// What a member works with.
pub(super) struct Work {
    pub organization: OrganizationId,
    pub stream: StreamName,
    pub partitions: Arc<Stream>,
    pub catalogue: Catalogue,
    pub chain: watch::Receiver<Chain>,
    pub copier: Copier,
    pub counts: Counts,
    pub control: mpsc::Sender<Control>,
    /// An event that fails is tried again where it stands.
    pub blocks: bool,
}

/// A job that has ended.
pub(super) struct Finished {
    pub partition: u32,
    /// Whose it was.
    pub off: CancellationToken,
    /// Nothing more of the partition until the session says where it goes on.
    pub halted: bool,
}

/// Why an event failed.
struct Blame {
    /// Index of the rule.
    rule: usize,
    class: String,
    reason: String,
    /// It will not change by itself.
    hopeless: bool,
}

/// How far work came.
enum Progress {
    /// So many events are done.
    Done(usize),
    /// So many are done, and the next one failed.
    Failed(usize, Blame),
    /// It was called off.
    Off,
}

impl Work {
    /// Carries out the rules on a job. True: the partition is halted.
    pub async fn carry_out(&self, job: Job, earlier: Earlier, off: &CancellationToken) -> bool {
        let (delivery, attempt) = match &job {
            Job::Batch(delivery) => (delivery, 1),
            Job::Again(again) => (&again.delivery, again.attempt),
        };
        let chain = self.chain.borrow().clone();
        let indexes: Vec<usize> = delivery.ranges().into_iter().flatten().collect();
        let mut at = 0;
        while at < indexes.len() && !chain.is_idle() {
            let Some(processed) = self.look(&chain, delivery, &indexes[at..], off).await else { return true };
            let progress = self.copy(&chain, &processed, earlier, off).await;
            let (done, blame) = match progress {
                Progress::Off => return true,
                Progress::Done(done) => (done, None),
                Progress::Failed(done, blame) => (done, Some(blame)),
            };
            self.counts.done(self.organization, chain.rules(), &processed[..done]);
            at += done;
            let Some(blame) = blame else { continue };
            let offset = delivery.batch.base_offset + indexes[at] as i64;
            if matches!(job, Job::Batch(_)) {
                // Only the next event can fail.
                self.commit(delivery.partition, delivery.fence, offset).await;
            }
            let taken = self.fail(&chain, delivery, offset, attempt, blame).await;
            match &job {
                Job::Again(again) => return again.in_place && (self.blocks || !taken),
                // What is not taken is lost or moved, as the session will say.
                Job::Batch(_) if self.blocks || !taken => return true,
                Job::Batch(_) => {}
            }
            at += 1;
        }
        match &job {
            Job::Batch(_) => self.commit(delivery.partition, delivery.fence, delivery.next_offset()).await,
            Job::Again(_) => {
                self.settle(delivery, delivery.base_offset(), Verdict::Ack).await;
            }
        }
        false
    }

    /// Asks the rules about events, up to the first that fails. `None`: it was called off.
    async fn look(
        &self,
        chain: &Chain,
        delivery: &Delivery,
        indexes: &[usize],
        off: &CancellationToken,
    ) -> Option<Vec<Processed>> {
        let partition_id = self.partition(delivery.partition, off).await?;
        let mut processed = Vec::with_capacity(indexes.len());
        for slice in indexes.chunks(SLICE) {
            for index in slice {
                let source = Source {
                    stream: &self.stream,
                    partition: delivery.partition,
                    partition_id,
                    offset: delivery.batch.base_offset + *index as i64,
                    appended_at_us: delivery.batch.appended_at_us,
                    encoded: &delivery.batch.encoded,
                    index: *index,
                };
                let event = chain.apply(&source);
                let failed = event.failure.is_some();
                processed.push(event);
                if failed {
                    return Some(processed);
                }
            }
            tokio::task::yield_now().await;
        }
        Some(processed)
    }

    /// One of the stream's partitions, also of those that it got since the session began.
    async fn partition(&self, index: u32, off: &CancellationToken) -> Option<PartitionId> {
        if let Some(known) = self.partitions.partitions.get(index as usize) {
            return Some(*known);
        }
        loop {
            let stream = self.catalogue.stream_by_id(self.organization, self.partitions.id).await;
            let found = stream.ok().and_then(|stream| stream.partitions.get(index as usize).copied());
            if found.is_some() {
                return found;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                () = off.cancelled() => return None,
            }
        }
    }

    /// Makes the copies of events: all at once, and when one is refused, event by event, so that it is known which.
    async fn copy(
        &self,
        chain: &Chain,
        processed: &[Processed],
        earlier: Earlier,
        off: &CancellationToken,
    ) -> Progress {
        let failed = processed.last().and_then(|event| event.failure.as_ref());
        let done = processed.len() - usize::from(failed.is_some());
        let all: Vec<&Copy> = processed.iter().flat_map(|event| &event.copies).collect();
        match self.copier.append(&all, earlier, off).await {
            None => return Progress::Off,
            Some(Ok(())) => {
                return match failed {
                    None => Progress::Done(done),
                    Some(failure) => {
                        let reason = said_by(chain, failure.rule, &failure.reason);
                        let class = failure.class.to_owned();
                        Progress::Failed(done, Blame { rule: failure.rule, class, reason, hopeless: true })
                    }
                };
            }
            Some(Err(_)) => {}
        }
        for (index, event) in processed.iter().enumerate() {
            for copy in &event.copies {
                match self.copier.append(&[copy], Earlier::Maybe, off).await {
                    None => return Progress::Off,
                    Some(Ok(())) => {}
                    // It was made before, when the rules were others: once is enough.
                    Some(Err(error)) if error.reason() == Reason::IdempotencyKeyReused => {}
                    Some(Err(error)) => return Progress::Failed(index, blame(chain, copy, &error)),
                }
            }
            if let Some(failure) = &event.failure {
                let reason = said_by(chain, failure.rule, &failure.reason);
                let class = failure.class.to_owned();
                return Progress::Failed(index, Blame { rule: failure.rule, class, reason, hopeless: true });
            }
        }
        Progress::Done(done)
    }

    /// Says that an event failed. False: it was not taken.
    async fn fail(&self, chain: &Chain, delivery: &Delivery, offset: i64, attempt: u32, blame: Blame) -> bool {
        let Blame { rule, class, reason, hopeless } = blame;
        if let Some(rule) = chain.rules().get(rule) {
            self.counts.failed(self.organization, rule.id, &reason);
        }
        tracing::debug!(stream = %self.stream, partition = delivery.partition, offset, attempt, %reason, "a rule failed");
        let why = Why::new(cut(reason, REASON_BYTES_MAX), cut(class, ERROR_CLASS_BYTES_MAX));
        let verdict = if hopeless && attempt >= HOPELESS_ATTEMPTS {
            Verdict::DeadLetter { why }
        } else {
            Verdict::Nack { why, delay_ms: hopeless.then_some(HOPELESS_DELAY_MS) }
        };
        self.settle(delivery, offset, verdict).await
    }

    /// Progress, which is confirmed to nobody: a commit that is refused belongs to a partition that is lost or moved.
    async fn commit(&self, partition: u32, fence: Fence, next_offset: i64) {
        let commits = vec![PartitionCommit { partition, fence, next_offset }];
        let (reply, _) = oneshot::channel();
        let _ = self.control.send(Control::Commit { commits, reply }).await;
    }

    /// True: the outcome is durable.
    async fn settle(&self, delivery: &Delivery, offset: i64, verdict: Verdict) -> bool {
        let outcome =
            EventOutcome { partition: delivery.partition, fence: delivery.fence, offsets: offset..offset + 1, verdict };
        let (reply, failures) = oneshot::channel();
        if self.control.send(Control::Outcomes { outcomes: vec![outcome], reply }).await.is_err() {
            return false;
        }
        match failures.await {
            Ok(failures) => failures.is_empty(),
            Err(_) => false,
        }
    }
}

fn blame(chain: &Chain, copy: &Copy, error: &Error) -> Blame {
    let hopeless = matches!(error.reason(), Reason::SchemaViolation | Reason::EventTooLarge | Reason::InvalidArgument);
    let mut reason = said_by(chain, copy.rule, &format!("stream `{}`: {error}", copy.stream));
    if let Some(violation) = error.violations().first().filter(|_| error.reason() == Reason::SchemaViolation) {
        reason = format!("{reason} ({} {})", violation.field, violation.description);
    }
    Blame { rule: copy.rule, class: error.reason().as_str().to_owned(), reason, hopeless }
}

fn said_by(chain: &Chain, rule: usize, reason: &str) -> String {
    format!("rule `{}`: {reason}", chain.name(rule))
}

/// At most so many bytes.
fn cut(mut text: String, max: usize) -> String {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
