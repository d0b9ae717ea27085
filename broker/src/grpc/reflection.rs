//! Server reflection, v1 and v1alpha, with the comments of the protos: what grpcurl lists and describes.

use crate::{
    config::Reflection,
    domain::{Error, Result},
};
use eventflow_proto::DESCRIPTORS;
use tonic::service::Routes;
use tonic_reflection::server::Builder;

/// Adds both versions, unless descriptors are off. Whether a key is needed is for the layers to say.
pub fn add(routes: Routes, descriptors: Reflection) -> Result<Routes> {
    if descriptors == Reflection::Off {
        return Ok(routes);
    }
    let v1 = builder().build_v1().map_err(Error::internal)?;
    // Older clients, such as grpcurl before 1.9, know only this one.
    let v1alpha = builder().build_v1alpha().map_err(Error::internal)?;
    Ok(routes.add_service(v1).add_service(v1alpha))
}

fn builder() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
