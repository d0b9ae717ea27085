//! `LogService`: reading without a group.

use crate::catalogue::Catalogue;
use crate::delivery::listing::Listing;
use crate::delivery::reader::{ReadRequest as Wanted, Reader};
use crate::domain::Error;
use crate::domain::ids::StreamName;
use crate::domain::position::Position;
use crate::grpc::convert::delivery::{read_response, stored};
use crate::grpc::convert::position::position;
use crate::grpc::layers::caller;
use crate::identity::{Read, authorize};
use crate::runtime::Tasks;
use crate::store::Store;
use crate::tail::Tail;
use eventflow_proto::v1::{
    GetEventRequest, GetEventResponse, ListEventsRequest, ListEventsResponse, PayloadView, ReadRequest, ReadResponse,
    log_service_server::LogService,
};
use futures_util::stream::{Stream, StreamExt};
use std::pin::Pin;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// Frames on their way to a reader.
const FRAMES: usize = 8;

/// Reads, over the log and its tail.
pub struct LogReads {
    pub catalogue: Catalogue,
    pub store: Store,
    pub tail: Tail,
    pub tasks: Tasks,
    /// Fires when reads should end.
    pub draining: CancellationToken,
}

#[tonic::async_trait]
impl LogService for LogReads {
    type ReadStream = Pin<Box<dyn Stream<Item = Result<ReadResponse, Status>> + Send>>;

    async fn read(&self, call: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let granted = authorize(&caller(&call)?, Read)?;
        let wire = call.into_inner();
        let payloads = wire.payload_view();
        let wanted = wanted(&wire)?;
        let stream = self.catalogue.stream(granted.organization(), &StreamName::parse("stream", &wire.stream)?).await?;
        let reader = Reader::open(self.store.clone(), &self.tail, granted, stream, wanted).await?;
        let (frames, receiver) = mpsc::channel(FRAMES);
        self.tasks.spawn(crate::runtime::Kind::Session, reader.run(frames, self.draining.clone()));
        let responses = ReceiverStream::new(receiver).map(move |frame| match frame {
            Ok(frame) => Ok(read_response(frame, payloads)),
            Err(error) => Err(Status::from(error)),
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn list_events(&self, call: Request<ListEventsRequest>) -> Result<Response<ListEventsResponse>, Status> {
        let granted = authorize(&caller(&call)?, Read)?;
        let wire = call.into_inner();
        let stream = self.catalogue.stream(granted.organization(), &StreamName::parse("stream", &wire.stream)?).await?;
        let from = position("from", wire.from.as_ref())?.unwrap_or(Position::Earliest);
        let listing = Listing { store: &self.store, key: self.catalogue.page_key().await?, granted, stream: &stream };
        let (deliveries, token) = listing.page(wire.partition, from, wire.page_size, &wire.page_token).await?;
        let payloads = or_text(wire.payload_view());
        let events = deliveries.iter().flat_map(|delivery| stored(delivery, payloads)).collect();
        Ok(Response::new(ListEventsResponse { events, next_page_token: token }))
    }

    async fn get_event(&self, call: Request<GetEventRequest>) -> Result<Response<GetEventResponse>, Status> {
        let granted = authorize(&caller(&call)?, Read)?;
        let wire = call.into_inner();
        let stream = self.catalogue.stream(granted.organization(), &StreamName::parse("stream", &wire.stream)?).await?;
        let offset = wire.offset.ok_or_else(|| Error::invalid("offset", "must be set; zero is an offset"))?;
        let listing = Listing { store: &self.store, key: self.catalogue.page_key().await?, granted, stream: &stream };
        let delivery = listing.one(wire.partition, offset).await?;
        let event = stored(&delivery, or_text(wire.payload_view())).into_iter().next();
        Ok(Response::new(GetEventResponse { event }))
    }
}

fn wanted(wire: &ReadRequest) -> Result<Wanted, Error> {
    Ok(Wanted {
        partition: wire.partition,
        from: position("from", wire.from.as_ref())?.unwrap_or(Position::Earliest),
        follow: wire.follow,
        max_events: wire.max_events,
    })
}

/// People read lists and single events: text is their default.
fn or_text(payloads: PayloadView) -> PayloadView {
    if payloads == PayloadView::Unspecified { PayloadView::Text } else { payloads }
}
