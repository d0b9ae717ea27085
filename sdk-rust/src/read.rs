//! Reading a stream directly, without a group and without progress.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::Stream;

use crate::{
    client::Client,
    error::{Error, Result},
    position::{Position, Record},
};

/// What a reader tells besides events.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ReadNotice {
    /// Every partition has been read up to the head that it had when the read began.
    CaughtUp,
    /// The connection broke, and the read goes on where it was.
    Reconnected {
        /// How long nothing could be read.
        after: Duration,
        /// Partition and offset where it goes on.
        resumed_at: Vec<(u32, i64)>,
    },
}

/// Says what to read. From [`Client::read`].
#[must_use]
pub struct ReadBuilder {
    client: Client,
    stream: String,
    partition: Option<u32>,
    from: Position,
    follow: bool,
    max_events: u64,
    on_notice: Option<Box<dyn FnMut(ReadNotice) + Send>>,
}

impl ReadBuilder {
    pub(crate) fn new(client: Client, stream: String) -> Self {
        let from = Position::Earliest;
        Self {
            client,
            stream,
            partition: None,
            from,
            follow: false,
            max_events: 0,
            on_notice: None,
        }
    }

    /// Only this partition, 0-based. Default: all, each in its own order.
    pub fn partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Where to start. Default: earliest. An offset needs a partition.
    pub fn from(mut self, position: Position) -> Self {
        self.from = position;
        self
    }

    /// Whether to go on with new events. Default: end at the heads seen at the start.
    pub fn follow(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }

    /// Ends after so many events. Default: no limit.
    pub fn max_events(mut self, events: u64) -> Self {
        self.max_events = events;
        self
    }

    /// Called when the reader has caught up, and when it has resumed after a lost connection.
    pub fn on_notice(mut self, observer: impl FnMut(ReadNotice) + Send + 'static) -> Self {
        self.on_notice = Some(Box::new(observer));
        self
    }

    /// Begins to read.
    ///
    /// # Errors
    /// `STREAM_NOT_FOUND`, `PARTITION_OUT_OF_RANGE`, `OFFSET_BELOW_FLOOR`, `OFFSET_ABOVE_HEAD`.
    pub async fn start(self) -> Result<Reader> {
        Err(Error::closed("reader"))
    }
}

/// The events of a stream, as a `futures` stream of records. Lost connections are resumed without gap or duplicate.
pub struct Reader {}

impl Stream for Reader {
    type Item = Result<Record>;

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(None)
    }
}
