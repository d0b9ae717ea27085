//! A client of the raw API proves who it is.

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

/// Adds an API key to every call.
#[derive(Debug, Clone)]
pub struct WithKey(MetadataValue<Ascii>);

impl WithKey {
    pub fn new(key: &str) -> WithKey {
        let header = format!("Bearer {key}");
        WithKey(header.parse().unwrap_or_else(|_| panic!("`{key}` is no header")))
    }
}

impl Interceptor for WithKey {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}
