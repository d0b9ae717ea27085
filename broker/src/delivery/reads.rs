//! Reading without a group, as the services see it: streams of frames, pages, single events.

use crate::catalogue::Catalogue;
use crate::delivery::frame::Delivery;
use crate::delivery::listing::Listing;
use crate::delivery::reader::{ReadFrame, ReadRequest, Reader};
use crate::domain::Result;
use crate::domain::ids::StreamName;
use crate::domain::position::Position;
use crate::identity::{Granted, Read};
use crate::runtime::{Kind, Tasks};
use crate::store::Store;
use crate::tail::Tail;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Frames on their way to a reader; when it is full the read waits.
const FRAMES: usize = 8;

/// Reads, over the log and its tail. Cheap to clone.
#[derive(Clone)]
pub struct Reads {
    pub catalogue: Catalogue,
    pub store: Store,
    pub tail: Tail,
    pub tasks: Tasks,
    /// Fires when reads should end.
    pub draining: CancellationToken,
}

/// A page of one partition that is asked for.
#[derive(Clone, Copy, Debug)]
pub struct PageRequest<'a> {
    pub partition: u32,
    pub from: Position,
    /// 0 is the default.
    pub size: u32,
    pub token: &'a str,
}

impl Reads {
    /// Starts a read; it ends with the receiver.
    pub async fn read(
        &self,
        granted: &Granted<Read>,
        stream: &StreamName,
        request: ReadRequest,
    ) -> Result<mpsc::Receiver<Result<ReadFrame>>> {
        let stream = self.catalogue.stream(granted, stream).await?;
        let reader = Reader::open(self.store.clone(), &self.tail, granted, stream, request).await?;
        let (frames, receiver) = mpsc::channel(FRAMES);
        self.tasks.spawn(Kind::Session, reader.run(frames, self.draining.clone()));
        Ok(receiver)
    }

    /// A page, and the token of the next one.
    pub async fn page(
        &self,
        granted: &Granted<Read>,
        stream: &StreamName,
        page: PageRequest<'_>,
    ) -> Result<(Vec<Delivery>, String)> {
        let stream = self.catalogue.stream(granted, stream).await?;
        let key = self.catalogue.page_key().await?;
        Listing { store: &self.store, key, granted, stream: &stream }
            .page(page.partition, page.from, page.size, page.token)
            .await
    }

    /// The event at an offset.
    pub async fn one(
        &self,
        granted: &Granted<Read>,
        stream: &StreamName,
        partition: u32,
        offset: i64,
    ) -> Result<Delivery> {
        let stream = self.catalogue.stream(granted, stream).await?;
        let key = self.catalogue.page_key().await?;
        Listing { store: &self.store, key, granted, stream: &stream }.one(partition, offset).await
    }
}
