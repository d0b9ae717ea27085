//! Reading a stream directly, without a group and without progress.
//!
//! ```no_run
//! # async fn run(client: eventflow::Client) -> eventflow::Result<()> {
//! use eventflow::Position;
//! use futures_util::TryStreamExt;
//!
//! let mut records = client.read("orders").from(Position::Earliest).start().await?;
//! while let Some(record) = records.try_next().await? {
//!     println!("{}@{}: {:?}", record.partition(), record.offset(), record.payload());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # After a lost connection
//!
//! One call reads all partitions as long as it lasts. When it breaks, the reader knows where each partition stands, and goes
//! on with one call for each, so that nothing is missed and nothing comes twice.

mod source;

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use eventflow_proto::v1;
use futures_util::{Stream, StreamExt, stream::BoxStream};

use crate::{
    client::Client,
    consumer::Batch,
    error::Result,
    position::{Position, Record},
    read::source::Source,
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
        /// Partition and offset where it goes on; of partitions that nothing was read of yet, nothing is said.
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
    filter: String,
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
            filter: String::new(),
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

    /// Only events that match this filter, such as `type starts_with "order."`. Default: all.
    pub fn filter(mut self, filter: impl Into<String>) -> Self {
        self.filter = filter.into();
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
    /// `STREAM_NOT_FOUND`, `INVALID_ARGUMENT` for a filter that is none, `PARTITION_OUT_OF_RANGE`, `OFFSET_BELOW_FLOOR`, `OFFSET_ABOVE_HEAD`, or why no broker answers.
    pub async fn start(self) -> Result<Reader> {
        let request = v1::ReadRequest {
            stream: self.stream.clone(),
            partition: self.partition,
            from: Some(self.from.into()),
            follow: self.follow,
            max_events: 0,
            payload_view: v1::PayloadView::Bytes as i32,
            filter: self.filter,
        };
        let source = Source::open(self.client, request, self.on_notice).await?;
        let left = if self.max_events == 0 { u64::MAX } else { self.max_events };
        Ok(Reader { batches: source.batches().boxed(), current: None, left })
    }
}

/// The events of a stream, as a `futures` stream of records. Lost connections are resumed without gap or duplicate.
///
/// Errors are final: the stream was deleted, or what comes next was removed or is damaged.
pub struct Reader {
    batches: BoxStream<'static, Result<Batch>>,
    current: Option<Batch>,
    left: u64,
}

impl Stream for Reader {
    type Item = Result<Record>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if self.left == 0 {
                return Poll::Ready(None);
            }
            if let Some(record) = self.current.as_mut().and_then(Batch::next_record) {
                self.left -= 1;
                return Poll::Ready(Some(Ok(record)));
            }
            match ready!(self.batches.poll_next_unpin(cx)) {
                Some(Ok(batch)) => self.current = Some(batch),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}

impl Reader {
    /// The next batch, for those who go through many records; `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// As the stream's.
    pub async fn next_batch(&mut self) -> Option<Result<Batch>> {
        if self.left == 0 {
            return None;
        }
        let batch = match self.current.take().filter(|batch| !batch.is_empty()) {
            Some(batch) => batch,
            None => match self.batches.next().await? {
                Ok(batch) => batch,
                Err(error) => return Some(Err(error)),
            },
        };
        let batch = batch.first(self.left);
        self.left -= batch.len() as u64;
        Some(Ok(batch))
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("left", &self.left).finish_non_exhaustive()
    }
}
