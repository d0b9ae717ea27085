//! The organization that the credential belongs to.

use std::time::SystemTime;

use eventflow_proto::v1;

use crate::{
    call::request_id,
    client::Client,
    connection::Transport,
    convert::{required, time_from_wire},
    error::{Error, Result},
};

/// An organization.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OrganizationInfo {
    /// What people sign in with.
    pub name: String,
    /// What people call it.
    pub display_name: String,
    /// Database time.
    pub create_time: SystemTime,
}

/// The organization of the credential. From [`Client::organization`].
#[derive(Clone, Debug)]
pub struct OwnOrganization {
    client: Client,
}

impl OwnOrganization {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// The organization.
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn get(&self) -> Result<OrganizationInfo> {
        let call = |broker: Transport| async move {
            broker.organizations().get_organization(v1::GetOrganizationRequest {}).await
        };
        required(self.client.unary(call).await?.organization, "organization")?.try_into()
    }

    /// Changes what people call it, for admins.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, `PERMISSION_DENIED`.
    pub async fn rename(&self, display_name: &str) -> Result<OrganizationInfo> {
        let organization = Some(v1::Organization { display_name: display_name.to_owned(), ..Default::default() });
        let update_mask = Some(prost_types::FieldMask { paths: vec!["display_name".to_owned()] });
        let request = v1::UpdateOrganizationRequest { organization, update_mask, request_id: request_id() };
        let call = |broker: Transport| {
            let request = request.clone();
            async move { broker.organizations().update_organization(request).await }
        };
        required(self.client.unary(call).await?.organization, "organization")?.try_into()
    }
}

impl TryFrom<v1::Organization> for OrganizationInfo {
    type Error = Error;

    fn try_from(organization: v1::Organization) -> Result<Self> {
        let create_time = time_from_wire(&required(organization.create_time, "organization.create_time")?);
        Ok(Self { name: organization.name, display_name: organization.display_name, create_time })
    }
}
