//! API keys.

use eventflow_proto::v1;

use super::{required, time_from_wire};
use crate::{
    api_keys::{Grant, KeyInfo, Scope},
    error::{Error, Result},
};

impl From<Grant> for v1::Grant {
    fn from(grant: Grant) -> Self {
        let scope = match grant.scope {
            Scope::Publish => v1::Scope::Publish,
            Scope::Consume => v1::Scope::Consume,
            Scope::Read => v1::Scope::Read,
            Scope::Manage => v1::Scope::Manage,
            Scope::Unknown => v1::Scope::Unspecified,
        };
        Self { scope: scope.into(), streams: grant.streams }
    }
}

impl From<v1::Grant> for Grant {
    fn from(grant: v1::Grant) -> Self {
        let scope = match grant.scope() {
            v1::Scope::Publish => Scope::Publish,
            v1::Scope::Consume => Scope::Consume,
            v1::Scope::Read => Scope::Read,
            v1::Scope::Manage => Scope::Manage,
            v1::Scope::Unspecified => Scope::Unknown,
        };
        Self { scope, streams: grant.streams }
    }
}

impl TryFrom<v1::ApiKey> for KeyInfo {
    type Error = Error;

    fn try_from(key: v1::ApiKey) -> Result<Self> {
        Ok(Self {
            id: key.id,
            masked: key.masked,
            description: key.description,
            grants: key.grants.into_iter().map(Into::into).collect(),
            creator: key.creator,
            create_time: time_from_wire(&required(key.create_time, "api_key.create_time")?),
            expire_time: key.expire_time.as_ref().map(time_from_wire),
            last_use_time: key.last_use_time.as_ref().map(time_from_wire),
            revoke_time: key.revoke_time.as_ref().map(time_from_wire),
            successor: Some(key.successor).filter(|id| !id.is_empty()),
        })
    }
}
