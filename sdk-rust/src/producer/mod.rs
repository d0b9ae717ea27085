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

mod builder;
mod receipt;

pub use builder::ProducerBuilder;
pub use receipt::Receipt;

use crate::{
    error::{Error, Result},
    event::Event,
};

/// Publishes events to one stream. Cheap to clone; clones share everything.
///
/// Idempotent: an event is appended once, whatever connections break. Events of one key are appended in the order of their
/// `send`s. Dropping the last clone stops at once and fails what is still on its way; [`Producer::close`] drains.
#[derive(Clone)]
pub struct Producer {}

impl Producer {
    /// Takes an event to be published; waits only while the producer's memory is full.
    ///
    /// The event is on its way when this returns; the receipt tells where it stands once it is durable.
    ///
    /// # Errors
    /// `EVENT_TOO_LARGE`, `INVALID_ARGUMENT` for an event that no broker would take; `PRODUCER_MEMORY_FULL` when nothing
    /// could be sent for the whole delivery timeout; `CLOSED`; `PRODUCER_FENCED`.
    pub async fn send(&self, event: Event) -> Result<Receipt> {
        drop(event);
        Err(Error::closed("producer"))
    }

    /// As [`Producer::send`], but never waits.
    ///
    /// # Errors
    /// Besides those of `send`, `PRODUCER_MEMORY_FULL` at once.
    pub fn try_send(&self, event: Event) -> Result<Receipt> {
        drop(event);
        Err(Error::closed("producer"))
    }

    /// Waits until everything that was sent before is durable or has failed.
    ///
    /// # Errors
    /// The first failure of an event since the last flush. What became of each event is in its receipt.
    pub async fn flush(&self) -> Result<()> {
        Err(Error::closed("producer"))
    }

    /// Takes no more events, waits as [`Producer::flush`] does, and ends.
    ///
    /// # Errors
    /// As [`Producer::flush`].
    pub async fn close(self) -> Result<()> {
        Err(Error::closed("producer"))
    }
}
