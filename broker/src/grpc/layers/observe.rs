//! The span and the metrics of one call, from its headers to its last byte, however it ends.

use super::{AnswerBody, Kind, Method, Peer, RequestId, methods::Found, request_id, rewrite};
use crate::identity::Standing;
use crate::limits::OpenStream;
use http::Response;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::{sync::CancellationToken, task::task_tracker::TaskTrackerToken};
use tonic::{Code, body::Body};
use tracing::Span;

/// A call that is running. Dropped without an end, it was cancelled.
pub(super) struct Observed {
    found: Found,
    id: RequestId,
    span: Span,
    begun: Instant,
    permit: Option<OwnedSemaphorePermit>,
    stream: Option<OpenStream>,
    /// How long a streamed answer may go on, from the beginning.
    bound: Option<Duration>,
    /// Of a stream with a credential.
    standing: Option<Standing>,
    /// Tells the connection that a call runs on it.
    _running: TaskTrackerToken,
    ended: bool,
}

impl Observed {
    pub(super) fn begin(found: Found, id: RequestId, peer: &Peer) -> Self {
        let span = tracing::info_span!(
            "call",
            otel.kind = "server",
            rpc.method = &**found.method.name(),
            request_id = %id.text(),
            peer = %peer.address,
        );
        Self {
            found,
            id,
            span,
            begun: Instant::now(),
            permit: None,
            stream: None,
            bound: None,
            standing: None,
            _running: peer.calls.token(),
            ended: false,
        }
    }

    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    pub(super) fn id(&self) -> &RequestId {
        &self.id
    }

    /// `None` for a method that does not exist.
    pub(super) fn method(&self) -> Option<Arc<Method>> {
        self.found.known.then(|| self.found.method.clone())
    }

    /// Keeps the permit until the call has ended.
    pub(super) fn hold(&mut self, permit: OwnedSemaphorePermit) {
        self.permit = Some(permit);
    }

    /// Keeps the place of a streaming call until it has ended.
    pub(super) fn hold_stream(&mut self, stream: Option<OpenStream>) {
        self.stream = stream;
    }

    /// A streamed answer ends when so much has passed since the call began.
    pub(super) fn end_within(&mut self, bound: Option<Duration>) {
        self.bound = bound;
    }

    /// When a streamed answer has to end, and the bound that says so.
    pub(super) fn bound(&self) -> Option<(Instant, Duration)> {
        self.bound.and_then(|bound| Some((self.begun.checked_add(bound)?, bound)))
    }

    /// Keeps the standing until the call has ended.
    pub(super) fn stand(&mut self, standing: Standing) {
        self.standing = Some(standing);
    }

    pub(super) fn standing(&self) -> Option<&Standing> {
        self.standing.as_ref()
    }

    /// Nothing can have been applied by a unary call whose request could not even be read.
    pub(super) fn is_unary(&self) -> bool {
        self.found.method.kind() == Kind::Unary
    }

    /// Completes the head of the answer. An error is often all there is; otherwise the call ends with its body.
    pub(super) fn into_answer(mut self, mut response: Response<Body>, end: CancellationToken) -> Response<AnswerBody> {
        let span = self.span.clone();
        let _entered = span.enter();
        let code = rewrite::complete(response.headers_mut(), &self.id, self.is_unary());
        response.headers_mut().insert(request_id::HEADER, self.id.header());
        match code {
            Some(code) => {
                self.end(code);
                response.map(|_| AnswerBody::empty())
            }
            None => response.map(|body| AnswerBody::of_call(body, self, end)),
        }
    }

    /// The status as trailers show it.
    pub(super) fn complete_trailers(&mut self, trailers: &mut http::HeaderMap) {
        let code = rewrite::complete(trailers, &self.id, self.is_unary()).unwrap_or(Code::Unknown);
        if code != Code::Ok {
            trailers.insert(request_id::HEADER, self.id.header());
        }
        self.end(code);
    }

    fn end(&mut self, code: Code) {
        if !self.ended {
            self.ended = true;
            self.permit = None;
            self.stream = None;
            self.found.method.ended(code, self.begun.elapsed().as_secs_f64());
            tracing::debug!(code = ?code, "the call has ended");
        }
    }
}

impl Drop for Observed {
    fn drop(&mut self) {
        let span = self.span.clone();
        span.in_scope(|| self.end(Code::Cancelled));
    }
}
