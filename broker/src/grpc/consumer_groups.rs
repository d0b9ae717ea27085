//! `ConsumerGroupService`.

use crate::catalogue::{Catalogue, Deletion, Delivery};
use crate::delivery::explain::Explainer;
use crate::domain::ids::{GroupName, StreamName};
use crate::grpc::convert::explanation::place;
use crate::grpc::convert::group::{group_change, lag, members, new_group, seek};
use crate::grpc::convert::request_id::{once, respond};
use crate::grpc::layers::caller;
use crate::identity::{Describe, ManageGroups, Read, authorize};
use eventflow_proto::v1::{
    CreateConsumerGroupRequest, CreateConsumerGroupResponse, DeleteConsumerGroupRequest, DeleteConsumerGroupResponse,
    ExplainEventRequest, ExplainEventResponse, GetConsumerGroupRequest, GetConsumerGroupResponse, GetLagRequest,
    GetLagResponse, ListConsumerGroupsRequest, ListConsumerGroupsResponse, ListMembersRequest, ListMembersResponse,
    PauseConsumerGroupRequest, PauseConsumerGroupResponse, ResumeConsumerGroupRequest, ResumeConsumerGroupResponse,
    SeekRequest, SeekResponse, UpdateConsumerGroupRequest, UpdateConsumerGroupResponse,
    consumer_group_service_server::ConsumerGroupService,
};
use tonic::{Request, Response, Status};

/// Consumer groups, over the catalogue; and why an event is not delivered.
pub struct ConsumerGroups {
    catalogue: Catalogue,
    explainer: Explainer,
}

impl ConsumerGroups {
    pub fn new(catalogue: Catalogue, explainer: Explainer) -> Self {
        Self { catalogue, explainer }
    }
}

#[tonic::async_trait]
impl ConsumerGroupService for ConsumerGroups {
    async fn create_consumer_group(
        &self,
        request: Request<CreateConsumerGroupRequest>,
    ) -> Result<Response<CreateConsumerGroupResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageGroups)?;
        let request = request.into_inner();
        let once = once::<_, CreateConsumerGroupResponse>("CreateConsumerGroup", &request.request_id, &request)?;
        let new = new_group(request)?;
        respond(&self.catalogue.create_group(&granted, &once, &new).await?)
    }

    async fn get_consumer_group(
        &self,
        request: Request<GetConsumerGroupRequest>,
    ) -> Result<Response<GetConsumerGroupResponse>, Status> {
        let granted = authorize(&caller(&request)?, Describe)?;
        let name = GroupName::parse("name", &request.into_inner().name)?;
        let group = self.catalogue.get_group(&granted, &name).await?;
        Ok(Response::new((&group).into()))
    }

    async fn list_consumer_groups(
        &self,
        request: Request<ListConsumerGroupsRequest>,
    ) -> Result<Response<ListConsumerGroupsResponse>, Status> {
        let granted = authorize(&caller(&request)?, Describe)?;
        let request = request.into_inner();
        let stream = match request.stream.as_str() {
            "" => None,
            name => Some(StreamName::parse("stream", name)?),
        };
        let (size, token) = (request.page_size, request.page_token);
        let page = self.catalogue.list_groups(&granted, stream.as_ref(), size, &token).await?;
        Ok(Response::new(page.into()))
    }

    async fn update_consumer_group(
        &self,
        request: Request<UpdateConsumerGroupRequest>,
    ) -> Result<Response<UpdateConsumerGroupResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageGroups)?;
        let request = request.into_inner();
        let once = once::<_, UpdateConsumerGroupResponse>("UpdateConsumerGroup", &request.request_id, &request)?;
        let (name, change) = group_change(&request)?;
        respond(&self.catalogue.update_group(&granted, &once, &name, &change).await?)
    }

    async fn delete_consumer_group(
        &self,
        request: Request<DeleteConsumerGroupRequest>,
    ) -> Result<Response<DeleteConsumerGroupResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageGroups)?;
        let request = request.into_inner();
        let once = once::<_, DeleteConsumerGroupResponse>("DeleteConsumerGroup", &request.request_id, &request)?;
        let name = GroupName::parse("name", &request.name)?;
        let deletion = if request.force { Deletion::Forced } else { Deletion::Unused };
        respond(&self.catalogue.delete_group(&granted, &once, &name, deletion).await?)
    }

    async fn list_members(
        &self,
        request: Request<ListMembersRequest>,
    ) -> Result<Response<ListMembersResponse>, Status> {
        let granted = authorize(&caller(&request)?, Describe)?;
        let name = GroupName::parse("name", &request.into_inner().name)?;
        Ok(Response::new(members(self.catalogue.group_members(&granted, &name).await?)))
    }

    async fn get_lag(&self, request: Request<GetLagRequest>) -> Result<Response<GetLagResponse>, Status> {
        let granted = authorize(&caller(&request)?, Describe)?;
        let name = GroupName::parse("name", &request.into_inner().name)?;
        Ok(Response::new(lag(self.catalogue.group_lag(&granted, &name).await?)))
    }

    async fn seek(&self, request: Request<SeekRequest>) -> Result<Response<SeekResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageGroups)?;
        let request = request.into_inner();
        let once = once::<_, SeekResponse>("Seek", &request.request_id, &request)?;
        respond(&self.catalogue.seek(&granted, &once, &seek(&request)?).await?)
    }

    async fn explain_event(
        &self,
        request: Request<ExplainEventRequest>,
    ) -> Result<Response<ExplainEventResponse>, Status> {
        let granted = authorize(&caller(&request)?, Read)?;
        let (name, partition, offset) = place(request.get_ref())?;
        Ok(Response::new(self.explainer.explain(&granted, &name, partition, offset).await?.into()))
    }

    async fn pause_consumer_group(
        &self,
        request: Request<PauseConsumerGroupRequest>,
    ) -> Result<Response<PauseConsumerGroupResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageGroups)?;
        let request = request.into_inner();
        let once = once::<_, PauseConsumerGroupResponse>("PauseConsumerGroup", &request.request_id, &request)?;
        let name = GroupName::parse("name", &request.name)?;
        respond(&self.catalogue.set_delivery(&granted, &once, &name, Delivery::Paused).await?)
    }

    async fn resume_consumer_group(
        &self,
        request: Request<ResumeConsumerGroupRequest>,
    ) -> Result<Response<ResumeConsumerGroupResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageGroups)?;
        let request = request.into_inner();
        let once = once::<_, ResumeConsumerGroupResponse>("ResumeConsumerGroup", &request.request_id, &request)?;
        let name = GroupName::parse("name", &request.name)?;
        respond(&self.catalogue.set_delivery(&granted, &once, &name, Delivery::Running).await?)
    }
}
