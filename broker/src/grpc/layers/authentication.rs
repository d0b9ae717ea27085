//! Hands the caller that the door found to the service.

use crate::{
    domain::{Error, Result},
    identity::Caller,
};

/// The caller of this request. The door has put it there; a service without one is wired wrongly.
pub fn caller<T>(request: &tonic::Request<T>) -> Result<Caller> {
    let caller = request.extensions().get::<Caller>().cloned();
    caller.ok_or_else(|| Error::internal("a call reached its service without a caller"))
}
