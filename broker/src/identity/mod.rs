//! Who is calling, and the proof that they may.
//!
//! The tenant comes from the credential and from nothing else. [`Authenticator`] turns the headers of a call into a
//! [`Caller`]; [`authorize`] turns a caller and a permission into a [`Granted`], which services demand, so that an
//! unauthorized call does not compile. Both can only be made here. A credential that is revoked is refused, and its streams end,
//! within five seconds, at every broker. Never done here: gRPC, and telling an unknown key from a
//! wrong secret.

mod api_keys;
mod audit;
mod authenticator;
mod bootstrap;
mod cache;
mod caller;
mod eddsa;
mod granted;
mod key;
mod key_text;
mod organizations;
mod passwords;
mod resets;
mod sessions;
mod standing;
mod throttle;
mod tokens;
mod users;

pub use self::{
    api_keys::{ApiKeys, Made, Shown},
    audit::AuditLog,
    authenticator::{Authenticator, KeySource},
    bootstrap::{Installed, install_key, install_user},
    caller::{Caller, KeyId, Who},
    granted::{
        Consume, Describe, Granted, ManageGroups, ManageKeys, ManageOrganization, ManageStreams, ManageUsers,
        OwnAccount, Permission, Publish, Read, ReadAudit, authorize, granted_to_rules, may,
    },
    key::ApiKey,
    organizations::{NewOrganization, Organizations, Registration},
    resets::Desk,
    sessions::{Identified, Issued, Sessions, SignIn},
    standing::{Standing, withdrawn},
    users::{Invited, Removed, Users, invite_first},
};
pub use crate::domain::api_key::Environment;
