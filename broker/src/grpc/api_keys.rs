//! `ApiKeyService`.

use crate::domain::api_key::overlap_us;
use crate::grpc::convert::api_key::{new_key, overlap, without_secret};
use crate::grpc::convert::request_id::{once, once_keeping, respond};
use crate::grpc::layers::caller;
use crate::identity::{ApiKeys, ManageKeys, Shown, authorize};
use eventflow_proto::v1::{
    CreateApiKeyRequest, CreateApiKeyResponse, GetApiKeyRequest, GetApiKeyResponse, ListApiKeysRequest,
    ListApiKeysResponse, RevokeApiKeyRequest, RevokeApiKeyResponse, RotateApiKeyRequest, RotateApiKeyResponse,
    api_key_service_server::ApiKeyService,
};
use tonic::{Request, Response, Status};

/// API keys, over `identity`.
pub struct ApiKeyCalls {
    keys: ApiKeys,
}

impl ApiKeyCalls {
    pub fn new(keys: ApiKeys) -> Self {
        Self { keys }
    }
}

#[tonic::async_trait]
impl ApiKeyService for ApiKeyCalls {
    async fn create_api_key(
        &self,
        request: Request<CreateApiKeyRequest>,
    ) -> Result<Response<CreateApiKeyResponse>, Status> {
        let caller = caller(&request)?;
        let granted = authorize(&caller, ManageKeys)?;
        let request = request.into_inner();
        let kept = without_secret::<CreateApiKeyResponse>;
        let once = once_keeping("CreateApiKey", &request.request_id, &request, kept)?;
        respond(&self.keys.create(&caller, &granted, &once, &new_key(request.api_key)?).await?)
    }

    async fn get_api_key(&self, request: Request<GetApiKeyRequest>) -> Result<Response<GetApiKeyResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageKeys)?;
        let info = self.keys.get(&granted, &request.into_inner().id).await?;
        Ok(Response::new(GetApiKeyResponse { api_key: Some((&info).into()) }))
    }

    async fn list_api_keys(
        &self,
        request: Request<ListApiKeysRequest>,
    ) -> Result<Response<ListApiKeysResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageKeys)?;
        let request = request.into_inner();
        let shown = if request.include_ended { Shown::EndedToo } else { Shown::Usable };
        let page = self.keys.list(&granted, shown, request.page_size, &request.page_token).await?;
        Ok(Response::new(page.into()))
    }

    async fn rotate_api_key(
        &self,
        request: Request<RotateApiKeyRequest>,
    ) -> Result<Response<RotateApiKeyResponse>, Status> {
        let caller = caller(&request)?;
        let granted = authorize(&caller, ManageKeys)?;
        let request = request.into_inner();
        let kept = without_secret::<RotateApiKeyResponse>;
        let once = once_keeping("RotateApiKey", &request.request_id, &request, kept)?;
        let overlap = overlap_us("overlap", overlap(request.overlap.as_ref())?)?;
        respond(&self.keys.rotate(&caller, &granted, &once, &request.id, overlap).await?)
    }

    async fn revoke_api_key(
        &self,
        request: Request<RevokeApiKeyRequest>,
    ) -> Result<Response<RevokeApiKeyResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageKeys)?;
        let request = request.into_inner();
        let once = once::<_, RevokeApiKeyResponse>("RevokeApiKey", &request.request_id, &request)?;
        respond(&self.keys.revoke(&granted, &once, &request.id).await?)
    }
}
