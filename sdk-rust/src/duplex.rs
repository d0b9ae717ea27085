//! The answering half of a bidirectional call. A server may hold its headers back until the first request, so that requests
//! must be on their way before the call has "begun".

use std::pin::Pin;

use tonic::{Response, Status, Streaming};

type Opening<T> = Pin<Box<dyn Future<Output = Result<Response<Streaming<T>>, Status>> + Send>>;

/// Answers of a call that may still be opening.
pub(crate) enum Answers<T> {
    Opening(Opening<T>),
    Open(Box<Streaming<T>>),
}

impl<T> Answers<T> {
    pub(crate) fn opening(call: impl Future<Output = Result<Response<Streaming<T>>, Status>> + Send + 'static) -> Self {
        Self::Opening(Box::pin(call))
    }

    /// The next answer; `None` at the end. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Result<Option<T>, Status> {
        if let Self::Opening(opening) = self {
            let opened = opening.await?.into_inner();
            *self = Self::Open(Box::new(opened));
        }
        match self {
            Self::Open(answers) => answers.message().await,
            Self::Opening(_) => Ok(None),
        }
    }
}
