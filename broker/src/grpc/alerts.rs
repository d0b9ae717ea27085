//! `AlertService`.

use crate::alerts::{Alerts, Removed};
use crate::domain::alert::Alert;
use crate::domain::ids::GroupName;
use crate::grpc::convert::alert::{alert_change, new_alert, shown, which, without_secret};
use crate::grpc::convert::request_id::{once, once_keeping, respond};
use crate::grpc::layers::caller;
use crate::identity::{Describe, ManageGroups, authorize};
use eventflow_proto::v1::{
    CreateAlertRequest, CreateAlertResponse, DeleteAlertRequest, DeleteAlertResponse, GetAlertRequest,
    GetAlertResponse, ListAlertsRequest, ListAlertsResponse, RotateAlertSecretRequest, RotateAlertSecretResponse,
    TestAlertRequest, TestAlertResponse, UpdateAlertRequest, UpdateAlertResponse, alert_service_server::AlertService,
};
use tonic::{Request, Response, Status};

/// Alerts, over their room.
pub struct AlertCalls {
    alerts: Alerts,
}

impl AlertCalls {
    pub fn new(alerts: Alerts) -> Self {
        Self { alerts }
    }
}

#[tonic::async_trait]
impl AlertService for AlertCalls {
    async fn create_alert(
        &self,
        request: Request<CreateAlertRequest>,
    ) -> Result<Response<CreateAlertResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageGroups)?;
        let request = request.into_inner();
        let kept = without_secret::<CreateAlertResponse>;
        let once = once_keeping("CreateAlert", &request.request_id, &request, kept)?;
        respond(&self.alerts.create(&granted, &once, &new_alert(request.alert)?).await?)
    }

    async fn get_alert(&self, request: Request<GetAlertRequest>) -> Result<Response<GetAlertResponse>, Status> {
        let caller = caller(&request)?;
        let granted = authorize(&caller, Describe)?;
        let (group, name) = which(&request.get_ref().group, &request.get_ref().name)?;
        let alert = self.alerts.get(&granted, (&group, &name)).await?;
        Ok(Response::new(GetAlertResponse { alert: Some(shown(&caller, &alert)) }))
    }

    async fn list_alerts(&self, request: Request<ListAlertsRequest>) -> Result<Response<ListAlertsResponse>, Status> {
        let caller = caller(&request)?;
        let granted = authorize(&caller, Describe)?;
        let request = request.into_inner();
        let group = match request.group.as_str() {
            "" => None,
            name => Some(GroupName::parse("group", name)?),
        };
        let page = self.alerts.list(&granted, group.as_ref(), request.page_size, &request.page_token).await?;
        let alerts = page.items.iter().map(|alert| shown(&caller, alert)).collect();
        Ok(Response::new(ListAlertsResponse { alerts, next_page_token: page.next_page_token }))
    }

    async fn update_alert(
        &self,
        request: Request<UpdateAlertRequest>,
    ) -> Result<Response<UpdateAlertResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageGroups)?;
        let request = request.into_inner();
        let once = once::<Alert, UpdateAlertResponse>("UpdateAlert", &request.request_id, &request)?;
        let ((group, name), change) = alert_change(&request)?;
        respond(&self.alerts.update(&granted, &once, (&group, &name), &change).await?)
    }

    async fn delete_alert(
        &self,
        request: Request<DeleteAlertRequest>,
    ) -> Result<Response<DeleteAlertResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageGroups)?;
        let request = request.into_inner();
        let once = once::<Removed, DeleteAlertResponse>("DeleteAlert", &request.request_id, &request)?;
        let (group, name) = which(&request.group, &request.name)?;
        respond(&self.alerts.delete(&granted, &once, (&group, &name)).await?)
    }

    async fn rotate_alert_secret(
        &self,
        request: Request<RotateAlertSecretRequest>,
    ) -> Result<Response<RotateAlertSecretResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageGroups)?;
        let request = request.into_inner();
        let kept = without_secret::<RotateAlertSecretResponse>;
        let once = once_keeping("RotateAlertSecret", &request.request_id, &request, kept)?;
        let (group, name) = which(&request.group, &request.name)?;
        respond(&self.alerts.rotate_secret(&granted, &once, (&group, &name)).await?)
    }

    async fn test_alert(&self, request: Request<TestAlertRequest>) -> Result<Response<TestAlertResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageGroups)?;
        let request = request.into_inner();
        let once = once_keeping("TestAlert", "", &request, |_| Vec::new())?;
        let (group, name) = which(&request.group, &request.name)?;
        Ok(Response::new(self.alerts.test(&granted, &once, (&group, &name)).await?.into()))
    }
}
