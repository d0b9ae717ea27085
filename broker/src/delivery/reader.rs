//! Reading the log without a group: one or all partitions, following or not.
//!
//! The same sources as in a session, without window and progress: the stream's own flow control is the bound.

use crate::delivery::frame::Delivery;
use crate::delivery::picking::pick;
use crate::delivery::source::{Look, Source, Turn, read};
use crate::domain::filter::Filter;
use crate::domain::ids::PartitionId;
use crate::domain::position::{Fence, LogEpoch, Position};
use crate::domain::stream::{Stream, stream_not_found};
use crate::domain::{Error, Reason, Result};
use crate::identity::{Granted, Read};
use crate::store::Store;
use crate::store::log::{self, Bounds};
use crate::tail::{Tail, Waker};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Between signs of life of a quiet reader.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// What to read.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    /// None: all partitions.
    pub partition: Option<u32>,
    pub from: Position,
    pub follow: bool,
    /// 0: no limit.
    pub max_events: u64,
    /// None: every event matches.
    pub filter: Option<Filter>,
}

/// What a reader gets.
#[derive(Clone, Debug)]
pub enum ReadFrame {
    Batch(Delivery),
    CaughtUp,
    Heartbeat(Vec<(u32, i64, i64)>),
}

/// Reads partitions of one stream into a channel.
pub struct Reader {
    store: Store,
    places: Vec<Place>,
    waker: Waker,
    follow: bool,
    left: u64,
    caught_up: bool,
    filter: Option<Filter>,
    /// When the reader was last sent something.
    sent: Instant,
}

struct Place {
    index: u32,
    source: Source,
    /// The head when the read began.
    target: i64,
}

impl Reader {
    /// Resolves the start and checks it against the bounds.
    pub async fn open(
        store: Store,
        tail: &Tail,
        granted: &Granted<Read>,
        stream: Arc<Stream>,
        request: ReadRequest,
    ) -> Result<Self> {
        let indexes: Vec<u32> = match request.partition {
            Some(index) => vec![index],
            None => (0..stream.partition_count()).collect(),
        };
        if matches!(request.from, Position::Offset(_)) && indexes.len() != 1 {
            return Err(Error::invalid("from.offset", "needs `partition`: an offset belongs to one partition"));
        }
        let waker = Waker::default();
        let mut places = Vec::with_capacity(indexes.len());
        let partitions: Vec<PartitionId> =
            indexes.iter().map(|index| stream.partition(*index)).collect::<Result<_>>()?;
        let starts = starts(&store, granted, &stream, &partitions, request.from).await?;
        for (index, partition) in indexes.into_iter().zip(partitions) {
            let (start, bounds) =
                starts.get(&partition).copied().ok_or_else(|| stream_not_found(stream.name.as_str()))?;
            let source = Source::new(tail, &waker, granted.organization(), partition, start);
            places.push(Place { index, source, target: bounds.head });
        }
        let left = if request.max_events == 0 { u64::MAX } else { request.max_events };
        Ok(Self {
            store,
            places,
            waker,
            follow: request.follow,
            left,
            caught_up: false,
            filter: request.filter,
            sent: Instant::now(),
        })
    }

    /// Reads until done, until the receiver goes, or until told to stop.
    pub async fn run(mut self, frames: mpsc::Sender<Result<ReadFrame>>, stop: CancellationToken) -> Result<()> {
        let end = tokio::select! {
            () = frames.closed() => Ok(()),
            () = stop.cancelled() => Err(crate::delivery::session::draining()),
            end = self.read(&frames) => end,
        };
        if let Err(error) = end {
            // A reader that has gone does not hear it.
            let _ = frames.send(Err(error)).await;
        }
        Ok(())
    }

    async fn read(&mut self, frames: &mpsc::Sender<Result<ReadFrame>>) -> Result<()> {
        loop {
            let progress = self.round(frames).await?;
            if self.left == 0 {
                return Ok(());
            }
            if !self.caught_up && self.places.iter().all(|place| place.source.next() >= place.target) {
                self.caught_up = true;
                // A closed channel ends the read from outside.
                let _ = frames.send(Ok(ReadFrame::CaughtUp)).await;
            }
            if self.caught_up && !self.follow {
                return Ok(());
            }
            if progress && self.filter.is_some() {
                // Looking through what does not match waits for nothing by itself.
                tokio::task::yield_now().await;
                if self.sent.elapsed() > HEARTBEAT {
                    self.sent = Instant::now();
                    self.beat(frames).await;
                }
            }
            if !progress {
                tokio::select! {
                    () = self.waker.notified() => {}
                    () = tokio::time::sleep(HEARTBEAT) => self.beat(frames).await,
                }
            }
        }
    }

    /// One batch of each partition. True: something was sent or read.
    async fn round(&mut self, frames: &mpsc::Sender<Result<ReadFrame>>) -> Result<bool> {
        let mut progress = false;
        for place in &mut self.places {
            if self.left == 0 || (!self.follow && place.source.next() >= place.target) {
                continue;
            }
            match place.source.look() {
                Look::Park => {}
                Look::Read => {
                    let from = place.source.next();
                    let page =
                        read(self.store.clone(), place.source.organization(), place.source.partition(), from).await?;
                    progress = true;
                    turned(place, from, page)?;
                }
                Look::Batch(batch) => {
                    let start = (place.source.next() - batch.base_offset).max(0) as usize;
                    let bound = if self.follow { i64::MAX } else { place.target };
                    let until = (bound - batch.base_offset).min(batch.event_count() as i64) as usize;
                    let fence = Fence { log_epoch: LogEpoch::of(batch.base_offset).0, lease_epoch: 0 };
                    progress = true;
                    let (events, picked) = match &self.filter {
                        None => {
                            let end = until.min(start.saturating_add(self.left.try_into().unwrap_or(usize::MAX)));
                            (start..end, None)
                        }
                        Some(filter) => {
                            let found = pick(&batch, start, until, (self.left, u64::MAX), filter);
                            if found.matching.is_empty() {
                                place.source.advance(batch.base_offset + found.looked.end as i64);
                                continue;
                            }
                            (found.looked.clone(), found.picked())
                        }
                    };
                    let delivery = Delivery { partition: place.index, fence, batch, events, picked };
                    self.left -= delivery.event_count() as u64;
                    place.source.advance(delivery.next_offset());
                    self.sent = Instant::now();
                    if frames.send(Ok(ReadFrame::Batch(delivery))).await.is_err() {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(progress)
    }

    async fn beat(&self, frames: &mpsc::Sender<Result<ReadFrame>>) {
        let positions =
            self.places.iter().map(|place| (place.index, place.source.next(), place.source.head())).collect();
        // A closed channel ends the read from outside.
        let _ = frames.send(Ok(ReadFrame::Heartbeat(positions))).await;
    }
}

fn turned(place: &mut Place, from: i64, page: Option<log::Page>) -> Result<()> {
    match place.source.turn(from, page) {
        Turn::Going => Ok(()),
        Turn::Gone => Err(stream_not_found("(deleted)")),
        Turn::Truncated { floor } => Err(below_floor(from, floor)),
        Turn::Cut { end } => Err(log_truncated(place.index, end)),
    }
}

/// The reader has passed events that the database no longer has.
pub fn log_truncated(partition: u32, end: i64) -> Error {
    let message = format!("partition {partition} was cut by a failover or restore; resume at offset {end}");
    Error::new(Reason::LogTruncated, message).fact("partition", partition).fact("resume_offset", end)
}

/// Where each partition starts, and its bounds.
async fn starts(
    store: &Store,
    granted: &Granted<Read>,
    stream: &Stream,
    partitions: &[PartitionId],
    from: Position,
) -> Result<HashMap<PartitionId, (i64, Bounds)>> {
    let db = store.conn().await?;
    let mut starts = HashMap::with_capacity(partitions.len());
    for (partition, _, bounds) in log::bounds(&db, partitions).await? {
        let start = match from {
            Position::Earliest => bounds.floor,
            Position::Latest => bounds.head,
            Position::Offset(offset) => checked(offset, bounds)?,
            Position::Time(time) => log::offset_at_time(&**db, granted.organization(), partition, time)
                .await?
                .ok_or_else(|| stream_not_found(stream.name.as_str()))?,
        };
        starts.insert(partition, (start, bounds));
    }
    Ok(starts)
}

/// An offset within the bounds: from the floor to the head.
pub fn checked(offset: i64, bounds: Bounds) -> Result<i64> {
    if offset < bounds.floor {
        return Err(below_floor(offset, bounds.floor));
    }
    if offset > bounds.head {
        return Err(Error::new(
            Reason::OffsetAboveHead,
            format!("offset {offset} lies above the head {}, the next offset to be assigned", bounds.head),
        )
        .fact("floor", bounds.floor)
        .fact("head", bounds.head));
    }
    Ok(offset)
}

fn below_floor(offset: i64, floor: i64) -> Error {
    Error::new(
        Reason::OffsetBelowFloor,
        format!("offset {offset} lies below the floor {floor}, the first retained offset"),
    )
    .fact("floor", floor)
}
