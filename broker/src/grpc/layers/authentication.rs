//! Hands what the door found, the caller and where the call comes from, to the service.

use crate::{
    domain::{Error, Result, audit::Origin},
    identity::Caller,
};

/// The caller of this request. The door has put it there; a service without one is wired wrongly.
pub fn caller<T>(request: &tonic::Request<T>) -> Result<Caller> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| Error::internal("a call reached its service without a caller"))
}

/// Where this call comes from.
pub fn origin<T>(request: &tonic::Request<T>) -> Result<Origin> {
    let origin = request.extensions().get::<Origin>().cloned();
    origin.ok_or_else(|| Error::internal("a call reached its service from nowhere"))
}
