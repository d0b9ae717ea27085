//! `LogService`: reading without a group.

use crate::delivery::reader::ReadRequest as Wanted;
use crate::delivery::reads::{PageRequest, Reads};
use crate::domain::Error;
use crate::domain::filter::Filter;
use crate::domain::ids::StreamName;
use crate::domain::position::Position;
use crate::grpc::convert::delivery::{read_response, stored};
use crate::grpc::convert::position::position;
use crate::grpc::layers::caller;
use crate::identity::{Read, authorize};
use eventflow_proto::v1::{
    GetEventRequest, GetEventResponse, ListEventsRequest, ListEventsResponse, PayloadView, ReadRequest, ReadResponse,
    log_service_server::LogService,
};
use futures_util::stream::{Stream, StreamExt};
use std::pin::Pin;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// Reads, over the log and its tail.
pub struct LogReads {
    reads: Reads,
}

impl LogReads {
    pub fn new(reads: Reads) -> Self {
        Self { reads }
    }
}

#[tonic::async_trait]
impl LogService for LogReads {
    type ReadStream = Pin<Box<dyn Stream<Item = Result<ReadResponse, Status>> + Send>>;

    async fn read(&self, call: Request<ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let granted = authorize(&caller(&call)?, Read)?;
        let wire = call.into_inner();
        let payloads = wire.payload_view();
        let frames = self.reads.read(&granted, &StreamName::parse("stream", &wire.stream)?, wanted(&wire)?).await?;
        let responses = ReceiverStream::new(frames).map(move |frame| match frame {
            Ok(frame) => Ok(read_response(frame, payloads)),
            Err(error) => Err(Status::from(error)),
        });
        Ok(Response::new(Box::pin(responses)))
    }

    async fn list_events(&self, call: Request<ListEventsRequest>) -> Result<Response<ListEventsResponse>, Status> {
        let granted = authorize(&caller(&call)?, Read)?;
        let wire = call.into_inner();
        let from = position("from", wire.from.as_ref())?.unwrap_or(Position::Earliest);
        let page = PageRequest { partition: wire.partition, from, size: wire.page_size, token: &wire.page_token };
        let (deliveries, token) = self.reads.page(&granted, &StreamName::parse("stream", &wire.stream)?, page).await?;
        let payloads = or_text(wire.payload_view());
        let events = deliveries.iter().flat_map(|delivery| stored(delivery, payloads)).collect();
        Ok(Response::new(ListEventsResponse { events, next_page_token: token }))
    }

    async fn get_event(&self, call: Request<GetEventRequest>) -> Result<Response<GetEventResponse>, Status> {
        let granted = authorize(&caller(&call)?, Read)?;
        let wire = call.into_inner();
        let offset = wire.offset.ok_or_else(|| Error::invalid("offset", "must be set; zero is an offset"))?;
        let stream = StreamName::parse("stream", &wire.stream)?;
        let delivery = self.reads.one(&granted, &stream, wire.partition, offset).await?;
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
        filter: Filter::parse("filter", &wire.filter)?,
    })
}

/// People read lists and single events: text is their default.
fn or_text(payloads: PayloadView) -> PayloadView {
    if payloads == PayloadView::Unspecified { PayloadView::Text } else { payloads }
}
