//! Organizations.

use crate::domain::organization::{Organization, check_display_name};
use crate::domain::{Error, Result};
use crate::grpc::convert::mask;
use crate::grpc::convert::time::timestamp;
use eventflow_proto::v1;

/// What people are to call it from now on, if that is to change.
pub fn display_name(request: &v1::UpdateOrganizationRequest) -> Result<Option<String>> {
    let organization = request.organization.as_ref().ok_or_else(|| Error::invalid("organization", "must be set"))?;
    let mut changed = None;
    for _ in mask::paths(request.update_mask.as_ref(), &["display_name"])? {
        check_display_name("organization.display_name", &organization.display_name)?;
        changed = Some(organization.display_name.clone());
    }
    Ok(changed)
}

impl From<&Organization> for v1::Organization {
    fn from(organization: &Organization) -> Self {
        Self {
            name: organization.name.clone(),
            display_name: organization.display_name.clone(),
            create_time: Some(timestamp(organization.created_at)),
        }
    }
}

impl From<&Organization> for v1::UpdateOrganizationResponse {
    fn from(organization: &Organization) -> Self {
        Self { organization: Some(organization.into()) }
    }
}
