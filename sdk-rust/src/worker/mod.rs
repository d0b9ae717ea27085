//! Settling events one by one: workers of a shared group, and members of an ordered one that may fail events.
//!
//! ```no_run
//! # async fn run(client: eventflow::Client) -> eventflow::Result<()> {
//! use eventflow::Failure;
//!
//! let worker = client.worker("mailer").build().await?;
//! // Sixteen at a time, until Ctrl-C: then what has begun is finished, and the rest goes to others.
//! let stop = async { drop(tokio::signal::ctrl_c().await) };
//! worker
//!     .run(16, stop, |job| async move {
//!         let address = job.key().ok_or_else(|| Failure::give_up("no address"))?;
//!         send_mail(address, job.payload()).await?;
//!         Ok(())
//!     })
//!     .await
//! # }
//! # async fn send_mail(_: &str, _: &[u8]) -> std::io::Result<()> { Ok(()) }
//! ```
//!
//! # What happens to an event
//!
//! It is acknowledged when the handler returns `Ok`. When it returns a [`Failure`], or panics, the event is tried again after
//! the group's back-off, here or elsewhere, with its [attempt number](Job::attempt) and the [last reason](Job::last_reason);
//! after the last attempt, or at once with [`Failure::give_up`], it becomes a dead letter. An event that takes longer than the
//! group's ack timeout is kept: the worker asks for more time for everything that it holds.
//!
//! In an ordered group a worker gets the next event of a partition once it has settled the one before; partitions go side by
//! side.
//!
//! # What the application does not see
//!
//! A broker that dies, restarts or goes away: the worker comes back. What it had not settled comes again, as
//! at-least-once delivery has it; what the application settles late is refused, and told to whoever waits for it.

mod builder;
mod failure;
mod job;
mod outbox;
mod queues;
mod serve;
mod shared;

use std::{future::poll_fn, sync::Arc};

use tokio::{sync::oneshot, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub use builder::WorkerBuilder;
pub use failure::Failure;
pub use job::Job;

pub(crate) use outbox::outcome as outcome_to_wire;

use self::shared::Shared;
use crate::error::{Error, Result};

/// A member that settles events one by one. Dropping it leaves the group in the background; what is not settled goes to others.
pub struct Worker {
    shared: Arc<Shared>,
    stop: CancellationToken,
    member_name: String,
    stream: Arc<str>,
    is_shared: bool,
}

impl Worker {
    /// The next event; settle it with [`Job::ack`] or [`Job::fail`]. `None` once the worker has ended. Cancel-safe.
    ///
    /// # Errors
    /// Final ones only: the group was deleted, the credential was revoked, another member took the name.
    pub async fn next(&self) -> Option<Result<Job>> {
        poll_fn(|cx| self.shared.poll_next(cx)).await
    }

    /// Handles events, at most `concurrency` at a time, until `stop` ends or the worker cannot go on. Then it takes no more,
    /// waits for the handlers, says what became of their events, and leaves the group.
    ///
    /// # Errors
    /// As [`Worker::next`]; or the last outcomes could not be written, and their events come again.
    pub async fn run<H, F>(self, concurrency: usize, stop: impl Future<Output = ()>, handler: H) -> Result<()>
    where
        H: Fn(Arc<Job>) -> F,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let mut handlers = JoinSet::new();
        let mut stop = std::pin::pin!(stop);
        let mut failed = None;
        loop {
            tokio::select! {
                () = &mut stop => break,
                Some(_) = handlers.join_next() => {}
                next = self.next(), if handlers.len() < concurrency.max(1) => match next {
                    Some(Ok(job)) => {
                        let job = Arc::new(job);
                        let work = handler(Arc::clone(&job));
                        handlers.spawn(async move {
                            let outcome = work.await;
                            job.settle(outcome.err());
                        });
                    }
                    Some(Err(error)) => {
                        failed = Some(error);
                        break;
                    }
                    None => break,
                },
            }
        }
        while handlers.join_next().await.is_some() {}
        let closed = self.close().await;
        failed.map_or(closed, Err)
    }

    /// Name of this member, given or made up.
    pub fn member_name(&self) -> &str {
        &self.member_name
    }

    /// Name of the stream that the group reads.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// True: the group is shared.
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Says what is to be said of settled events, and leaves the group. What is not settled goes to others at once, uncounted.
    ///
    /// # Errors
    /// The last outcomes could not be written; their events come again.
    pub async fn close(self) -> Result<()> {
        let (reply, left) = oneshot::channel();
        self.shared.close(reply);
        tokio::select! {
            closed = left => closed.unwrap_or_else(|_| Err(Error::closed("worker"))),
            // The client is being closed.
            () = self.stop.cancelled() => Ok(()),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("member_name", &self.member_name).finish_non_exhaustive()
    }
}
