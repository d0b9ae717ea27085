//! `UserService`.

use crate::domain::user::{check_person_name, email};
use crate::grpc::convert::request_id::{once, once_keeping, respond};
use crate::grpc::convert::user::{role, user_change, user_id, without_token};
use crate::grpc::layers::caller;
use crate::identity::{ManageUsers, Users, authorize};
use eventflow_proto::v1::{
    GetUserRequest, GetUserResponse, InviteUserRequest, InviteUserResponse, ListUsersRequest, ListUsersResponse,
    RemoveUserRequest, RemoveUserResponse, ResetUserRequest, ResetUserResponse, UpdateUserRequest, UpdateUserResponse,
    user_service_server::UserService,
};
use tonic::{Request, Response, Status};

/// Users, over `identity`.
pub struct UserCalls {
    users: Users,
}

impl UserCalls {
    pub fn new(users: Users) -> Self {
        Self { users }
    }
}

#[tonic::async_trait]
impl UserService for UserCalls {
    async fn invite_user(&self, request: Request<InviteUserRequest>) -> Result<Response<InviteUserResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageUsers)?;
        let request = request.into_inner();
        let kept = without_token::<InviteUserResponse>;
        let once = once_keeping("InviteUser", &request.request_id, &request, kept)?;
        let user = request.user.unwrap_or_default();
        let email = email("user.email", &user.email)?;
        check_person_name("user.name", &user.name)?;
        respond(&self.users.invite(&granted, &once, (&email, &user.name, role(&user)?)).await?)
    }

    async fn reset_user(&self, request: Request<ResetUserRequest>) -> Result<Response<ResetUserResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageUsers)?;
        let request = request.into_inner();
        let kept = without_token::<ResetUserResponse>;
        let once = once_keeping("ResetUser", &request.request_id, &request, kept)?;
        respond(&self.users.reset(&granted, &once, user_id(&request.id)?).await?)
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageUsers)?;
        let user = self.users.get(&granted, user_id(&request.into_inner().id)?).await?;
        Ok(Response::new(GetUserResponse { user: Some((&user).into()) }))
    }

    async fn list_users(&self, request: Request<ListUsersRequest>) -> Result<Response<ListUsersResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageUsers)?;
        let request = request.into_inner();
        let page = self.users.list(&granted, request.page_size, &request.page_token).await?;
        Ok(Response::new(page.into()))
    }

    async fn update_user(&self, request: Request<UpdateUserRequest>) -> Result<Response<UpdateUserResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageUsers)?;
        let request = request.into_inner();
        let once = once::<_, UpdateUserResponse>("UpdateUser", &request.request_id, &request)?;
        let (id, change) = user_change(&request)?;
        respond(&self.users.update(&granted, &once, id, &change).await?)
    }

    async fn remove_user(&self, request: Request<RemoveUserRequest>) -> Result<Response<RemoveUserResponse>, Status> {
        let granted = authorize(&caller(&request)?, ManageUsers)?;
        let request = request.into_inner();
        let once = once::<_, RemoveUserResponse>("RemoveUser", &request.request_id, &request)?;
        respond(&self.users.remove(&granted, &once, user_id(&request.id)?).await?)
    }
}
