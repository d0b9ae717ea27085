//! The raw API: one `Publish` call with the same events again and again, for load that does not wait as a client would.

use eventflow_proto::v1::publisher_service_client::PublisherServiceClient;
use eventflow_proto::v1::{self, event::Payload};
use tonic::transport::{Channel, Endpoint};

use crate::Result;
use crate::payloads::{Kind, Pool};

#[derive(Clone)]
pub struct Caller {
    channel: Channel,
    bearer: tonic::metadata::AsciiMetadataValue,
    request: v1::PublishRequest,
}

impl Caller {
    /// A connection of its own; each call has so many events of 200 B.
    pub async fn connect(url: &str, key: &str, stream: &str, events: u32) -> Result<Self> {
        let channel = Endpoint::from_shared(url.to_owned())?.connect().await?;
        let mut pool = Pool::new(Kind::Json, 200);
        let event = |_| v1::Event { payload: Some(Payload::Data(pool.next())), ..Default::default() };
        let events = (0..events).map(event).collect();
        let request = v1::PublishRequest { stream: stream.to_owned(), events, ..Default::default() };
        Ok(Self { channel, bearer: format!("Bearer {key}").parse()?, request })
    }

    pub async fn publish(self) -> Result<(), tonic::Status> {
        let mut request = tonic::Request::new(self.request);
        request.metadata_mut().insert("authorization", self.bearer);
        PublisherServiceClient::new(self.channel).publish(request).await.map(drop)
    }
}
