//! `SchemaService`.

use crate::domain::ids::StreamName;
use crate::grpc::convert::request_id::{once, respond};
use crate::grpc::convert::schema::{check, event, history, listed, new_schema, page, schema, which};
use crate::grpc::layers::caller;
use crate::identity::{Describe, ManageStreams, Read, authorize};
use crate::schemas::{Registered, Schemas};
use eventflow_proto::v1::{
    CheckAgainstHistoryRequest, CheckAgainstHistoryResponse, CheckCompatibilityRequest, CheckCompatibilityResponse,
    GetSchemaRequest, GetSchemaResponse, ListSchemasRequest, ListSchemasResponse, RegisterSchemaRequest,
    RegisterSchemaResponse, ValidateEventRequest, ValidateEventResponse, schema_service_server::SchemaService,
};
use tonic::{Request, Response, Status};

/// Schemas, over their room.
pub struct SchemaRegistry {
    schemas: Schemas,
}

impl SchemaRegistry {
    pub fn new(schemas: Schemas) -> Self {
        Self { schemas }
    }
}

#[tonic::async_trait]
impl SchemaService for SchemaRegistry {
    async fn register_schema(
        &self,
        request: Request<RegisterSchemaRequest>,
    ) -> Result<Response<RegisterSchemaResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageStreams)?;
        let request = request.into_inner();
        let once = once::<Registered, RegisterSchemaResponse>("RegisterSchema", &request.request_id, &request)?;
        respond(&self.schemas.register(&granted, &once, &new_schema(request)?).await?)
    }

    async fn get_schema(&self, request: Request<GetSchemaRequest>) -> Result<Response<GetSchemaResponse>, Status> {
        let granted = authorize(&caller(&request)?, Describe)?;
        let request = request.into_inner();
        let (stream, version) = which(&request)?;
        let found = self.schemas.get(&granted, &stream, &request.event_type, version).await?;
        Ok(Response::new(GetSchemaResponse { schema: Some(schema(stream.as_str(), &found)) }))
    }

    async fn list_schemas(
        &self,
        request: Request<ListSchemasRequest>,
    ) -> Result<Response<ListSchemasResponse>, Status> {
        let granted = authorize(&caller(&request)?, Describe)?;
        let request = request.into_inner();
        let (stream, listed) = (StreamName::parse("stream", &request.stream)?, listed(&request)?);
        let found = self.schemas.list(&granted, &stream, &listed, request.page_size, &request.page_token).await?;
        Ok(Response::new(page(stream.as_str(), found)))
    }

    async fn check_compatibility(
        &self,
        request: Request<CheckCompatibilityRequest>,
    ) -> Result<Response<CheckCompatibilityResponse>, Status> {
        let granted = authorize(&caller(&request)?, Describe)?;
        let (candidate, mode) = check(request.into_inner())?;
        Ok(Response::new(self.schemas.check(&granted, &candidate, mode).await?.into()))
    }

    async fn validate_event(
        &self,
        request: Request<ValidateEventRequest>,
    ) -> Result<Response<ValidateEventResponse>, Status> {
        let granted = authorize(&caller(&request)?, Describe)?;
        let request = request.into_inner();
        let (stream, event) = (StreamName::parse("stream", &request.stream)?, event(request.event)?);
        Ok(Response::new(self.schemas.validate(&granted, &stream, &event).await?.into()))
    }

    async fn check_against_history(
        &self,
        request: Request<CheckAgainstHistoryRequest>,
    ) -> Result<Response<CheckAgainstHistoryResponse>, Status> {
        let granted = authorize(&caller(&request)?, Read)?;
        let check = history(request.into_inner())?;
        Ok(Response::new(self.schemas.check_history(&granted, &check).await?.into()))
    }
}
