//! What every call passes before it reaches a service, and every answer on its way out.
//!
//! The layers are functions called in order by [`Door::answer`], not boxed middleware: the order can be read, and a call costs
//! no allocation a layer. Outermost first, each with the reason for its height:
//!
//! 0. `web`: a browser's questions are answered here, and a gRPC-Web call becomes a gRPC call. What a page of an origin that is
//!    not admitted calls is refused below, where it gets a reason, before anything else.
//! 1. `shape`: what is no gRPC call gets an HTTP answer that says so; nothing below must handle it.
//! 2. `request_id`: before everything that can fail, so that every failure has an id.
//! 3. `observe`: the span and the metrics of the call; above panics and refusals, so that these are counted too.
//! 4. `panics`: above everything that could panic; the process and the connection survive.
//! 5. `methods`: an unknown method needs no key, no permit and no deadline to be told so.
//! 6. `draining`: refused while it is certain that nothing was begun; before the key, which might need the database.
//! 7. `shed`: before the key too, so that a flood cannot spend the database's connections on keys.
//! 8. `authentication`: the caller, for everything below. A stream holds the standing of its credential from here on:
//!    [`RequestBody`] and [`AnswerBody`] end it when that is withdrawn.
//! 9. `limits`: what the caller's organization and credential may use; streams are counted until they end.
//! 10. `deadline`: around reading the request and the service; it bounds a request that trickles in.
//! 11. `rewrite` and [`AnswerBody`]: on the way out, errors that tonic made by itself become ours, get the request id, and are
//!     counted; it is the last to touch headers and trailers.

mod authentication;
mod body;
mod deadline;
mod methods;
mod observe;
mod panics;
mod request_body;
mod request_id;
mod rewrite;
mod shape;
mod shed;
mod web;

pub use self::{
    authentication::{caller, origin},
    body::AnswerBody,
    request_id::RequestId,
    web::{Browsers, Secure, came_from_page},
};

use crate::{
    config::Reflection,
    domain::{Applied, Error, Reason, Result, audit::Origin},
    grpc::{servers::MESSAGE_BYTES, status},
    identity::{Authenticator, Caller},
    limits::{Limits, Who},
};
use http::{HeaderMap, Request, Response};
use http_body::Body as HttpBody;
use methods::{Kind, Method, Methods};
use observe::Observed;
use request_body::RequestBody;
use shape::Web;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{body::Body, service::Routes, transport::server::TcpConnectInfo};
use tower::Service;
use tracing::Instrument;

/// How long the request of a refused call may take to come.
const READ_OUT: Duration = Duration::from_secs(5);

/// The other end of a connection, and the connection's own end. Services find it in a request's extensions.
#[derive(Clone, Debug)]
pub struct Peer {
    pub address: SocketAddr,
    /// The same without the port, as it is kept.
    pub host: Arc<str>,
    /// Fires when the connection is asked to go, because of its age or a shutdown: a session should say go-away and end.
    pub going: CancellationToken,
    /// Fires when whatever is still open is ended for it.
    pub ended: CancellationToken,
    /// The calls that run on the connection.
    pub calls: TaskTracker,
}

impl Peer {
    pub fn new(address: SocketAddr) -> Self {
        let host = address.ip().to_canonical().to_string().into();
        Self {
            address,
            host,
            going: CancellationToken::new(),
            ended: CancellationToken::new(),
            calls: TaskTracker::new(),
        }
    }
}

/// Everything between HTTP and the services.
pub struct Door {
    routes: Routes,
    methods: Methods,
    authenticator: Authenticator,
    shed: shed::Shed,
    limits: Limits,
    refusing: CancellationToken,
    browsers: Browsers,
}

/// How many calls may run at once, all connections together.
#[derive(Clone, Copy, Debug)]
pub struct CallLimits {
    pub unary: usize,
    pub streams: usize,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self { unary: 8_192, streams: 65_536 }
    }
}

impl Door {
    /// `calls` are those that may run at once, whoever makes them; `limits` speak of organizations and credentials. `refusing`
    /// fires when new calls are to be refused.
    pub fn new(
        routes: Routes,
        authenticator: Authenticator,
        descriptors: Reflection,
        (calls, limits): (CallLimits, Limits),
        refusing: CancellationToken,
    ) -> Result<Self> {
        let methods = Methods::all(descriptors)?;
        Ok(Self {
            routes,
            methods,
            authenticator,
            shed: shed::Shed::new(calls),
            limits,
            refusing,
            browsers: Browsers::default(),
        })
    }

    /// The same, for pages in browsers as well.
    #[must_use]
    pub fn for_browsers(self, browsers: Browsers) -> Self {
        Self { browsers, ..self }
    }

    /// One call, from its headers to the head of its answer; the rest of the answer is in the body.
    pub async fn answer<B>(self: Arc<Self>, mut request: Request<B>, peer: Peer) -> Response<AnswerBody>
    where
        B: HttpBody<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let early = self.browsers.answer(&request);
        let web = if early.is_none() { self.browsers.take(&mut request) } else { None };
        let shape = if web.is_some() { Web::Yes } else { Web::No };
        if let Some(mut answer) = early.or_else(|| shape::refusal(&request, shape)) {
            self.browsers.guard(&mut answer);
            return answer;
        }
        let id = RequestId::of(request.headers());
        let mut call = Observed::begin(self.methods.find(request.uri().path()), id, &peer);
        let span = call.span().clone();
        let result = panics::caught(self.pass(request, shape, &mut call, &peer)).instrument(span).await;
        let response = result.unwrap_or_else(|error| call.span().in_scope(|| status::to_status(&error)).into_http());
        let response = call.into_answer(response, peer.ended);
        let Some(web) = web else { return response };
        let mut response = web.answer(response);
        self.browsers.guard(&mut response);
        response
    }

    /// The layers that may refuse, then the service.
    async fn pass<B>(&self, request: Request<B>, web: Web, call: &mut Observed, peer: &Peer) -> Result<Response<Body>>
    where
        B: HttpBody<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.browsers.check(request.headers())?;
        let Some(method) = call.method() else {
            return Err(methods::unknown(request.uri().path()));
        };
        if web == Web::Yes && method.kind() == Kind::ClientStream {
            return Err(methods::no_stream_from_a_browser());
        }
        if !method.is_probe() {
            match self.refuse_when_draining().and_then(|()| self.shed.admit(&method)) {
                Ok(permit) => call.hold(permit),
                Err(refusal) => return Err(refused(refusal, request, &method).await),
            }
        }
        let deadline = deadline::of(request.headers(), method.kind())?;
        call.end_within(deadline.end);
        let mut request = request;
        request.extensions_mut().insert(peer.clone());
        let origin =
            Origin { request_id: call.id().text().clone(), method: method.name().clone(), address: peer.host.clone() };
        request.extensions_mut().insert(call.id().clone());
        request.extensions_mut().insert(origin.clone());
        request.extensions_mut().insert(TcpConnectInfo { local_addr: None, remote_addr: Some(peer.address) });
        deadline::within(deadline.head, async {
            if method.needs_key() {
                let caller = match self.known(request.headers(), &origin, &method, call).await {
                    Ok(caller) => caller,
                    Err(refusal) => return Err(refused(refusal, request, &method).await),
                };
                if method.kind() != Kind::Unary {
                    let standing = self.authenticator.standing(&caller);
                    request.extensions_mut().insert(standing.clone());
                    call.stand(standing);
                }
                request.extensions_mut().insert(caller);
            }
            match call.standing() {
                Some(standing) if method.kind() == Kind::ClientStream => {
                    self.serve(request.map(|body| RequestBody::new(body, standing))).await
                }
                _ => self.serve(request).await,
            }
        })
        .await
    }

    async fn serve<B>(&self, request: Request<B>) -> Result<Response<Body>>
    where
        B: HttpBody<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        // The router is always ready, and cannot fail.
        match self.routes.clone().call(request).await {
            Ok(response) => Ok(response),
            Err(never) => match never {},
        }
    }

    /// Who calls, within their quotas.
    async fn known(
        &self,
        headers: &HeaderMap,
        origin: &Origin,
        method: &Method,
        call: &mut Observed,
    ) -> Result<Caller> {
        let caller = self.authenticator.authenticate(headers, origin).await;
        let caller = caller.map_err(|error| error.applied(Applied::No))?;
        self.limit(&caller, method, call)?;
        Ok(caller)
    }

    /// What the caller's quotas say of one more call.
    fn limit(&self, caller: &Caller, method: &Method, call: &mut Observed) -> Result<()> {
        if self.limits.rules().are_empty() {
            return Ok(());
        }
        let who = Who { organization: caller.organization(), credential: caller.publisher() };
        self.limits.call(&who)?;
        if method.kind() != Kind::Unary {
            call.hold_stream(self.limits.open(&who)?);
        }
        Ok(())
    }

    fn refuse_when_draining(&self) -> Result<()> {
        if self.refusing.is_cancelled() { Err(draining(Applied::No)) } else { Ok(()) }
    }
}

/// A refusal, given when the request of a unary call has come, which nobody looks at. Given before, it would reset the stream, and the rest
/// of the request would count against its connection, until that is closed with everything else on it.
async fn refused<B: HttpBody>(refusal: Error, request: Request<B>, method: &Method) -> Error {
    if method.kind() == Kind::Unary {
        let mut body = std::pin::pin!(request.into_body());
        let read = async {
            let mut left = MESSAGE_BYTES;
            while let Some(Ok(frame)) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
                let bytes = frame.data_ref().map_or(0, bytes::Buf::remaining);
                if bytes > left {
                    return;
                }
                left -= bytes;
            }
        };
        // One that trickles in is not waited for.
        let _ = tokio::time::timeout(READ_OUT, read).await;
    }
    refusal
}

/// The broker is going; another one will serve.
fn draining(applied: Applied) -> Error {
    Error::new(Reason::BrokerDraining, "this broker is shutting down; try again, at another broker where there is one")
        .retry_after(Duration::from_millis(100))
        .applied(applied)
}
