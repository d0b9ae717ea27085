//! `StreamService`.

use crate::catalogue::{Catalogue, Deletion, KeyRemap};
use crate::domain::ids::StreamName;
use crate::grpc::convert::request_id::{once, respond};
use crate::grpc::convert::stream::{limits, new_stream, purge, statistics, stream_change};
use crate::grpc::layers::caller;
use crate::identity::{Describe, ManageStreams, authorize};
use eventflow_proto::v1::{
    AddPartitionsRequest, AddPartitionsResponse, CreateStreamRequest, CreateStreamResponse, DeleteStreamRequest,
    DeleteStreamResponse, GetLimitsRequest, GetLimitsResponse, GetStreamRequest, GetStreamResponse,
    GetStreamStatisticsRequest, GetStreamStatisticsResponse, ListStreamsRequest, ListStreamsResponse,
    PurgeStreamRequest, PurgeStreamResponse, UpdateStreamRequest, UpdateStreamResponse,
    stream_service_server::StreamService,
};
use tonic::{Request, Response, Status};

/// Streams, over the catalogue.
pub struct Streams {
    catalogue: Catalogue,
}

impl Streams {
    pub fn new(catalogue: Catalogue) -> Self {
        Self { catalogue }
    }
}

#[tonic::async_trait]
impl StreamService for Streams {
    async fn create_stream(
        &self,
        request: Request<CreateStreamRequest>,
    ) -> Result<Response<CreateStreamResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageStreams)?;
        let request = request.into_inner();
        let once = once::<_, CreateStreamResponse>("CreateStream", &request.request_id, &request)?;
        let new = new_stream(request.stream)?;
        respond(&self.catalogue.create_stream(&granted, &once, &new).await?)
    }

    async fn get_stream(&self, request: Request<GetStreamRequest>) -> Result<Response<GetStreamResponse>, Status> {
        let granted = authorize(&caller(&request)?, Describe)?;
        let name = StreamName::parse("name", &request.into_inner().name)?;
        let stream = self.catalogue.get_stream(&granted, &name).await?;
        Ok(Response::new((&stream).into()))
    }

    async fn list_streams(
        &self,
        request: Request<ListStreamsRequest>,
    ) -> Result<Response<ListStreamsResponse>, Status> {
        let granted = authorize(&caller(&request)?, Describe)?;
        let request = request.into_inner();
        let page = self.catalogue.list_streams(&granted, request.page_size, &request.page_token).await?;
        Ok(Response::new(page.into()))
    }

    async fn update_stream(
        &self,
        request: Request<UpdateStreamRequest>,
    ) -> Result<Response<UpdateStreamResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageStreams)?;
        let request = request.into_inner();
        let once = once::<_, UpdateStreamResponse>("UpdateStream", &request.request_id, &request)?;
        let (name, change) = stream_change(&request)?;
        respond(&self.catalogue.update_stream(&granted, &once, &name, &change).await?)
    }

    async fn delete_stream(
        &self,
        request: Request<DeleteStreamRequest>,
    ) -> Result<Response<DeleteStreamResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageStreams)?;
        let request = request.into_inner();
        let once = once::<_, DeleteStreamResponse>("DeleteStream", &request.request_id, &request)?;
        let name = StreamName::parse("name", &request.name)?;
        let deletion = if request.force { Deletion::Forced } else { Deletion::Unused };
        respond(&self.catalogue.delete_stream(&granted, &once, &name, deletion).await?)
    }

    async fn add_partitions(
        &self,
        request: Request<AddPartitionsRequest>,
    ) -> Result<Response<AddPartitionsResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageStreams)?;
        let request = request.into_inner();
        let once = once::<_, AddPartitionsResponse>("AddPartitions", &request.request_id, &request)?;
        let name = StreamName::parse("name", &request.name)?;
        let key_remap = if request.allow_key_remap { KeyRemap::Allowed } else { KeyRemap::Refused };
        respond(&self.catalogue.add_partitions(&granted, &once, &name, request.partitions, key_remap).await?)
    }

    async fn purge_stream(
        &self,
        request: Request<PurgeStreamRequest>,
    ) -> Result<Response<PurgeStreamResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageStreams)?;
        let request = request.into_inner();
        let once = once::<_, PurgeStreamResponse>("PurgeStream", &request.request_id, &request)?;
        respond(&self.catalogue.purge_stream(&granted, &once, &purge(&request)?).await?)
    }

    async fn get_stream_statistics(
        &self,
        request: Request<GetStreamStatisticsRequest>,
    ) -> Result<Response<GetStreamStatisticsResponse>, Status> {
        let granted = authorize(&caller(&request)?, Describe)?;
        let name = StreamName::parse("name", &request.into_inner().name)?;
        Ok(Response::new(statistics(self.catalogue.stream_statistics(&granted, &name).await?)))
    }

    /// Limits belong to no organization: any caller may know them.
    async fn get_limits(&self, request: Request<GetLimitsRequest>) -> Result<Response<GetLimitsResponse>, Status> {
        caller(&request)?;
        Ok(Response::new(limits()))
    }
}
