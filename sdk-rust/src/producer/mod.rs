//! Publishing single events, which the producer batches by itself.
//!
//! ```no_run
//! # async fn run(client: eventflow::Client) -> eventflow::Result<()> {
//! use eventflow::Event;
//!
//! let producer = client.producer("orders").build().await?;
//! for total in 0..1_000 {
//!     // Waits only when 32 MiB are on their way. The receipt may be dropped: `close` tells of failures.
//!     producer.send(Event::new(format!("{total}")).with_key("customer-7")).await?;
//! }
//! producer.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # From `send` to receipt
//!
//! `send` encodes the event into the `intake`, by partition. The `sender`, one task for all producers that a client has for a
//! stream (they meet at the `hub`), moves what has gathered to the partition's `sequencer`, which gives it its numbers, and on
//! to a `PublishStream`. Answers settle whole `parcel`s, which wakes the receipts.
//!
//! **Invariant:** events of one partition are appended in the order of their `send`s, each at most once, through any
//! sequence of refusals, lost connections and brokers.

mod builder;
mod conditional;
mod hub;
mod intake;
mod lanes;
mod parcel;
mod receipt;
mod request;
mod reroute;
mod sender;
mod sequencer;
#[cfg(test)]
mod sequencer_model;
mod source;
mod validate;
mod verdict;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use eventflow_proto::v1;
use prost::{Message, encoding::encoded_len_varint};
use tokio::{
    sync::{Notify, Semaphore, TryAcquireError},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

pub use builder::ProducerBuilder;
pub(crate) use conditional::{publish_expecting, publish_expecting_last};
pub(crate) use hub::Hub;
pub use receipt::Receipt;

use crate::{
    convert::event_to_wire,
    error::{Applied, Error, ErrorKind, Result, reason},
    event::Event,
    producer::{
        intake::{Intake, Sizes},
        parcel::Parcel,
    },
};

/// Memory of an event beside its bytes.
const EVENT_OVERHEAD: usize = 16;

/// Publishes events to one stream. Cheap to clone; clones share everything.
///
/// Idempotent: an event is appended once, whatever connections break. Events of one key are appended in the order of their
/// `send`s. Dropping the last clone stops at once and fails what is still on its way; [`Producer::close`] drains.
#[derive(Clone)]
pub struct Producer(Arc<Handle>);

/// Stops the sender when the last clone goes.
struct Handle {
    shared: Arc<Shared>,
    stop: CancellationToken,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.cancel();
        self.shared.tell();
    }
}

/// What senders of events and the sending task share.
struct Shared {
    stream: Arc<str>,
    sizes: Sizes,
    max_event_bytes: usize,
    intake: Mutex<Intake>,
    /// Bytes of events that may still be taken.
    memory: Semaphore,
    hub: Arc<Hub>,
    /// Number at the hub.
    id: u64,
    /// The sender knows that there is something to look at.
    is_told: AtomicBool,
    /// The fate of some events has become known.
    settled: Notify,
}

impl Shared {
    fn intake(&self) -> MutexGuard<'_, Intake> {
        self.intake.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the sender that there is something to look at.
    fn tell(&self) {
        if !self.is_told.swap(true, Ordering::SeqCst) {
            self.hub.tell(self.id);
        }
    }

    fn give_back(&self, parcel: &Parcel) {
        self.memory.add_permits(parcel.body.len() + parcel.len() * EVENT_OVERHEAD);
    }

    /// No more events are taken.
    fn end(&self, error: &Error) {
        self.intake().ended.get_or_insert_with(|| error.clone());
        self.memory.close();
        self.settled.notify_waiters();
    }

    fn ended(&self) -> Error {
        self.intake().ended.clone().unwrap_or_else(|| Error::closed("producer"))
    }
}

/// An event that may be taken, and what it costs.
struct Prepared {
    event: v1::Event,
    partition: Option<u32>,
    len: usize,
    cost: u32,
}

impl Producer {
    /// Takes an event to be published; waits only while the producer's memory is full.
    ///
    /// The event is on its way when this returns; the receipt tells where it stands once it is durable.
    ///
    /// # Errors
    /// `EVENT_TOO_LARGE`, `INVALID_ARGUMENT` for an event that no broker would take; `PARTITION_OUT_OF_RANGE` for a partition
    /// that the stream does not have (the producer learns of added partitions with the next event that a broker refuses
    /// because of them, so build another producer to use them at once); `PRODUCER_MEMORY_FULL` when nothing
    /// could be sent for the whole delivery timeout; `CLOSED`; `PRODUCER_FENCED`. Nothing was applied then.
    pub async fn send(&self, event: Event) -> Result<Receipt> {
        let shared = &self.0.shared;
        let prepared = self.prepare(event)?;
        match shared.memory.try_acquire_many(prepared.cost) {
            Ok(permit) => permit.forget(),
            Err(TryAcquireError::Closed) => return Err(shared.ended()),
            Err(TryAcquireError::NoPermits) => {
                let limit = shared.sizes.delivery_timeout;
                match timeout(limit, shared.memory.acquire_many(prepared.cost)).await {
                    Ok(Ok(permit)) => permit.forget(),
                    Ok(Err(_)) => return Err(shared.ended()),
                    Err(_) => return Err(memory_full(limit)),
                }
            }
        }
        self.push(prepared)
    }

    /// As [`Producer::send`], but never waits.
    ///
    /// # Errors
    /// Besides those of `send`, `PRODUCER_MEMORY_FULL` at once.
    pub fn try_send(&self, event: Event) -> Result<Receipt> {
        let shared = &self.0.shared;
        let prepared = self.prepare(event)?;
        match shared.memory.try_acquire_many(prepared.cost) {
            Ok(permit) => permit.forget(),
            Err(TryAcquireError::Closed) => return Err(shared.ended()),
            Err(TryAcquireError::NoPermits) => return Err(memory_full(Duration::ZERO)),
        }
        self.push(prepared)
    }

    fn prepare(&self, event: Event) -> Result<Prepared> {
        validate::validate(&event, self.0.shared.max_event_bytes)?;
        let partition = event.partition;
        let event = event_to_wire(event);
        let len = event.encoded_len();
        let field = 1 + encoded_len_varint(len as u64) + len;
        Ok(Prepared { event, partition, len, cost: (field + EVENT_OVERHEAD) as u32 })
    }

    fn push(&self, prepared: Prepared) -> Result<Receipt> {
        let shared = &self.0.shared;
        let pushed = shared.intake().push(&prepared.event, prepared.len, prepared.partition);
        match pushed {
            Ok((receipt, wake)) => {
                if wake {
                    shared.tell();
                }
                Ok(receipt)
            }
            Err(error) => {
                shared.memory.add_permits(prepared.cost as usize);
                Err(error)
            }
        }
    }

    /// Waits until everything that was sent before is durable or has failed.
    ///
    /// # Errors
    /// The first failure of an event since the last flush. What became of each event is in its receipt.
    pub async fn flush(&self) -> Result<()> {
        let shared = &self.0.shared;
        let mark = shared.intake().mark();
        loop {
            let settled = shared.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            {
                let mut intake = shared.intake();
                if intake.is_settled_below(mark) {
                    return intake.failure.take().map_or(Ok(()), Err);
                }
            }
            settled.await;
        }
    }

    /// Takes no more events, from any clone, waits as [`Producer::flush`] does, and ends.
    ///
    /// # Errors
    /// As [`Producer::flush`].
    pub async fn close(self) -> Result<()> {
        self.0.shared.intake().ended.get_or_insert_with(|| Error::closed("producer"));
        let flushed = self.flush().await;
        self.0.stop.cancel();
        self.0.shared.tell();
        flushed
    }

    /// Name of the stream.
    pub fn stream(&self) -> &str {
        &self.0.shared.stream
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("stream", &self.stream()).finish_non_exhaustive()
    }
}

fn memory_full(waited: Duration) -> Error {
    let message = format!(
        "the producer's memory has been full for {:.0} s; raise `memory_bytes`, or send less",
        waited.as_secs_f64()
    );
    Error::new(ErrorKind::ResourceExhausted, reason::PRODUCER_MEMORY_FULL, message).with_applied(Applied::No)
}
