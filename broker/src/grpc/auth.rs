//! `AuthService`.

use crate::grpc::convert::user::caller_response;
use crate::grpc::layers::{caller, origin};
use crate::grpc::refresh_cookie::{self as cookie, Keeping};
use crate::identity::{NewOrganization, OwnAccount, Registration, Sessions, SignIn, authorize};
use eventflow_proto::v1::{
    AcceptInvitationRequest, AcceptInvitationResponse, ChangePasswordRequest, ChangePasswordResponse, GetCallerRequest,
    GetCallerResponse, LoginRequest, LoginResponse, LogoutEverywhereRequest, LogoutEverywhereResponse, LogoutRequest,
    LogoutResponse, RefreshSessionRequest, RefreshSessionResponse, RegisterRequest, RegisterResponse,
    RequestPasswordResetRequest, RequestPasswordResetResponse, ResetPasswordRequest, ResetPasswordResponse,
    auth_service_server::AuthService,
};
use tonic::{Request, Response, Status};

/// Signing in and out, over `identity`.
pub struct AuthCalls {
    sessions: Sessions,
    registration: Registration,
}

impl AuthCalls {
    pub fn new(sessions: Sessions, registration: Registration) -> Self {
        Self { sessions, registration }
    }
}

#[tonic::async_trait]
impl AuthService for AuthCalls {
    async fn login(&self, request: Request<LoginRequest>) -> Result<Response<LoginResponse>, Status> {
        let origin = origin(&request)?;
        let keeping = Keeping::asked(&request, request.get_ref().session_cookie)?;
        let LoginRequest { organization, email, password, client, .. } = request.into_inner();
        let sign_in = SignIn { organization, email, password, client, origin };
        let (issued, user) = self.sessions.login(sign_in).await?;
        keeping.answer(issued, |tokens| LoginResponse { tokens: Some(tokens), user: Some((&user).into()) })
    }

    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<RegisterResponse>, Status> {
        let origin = origin(&request)?;
        let keeping = Keeping::asked(&request, request.get_ref().session_cookie)?;
        let RegisterRequest { organization, display_name, email, name, password, client, .. } = request.into_inner();
        let new = NewOrganization { organization, display_name, email, name, password, client, origin };
        let (issued, user) = self.sessions.register(self.registration, new).await?;
        keeping.answer(issued, |tokens| RegisterResponse { tokens: Some(tokens), user: Some((&user).into()) })
    }

    async fn refresh_session(
        &self,
        request: Request<RefreshSessionRequest>,
    ) -> Result<Response<RefreshSessionResponse>, Status> {
        let origin = origin(&request)?;
        let (token, keeping) = cookie::presented(&request, &request.get_ref().refresh_token);
        let issued = self.sessions.refresh(&token, &origin).await?;
        keeping.answer(issued, |tokens| RefreshSessionResponse { tokens: Some(tokens) })
    }

    async fn logout(&self, request: Request<LogoutRequest>) -> Result<Response<LogoutResponse>, Status> {
        let origin = origin(&request)?;
        let (token, keeping) = cookie::presented(&request, &request.get_ref().refresh_token);
        self.sessions.logout(&token, &origin).await?;
        keeping.forget(LogoutResponse {})
    }

    async fn logout_everywhere(
        &self,
        request: Request<LogoutEverywhereRequest>,
    ) -> Result<Response<LogoutEverywhereResponse>, Status> {
        let caller = caller(&request)?;
        let granted = authorize(&caller, OwnAccount)?;
        let ended_sessions = self.sessions.logout_everywhere(&caller, &granted).await? as u32;
        Ok(Response::new(LogoutEverywhereResponse { ended_sessions }))
    }

    async fn accept_invitation(
        &self,
        request: Request<AcceptInvitationRequest>,
    ) -> Result<Response<AcceptInvitationResponse>, Status> {
        let origin = origin(&request)?;
        let AcceptInvitationRequest { token, password } = request.into_inner();
        self.sessions.accept(&token, password, &origin).await?;
        Ok(Response::new(AcceptInvitationResponse {}))
    }

    async fn request_password_reset(
        &self,
        request: Request<RequestPasswordResetRequest>,
    ) -> Result<Response<RequestPasswordResetResponse>, Status> {
        let origin = origin(&request)?;
        let RequestPasswordResetRequest { organization, email } = request.into_inner();
        self.sessions.request_reset(organization, &email, origin).await?;
        Ok(Response::new(RequestPasswordResetResponse {}))
    }

    async fn reset_password(
        &self,
        request: Request<ResetPasswordRequest>,
    ) -> Result<Response<ResetPasswordResponse>, Status> {
        let origin = origin(&request)?;
        let ResetPasswordRequest { token, new_password } = request.into_inner();
        self.sessions.reset_password(&token, new_password, &origin).await?;
        Ok(Response::new(ResetPasswordResponse {}))
    }

    async fn change_password(
        &self,
        request: Request<ChangePasswordRequest>,
    ) -> Result<Response<ChangePasswordResponse>, Status> {
        let caller = caller(&request)?;
        let granted = authorize(&caller, OwnAccount)?;
        let ChangePasswordRequest { old_password, new_password } = request.into_inner();
        self.sessions.change_password(&caller, &granted, (old_password, new_password)).await?;
        Ok(Response::new(ChangePasswordResponse {}))
    }

    /// Anybody may know who they are.
    async fn get_caller(&self, request: Request<GetCallerRequest>) -> Result<Response<GetCallerResponse>, Status> {
        let (organization, identified) = self.sessions.identify(&caller(&request)?).await?;
        Ok(Response::new(caller_response(organization, identified)))
    }
}
