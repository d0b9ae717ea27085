//! `OrganizationService`.

use crate::grpc::convert::organization::display_name;
use crate::grpc::convert::request_id::{once, respond};
use crate::grpc::layers::caller;
use crate::identity::{Describe, ManageOrganization, Organizations, authorize};
use eventflow_proto::v1::{
    GetOrganizationRequest, GetOrganizationResponse, UpdateOrganizationRequest, UpdateOrganizationResponse,
    organization_service_server::OrganizationService,
};
use tonic::{Request, Response, Status};

/// Organizations, over `identity`.
pub struct OrganizationCalls {
    organizations: Organizations,
}

impl OrganizationCalls {
    pub fn new(organizations: Organizations) -> Self {
        Self { organizations }
    }
}

#[tonic::async_trait]
impl OrganizationService for OrganizationCalls {
    async fn get_organization(
        &self,
        request: Request<GetOrganizationRequest>,
    ) -> Result<Response<GetOrganizationResponse>, Status> {
        let granted = authorize(&caller(&request)?, Describe)?;
        let organization = self.organizations.get(&granted).await?;
        Ok(Response::new(GetOrganizationResponse { organization: Some((&organization).into()) }))
    }

    async fn update_organization(
        &self,
        request: Request<UpdateOrganizationRequest>,
    ) -> Result<Response<UpdateOrganizationResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageOrganization)?;
        let request = request.into_inner();
        let once = once::<_, UpdateOrganizationResponse>("UpdateOrganization", &request.request_id, &request)?;
        let display_name = display_name(&request)?;
        respond(&self.organizations.update(&granted, &once, display_name.as_deref()).await?)
    }
}
