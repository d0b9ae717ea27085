//! Consuming a stream as a member of a group.
//!
//! ```no_run
//! # async fn run(client: eventflow::Client) -> eventflow::Result<()> {
//! use futures_util::StreamExt;
//!
//! let mut consumer = client.consumer("billing").member_name("billing-1").build().await?;
//! while let Some(record) = consumer.next().await {
//!     let record = record?;
//!     println!("{:?}", record.payload());
//!     // Asking for the next record says that this one is done: it is committed within a second.
//! }
//! consumer.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # What is committed
//!
//! By default, what the application has moved past: a record counts as done when the next one is asked for, a batch when the
//! next one is. What is only buffered, or in the application's hands, is never committed; so a process that dies gets its
//! last record again. With [`ConsumerBuilder::explicit_commit`] only [`Consumer::commit`] commits.
//!
//! # What the application does not see
//!
//! A broker that dies, restarts or goes away, and partitions that move: the consumer comes back under its name, at any
//! broker, and goes on. Where nobody else can have had a partition meanwhile, nothing that was given out comes again. Watch
//! it happen through [`Consumer::notices`].

pub(crate) mod batch;
mod buffer;
pub(crate) mod builder;
mod lease;
mod ledger;
pub(crate) mod link;
pub(crate) mod member;
mod notice;
pub(crate) mod serve;
pub(crate) mod session;

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use futures_util::Stream;
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub use batch::{Batch, Records};
pub use builder::ConsumerBuilder;
pub use notice::{Notice, Notices};

use self::{
    buffer::{Buffer, Delivery},
    lease::{Lease, State},
    member::Command,
};
use crate::{
    error::{Error, Result},
    position::Record,
};

/// A member of a consumer group: a `futures` stream of records.
///
/// It yields an error only when it cannot go on, and ends behind it: the group was deleted (`CONSUMER_GROUP_NOT_FOUND`), the
/// credential was revoked, stored data is damaged (`DATA_LOSS`), or another consumer took the member name
/// (`MEMBER_FENCED`). Dropping it commits what is done and leaves the group, in the background; [`Consumer::close`] waits
/// for that.
pub struct Consumer {
    buffer: Arc<Buffer>,
    commands: mpsc::Sender<Command>,
    /// The first receiver, which has heard everything since the start; afterwards a template for more.
    notices: Mutex<(Option<Notices>, broadcast::Receiver<Notice>)>,
    stop: CancellationToken,
    member_name: String,
    stream: Arc<str>,
    is_auto: bool,
    current: Option<Current>,
}

/// The batch that the application is going through.
struct Current {
    lease: Arc<Lease>,
    batch: Batch,
    /// Where the group stands once the application moves on.
    next_offset: i64,
    events: u64,
    bytes: u64,
}

impl Consumer {
    /// The next batch. Asking for it says that the batch before is done. `None` once the consumer has ended. Cancel-safe.
    ///
    /// # Errors
    /// Final ones only: see [`Consumer`].
    pub async fn next_batch(&mut self) -> Option<Result<Batch>> {
        poll_fn(|cx| self.poll_batch(cx)).await
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Batch>>> {
        self.move_on();
        loop {
            if let Some(current) = &mut self.current {
                let next_offset = current.batch.next_offset();
                if !current.batch.is_empty() && current.give_out(next_offset) {
                    return Poll::Ready(Some(Ok(current.batch.take_rest())));
                }
            }
            match ready!(self.poll_current(cx)) {
                Some(Ok(())) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    /// What was given out before is done.
    fn move_on(&self) {
        if let Some(current) = &self.current {
            if self.is_auto {
                current.lease.set_done(current.next_offset);
            }
            if current.lease.state() != State::Live {
                self.buffer.attention.notify_one();
            }
        }
    }

    /// Turns to the next batch that waits.
    fn poll_current(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<()>>> {
        if let Some(current) = self.current.take() {
            self.buffer.went_through(current.events, current.bytes);
        }
        Poll::Ready(match ready!(self.buffer.poll_take(cx)) {
            Some(Ok(delivery)) => {
                let current = Current::from(delivery);
                if current.batch.is_empty() {
                    current.pass_by();
                }
                self.current = Some(current);
                Some(Ok(()))
            }
            Some(Err(error)) => Some(Err(error)),
            None => None,
        })
    }

    /// Commits everything of the record's partition up to and with it. Returns once that is durable; that may take as long
    /// as a reconnect.
    ///
    /// # Errors
    /// `PARTITION_NOT_HELD`: the partition has moved on, and its events come again to whoever holds it.
    pub async fn commit(&self, record: &Record) -> Result<()> {
        self.commit_positions([(record.partition(), record.next_offset())]).await
    }

    /// Commits (partition, next offset) pairs: everything below the offset is done. Returns once that is durable.
    ///
    /// # Errors
    /// As [`Consumer::commit`]; also for an offset beyond what was given out.
    pub async fn commit_positions(&self, positions: impl IntoIterator<Item = (u32, i64)>) -> Result<()> {
        let (reply, durable) = oneshot::channel();
        let positions = positions.into_iter().collect();
        self.ask(Command::Commit { positions, reply }, durable).await
    }

    async fn ask(&self, command: Command, answer: oneshot::Receiver<Result<()>>) -> Result<()> {
        self.commands.send(command).await.map_err(|_| Error::closed("consumer"))?;
        answer.await.unwrap_or_else(|_| Err(Error::closed("consumer")))
    }

    /// What happens besides events. The first call hears everything since the start, later ones from now on.
    pub fn notices(&self) -> Notices {
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        notices.0.take().unwrap_or_else(|| Notices(notices.1.resubscribe()))
    }

    /// Name of this member, given or made up.
    pub fn member_name(&self) -> &str {
        &self.member_name
    }

    /// Name of the stream that the group reads.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Commits what is done, leaves the group, and ends. The partitions go to other members at once.
    ///
    /// The record in the application's hands is not done by that, so that closing after a failure loses nothing: commit it
    /// with [`Consumer::commit`] when it is.
    ///
    /// # Errors
    /// When the last commit could not be made; its events come again.
    pub async fn close(self) -> Result<()> {
        let (reply, left) = oneshot::channel();
        let asked = self.ask(Command::Close { reply }, left);
        tokio::select! {
            closed = asked => closed,
            // The client is being closed.
            () = self.stop.cancelled() => Ok(()),
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl From<Delivery> for Current {
    fn from(delivery: Delivery) -> Self {
        Self {
            next_offset: delivery.lease.yielded(),
            events: delivery.batch.len() as u64,
            lease: delivery.lease,
            batch: delivery.batch,
            bytes: delivery.bytes,
        }
    }
}

impl Current {
    /// Gives out everything below an offset; false when the lease may not be used any more.
    fn give_out(&mut self, next_offset: i64) -> bool {
        self.lease.set_yielded(next_offset);
        // Said first, looked at afterwards: a revocation either sees what was given out, or is seen.
        if self.lease.state() == State::Live {
            self.next_offset = next_offset;
            return true;
        }
        self.lease.set_yielded(self.next_offset);
        false
    }

    /// Moves past events that were left out, when everything before them is done.
    fn pass_by(&self) {
        if self.lease.done() == self.lease.yielded() {
            self.lease.set_yielded(self.batch.next_offset());
            self.lease.set_done(self.batch.next_offset());
        }
    }
}

impl Stream for Consumer {
    type Item = Result<Record>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.move_on();
        loop {
            if let Some(current) = &mut self.current
                && let Some(next_offset) = current.batch.next_record_end()
                && current.give_out(next_offset)
                && let Some(record) = current.batch.next_record()
            {
                return Poll::Ready(Some(Ok(record)));
            }
            match ready!(self.poll_current(cx)) {
                Some(Ok(())) => {}
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer")
            .field("member_name", &self.member_name)
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}
