//! Who is calling, and the proof that they may.
//!
//! The tenant comes from the credential and from nothing else. [`Authenticator`] turns the headers of a call into a
//! [`Caller`]; [`authorize`] turns a caller and a permission into a [`Granted`], which services demand, so that an
//! unauthorized call does not compile. Both can only be made here. A credential that is revoked is refused, and its streams end,
//! within five seconds, at every broker. Never done here: gRPC, and telling an unknown key from a
//! wrong secret.

mod api_keys;
mod authenticator;
mod bootstrap;
mod cache;
mod caller;
mod granted;
mod key;
mod key_text;
mod standing;

pub use self::{
    api_keys::{ApiKeys, Made, Shown},
    authenticator::{Authenticator, KeySource},
    bootstrap::install_key,
    caller::{Caller, KeyId},
    granted::{
        Consume, Describe, Granted, ManageGroups, ManageKeys, ManageStreams, Permission, Publish, Read, authorize,
    },
    key::ApiKey,
    standing::{Standing, withdrawn},
};
pub use crate::domain::api_key::Environment;
