//! `DeadLetterService`.

use crate::catalogue::Catalogue;
use crate::domain::ids::GroupName;
use crate::grpc::convert::dead_letter::{dead_letter, discard, edit, filter, id, page, redrive, redrive_id};
use crate::grpc::convert::request_id::{once, respond};
use crate::grpc::layers::caller;
use crate::identity::{ManageGroups, Read, authorize};
use crate::schemas::Schemas;
use eventflow_proto::v1::{
    CancelRedriveRequest, CancelRedriveResponse, DiscardDeadLettersRequest, DiscardDeadLettersResponse,
    GetDeadLetterRequest, GetDeadLetterResponse, ListDeadLettersRequest, ListDeadLettersResponse, ListRedrivesRequest,
    ListRedrivesResponse, RedriveDeadLettersRequest, RedriveDeadLettersResponse, UpdateDeadLetterRequest,
    UpdateDeadLetterResponse, dead_letter_service_server::DeadLetterService,
};
use tonic::{Request, Response, Status};

/// Dead letters, over the catalogue, and over the schemas that edited ones must fit.
pub struct DeadLetters {
    catalogue: Catalogue,
    schemas: Schemas,
}

impl DeadLetters {
    pub fn new(catalogue: Catalogue, schemas: Schemas) -> Self {
        Self { catalogue, schemas }
    }
}

#[tonic::async_trait]
impl DeadLetterService for DeadLetters {
    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        let granted = authorize(&caller(&request)?, Read)?;
        let request = request.into_inner();
        let group = GroupName::parse("group", &request.group)?;
        let filter = filter(Vec::new(), request.filter)?;
        let (size, token) = (request.page_size, request.page_token);
        let found = self.catalogue.list_dead_letters(&granted, &group, &filter, size, &token).await?;
        Ok(Response::new(page(&group, found)))
    }

    async fn get_dead_letter(
        &self,
        request: Request<GetDeadLetterRequest>,
    ) -> Result<Response<GetDeadLetterResponse>, Status> {
        let granted = authorize(&caller(&request)?, Read)?;
        let request = request.into_inner();
        let group = GroupName::parse("group", &request.group)?;
        let id = id("dead_letter_id", &request.dead_letter_id)?;
        let letter = self.catalogue.get_dead_letter(&granted, &group, id).await?;
        let letter = dead_letter(&group, letter, request.payload_view());
        Ok(Response::new(GetDeadLetterResponse { dead_letter: Some(letter) }))
    }

    async fn update_dead_letter(
        &self,
        request: Request<UpdateDeadLetterRequest>,
    ) -> Result<Response<UpdateDeadLetterResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageGroups)?;
        let request = request.into_inner();
        let once = once::<_, UpdateDeadLetterResponse>("UpdateDeadLetter", &request.request_id, &request)?;
        respond(&self.schemas.edit_dead_letter(&granted, &once, &edit(request)?).await?)
    }

    async fn redrive_dead_letters(
        &self,
        request: Request<RedriveDeadLettersRequest>,
    ) -> Result<Response<RedriveDeadLettersResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageGroups)?;
        let request = request.into_inner();
        let once = once::<_, RedriveDeadLettersResponse>("RedriveDeadLetters", &request.request_id, &request)?;
        respond(&self.catalogue.change_dead_letters(&granted, &once, &redrive(request)?).await?)
    }

    async fn list_redrives(
        &self,
        request: Request<ListRedrivesRequest>,
    ) -> Result<Response<ListRedrivesResponse>, Status> {
        let granted = authorize(&caller(&request)?, Read)?;
        let group = GroupName::parse("group", &request.into_inner().group)?;
        let redrives = self.catalogue.list_redrives(&granted, &group).await?;
        Ok(Response::new(ListRedrivesResponse { redrives: redrives.iter().map(Into::into).collect() }))
    }

    async fn cancel_redrive(
        &self,
        request: Request<CancelRedriveRequest>,
    ) -> Result<Response<CancelRedriveResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageGroups)?;
        let request = request.into_inner();
        let once = once::<_, CancelRedriveResponse>("CancelRedrive", &request.request_id, &request)?;
        let group = GroupName::parse("group", &request.group)?;
        let id = redrive_id(&request.redrive_id)?;
        respond(&self.catalogue.cancel_redrive(&granted, &once, &group, id).await?)
    }

    async fn discard_dead_letters(
        &self,
        request: Request<DiscardDeadLettersRequest>,
    ) -> Result<Response<DiscardDeadLettersResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageGroups)?;
        let request = request.into_inner();
        let once = once::<_, DiscardDeadLettersResponse>("DiscardDeadLetters", &request.request_id, &request)?;
        respond(&self.catalogue.change_dead_letters(&granted, &once, &discard(request)?).await?)
    }
}
