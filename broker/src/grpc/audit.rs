//! `AuditService`.

use crate::grpc::convert::audit::filter;
use crate::grpc::layers::caller;
use crate::identity::{AuditLog, ReadAudit, authorize};
use eventflow_proto::v1::{ListAuditEventsRequest, ListAuditEventsResponse, audit_service_server::AuditService};
use tonic::{Request, Response, Status};

/// The audit log, over `identity`.
pub struct AuditCalls {
    log: AuditLog,
}

impl AuditCalls {
    pub fn new(log: AuditLog) -> Self {
        Self { log }
    }
}

#[tonic::async_trait]
impl AuditService for AuditCalls {
    async fn list_audit_events(
        &self,
        request: Request<ListAuditEventsRequest>,
    ) -> Result<Response<ListAuditEventsResponse>, Status> {
        let granted = authorize(&caller(&request)?, ReadAudit)?;
        let request = request.into_inner();
        let page = self.log.list(&granted, &filter(&request)?, request.page_size, &request.page_token).await?;
        Ok(Response::new(page.into()))
    }
}
