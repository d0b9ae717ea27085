//! The body of an answer on its way out: it catches panics, completes trailers, and ends a stream with its connection or with
//! its credential.

use super::{deadline::passed, draining, observe::Observed, panics, web::trailers_as_data};
use crate::{
    domain::{Applied, Error},
    grpc::status,
    identity::{Standing, withdrawn},
};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::Full;
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body};

/// What leaves by the door.
pub struct AnswerBody {
    inner: Body,
    /// The running call; `None` when it has ended, or there never was one.
    call: Option<Box<Running>>,
    /// Trailers are data: the answer goes to a browser.
    web: bool,
}

struct Running {
    observed: Observed,
    /// Says why what is still open is ended. Only streams listen: a unary answer is at hand.
    end: Option<Pin<Box<dyn Future<Output = Error> + Send>>>,
    /// A stream that always has something to say ends as well.
    bound: Option<(Instant, Duration)>,
}

impl AnswerBody {
    pub(super) fn empty() -> Self {
        Self { inner: Body::empty(), call: None, web: false }
    }

    /// A few words for somebody who does not speak gRPC.
    pub(super) fn text(text: &'static str) -> Self {
        Self { inner: Body::new(Full::new(Bytes::from_static(text.as_bytes()))), call: None, web: false }
    }

    pub(super) fn of_call(inner: Body, observed: Observed, end: CancellationToken) -> Self {
        let bound = observed.bound();
        let end =
            (!observed.is_unary()).then(|| Box::pin(ended(end, bound, observed.standing().cloned())) as Pin<Box<_>>);
        Self { inner, call: Some(Box::new(Running { observed, end, bound })), web: false }
    }

    /// The same for gRPC-Web.
    pub(super) fn for_web(self) -> Self {
        Self { web: true, ..self }
    }

    /// Ends the answer with an error, whatever the service would still have said.
    fn fail(&mut self, error: &Error) -> Frame<Bytes> {
        self.inner = Body::empty();
        let mut trailers = HeaderMap::new();
        // An error's text and details are always header text: tonic encodes both.
        let _ = status::to_status(error).add_header(&mut trailers);
        self.trailers(trailers)
    }

    fn trailers(&mut self, mut trailers: HeaderMap) -> Frame<Bytes> {
        if let Some(mut call) = self.call.take() {
            call.observed.complete_trailers(&mut trailers);
        }
        Frame::trailers(trailers)
    }
}

/// The connection's end, the client's deadline, or the end of its credential, whichever is first.
async fn ended(connection: CancellationToken, bound: Option<(Instant, Duration)>, standing: Option<Standing>) -> Error {
    let deadline = async {
        match bound {
            Some((until, bound)) => {
                tokio::time::sleep_until(until.into()).await;
                bound
            }
            None => std::future::pending().await,
        }
    };
    let withdrawal = async {
        match &standing {
            Some(standing) => standing.withdrawn().cancelled().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = connection.cancelled() => draining(Applied::Unknown),
        bound = deadline => passed(bound),
        () = withdrawal => withdrawn(),
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, Status>>>;

impl AnswerBody {
    fn poll(&mut self, cx: &mut Context<'_>) -> Polled {
        let this = self;
        let Some(call) = &mut this.call else {
            return Pin::new(&mut this.inner).poll_frame(cx);
        };
        let span = call.observed.span().clone();
        let _entered = span.enter();
        if call.observed.standing().is_some_and(|standing| standing.withdrawn().is_cancelled()) {
            return Poll::Ready(Some(Ok(this.fail(&withdrawn()))));
        }
        if let Some((_, bound)) = call.bound.filter(|(until, _)| *until <= Instant::now()) {
            return Poll::Ready(Some(Ok(this.fail(&passed(bound)))));
        }
        match panics::caught_here(|| Pin::new(&mut this.inner).poll_frame(cx)) {
            Err(panic) => Poll::Ready(Some(Ok(this.fail(&panic)))),
            Ok(Poll::Ready(Some(Ok(frame)))) => match frame.into_trailers() {
                Ok(trailers) => Poll::Ready(Some(Ok(this.trailers(trailers)))),
                Err(frame) => Poll::Ready(Some(Ok(frame))),
            },
            Ok(Poll::Pending) => match call.end.as_mut().map(|end| end.as_mut().poll(cx)) {
                Some(Poll::Ready(error)) => Poll::Ready(Some(Ok(this.fail(&error)))),
                _ => Poll::Pending,
            },
            Ok(end) => end,
        }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled {
        let this = self.get_mut();
        let polled = this.poll(cx);
        if !this.web {
            return polled;
        }
        polled.map_ok(|frame| {
            frame.into_trailers().map_or_else(|frame| frame, |last| Frame::data(trailers_as_data(&last)))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
