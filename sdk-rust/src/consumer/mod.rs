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

mod builder;
mod notice;

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::Stream;

pub use builder::ConsumerBuilder;
pub use notice::{Notice, Notices};

use crate::{
    error::{Error, Result},
    position::Record,
};

/// A member of a consumer group: a `futures` stream of records.
pub struct Consumer {}

/// Consecutive records of one partition, shared and cheap.
pub struct Batch {}

impl Batch {
    /// Partition, 0-based.
    pub fn partition(&self) -> u32 {
        0
    }

    /// Number of records; at least one.
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> usize {
        0
    }
}

impl IntoIterator for Batch {
    type Item = Record;
    type IntoIter = std::vec::IntoIter<Record>;

    fn into_iter(self) -> Self::IntoIter {
        Vec::new().into_iter()
    }
}

impl Consumer {
    /// The next batch. Asking for it says that the batch before is done. `None` once the consumer is closed.
    ///
    /// # Errors
    /// Final ones only: see [`Consumer`].
    pub async fn next_batch(&mut self) -> Option<Result<Batch>> {
        None
    }

    /// Commits everything of the record's partition up to and with it. Returns once that is durable.
    ///
    /// # Errors
    /// `PARTITION_NOT_HELD`: the partition has moved on, and its events come again to whoever holds it.
    pub async fn commit(&self, record: &Record) -> Result<()> {
        self.commit_positions([(record.partition(), record.next_offset())])
            .await
    }

    /// Commits (partition, next offset) pairs: everything below the offset is done. Returns once that is durable.
    ///
    /// # Errors
    /// As [`Consumer::commit`].
    pub async fn commit_positions(
        &self,
        positions: impl IntoIterator<Item = (u32, i64)>,
    ) -> Result<()> {
        drop(positions.into_iter());
        Err(Error::closed("consumer"))
    }

    /// What happens besides events.
    pub fn notices(&self) -> Notices {
        Notices {}
    }

    /// Name of this member, given or made up.
    pub fn member_name(&self) -> &str {
        ""
    }

    /// Name of the stream that the group reads.
    pub fn stream(&self) -> &str {
        ""
    }

    /// Commits what is done, leaves the group, and ends. The partitions go to other members at once.
    ///
    /// # Errors
    /// When the last commit could not be made; its events come again.
    pub async fn close(self) -> Result<()> {
        Ok(())
    }
}

impl Stream for Consumer {
    type Item = Result<Record>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(None)
    }
}
