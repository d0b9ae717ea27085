//! The body of a stream of requests: it breaks off when the caller's credential is withdrawn, so that nothing that is sent later
//! is taken in.

use crate::{
    grpc::status,
    identity::{Standing, withdrawn},
};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use std::{
    pin::Pin,
    task::{Context, Poll},
};
use tokio_util::sync::WaitForCancellationFutureOwned;

type Broken = Box<dyn std::error::Error + Send + Sync>;

/// What comes in while the credential is good.
pub(super) struct RequestBody<B> {
    inner: Pin<Box<B>>,
    withdrawn: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<B> RequestBody<B> {
    pub(super) fn new(inner: B, standing: &Standing) -> Self {
        Self { inner: Box::pin(inner), withdrawn: Box::pin(standing.withdrawn().clone().cancelled_owned()) }
    }
}

impl<B> HttpBody for RequestBody<B>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<Broken>,
{
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.withdrawn.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(Box::new(status::to_status(&withdrawn())))));
        }
        self.inner.as_mut().poll_frame(cx).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }
}
