//! The accept loop: from a TCP connection to calls at the [`Door`].
//!
//! Promises: a peer that says nothing, too little, too much or nonsense costs one timer and its own connection, and others do
//! not notice; the loop survives every error of `accept`; every connection has an end (age, shutdown, keepalive) and is told
//! before (GOAWAY). tonic's own server is not used, because with it an aged connection gets no GOAWAY and a drain no bound.

use super::{
    layers::{Door, Peer},
    preface::{self, Preface, Prefixed},
    tls::Tls,
};
use crate::{
    config,
    domain::{Error, Reason, Result},
    runtime::{Kind, Tasks},
    telemetry::metrics,
};
use http::Request;
use hyper::{body::Incoming, rt::Executor, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use rand::Rng;
use std::{convert::Infallible, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{either::Either, sync::CancellationToken};

/// A connection in plaintext, or under TLS.
type Transport = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Connections that have not yet said what they speak.
const HALF_OPEN_MAX: usize = 512;
/// Connections that the kernel may hold for us. With the usual 128, clients that all reconnect at once wait for seconds.
const BACKLOG: u32 = 4_096;
/// How long an aged connection may finish what runs on it.
const AGE_GRACE: Duration = Duration::from_secs(60);
/// How long the last answers and GOAWAY may take to leave.
const LAST_WORDS: Duration = Duration::from_secs(2);
const ACCEPT_BACKOFF_MIN: Duration = Duration::from_millis(10);
const ACCEPT_BACKOFF_MAX: Duration = Duration::from_secs(1);

/// Calls at the same time on one connection; more wait at the client. All sessions and publish streams of an SDK share one.
const STREAMS_MAX: u32 = 1_024;
const STREAM_WINDOW: u32 = 1024 * 1024;
/// All calls of a connection together may send so much ahead of us.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
const FRAME_BYTES: u32 = 64 * 1024;
const HEADER_BYTES: u32 = 16 * 1024;
/// What one call may have waiting for its peer's window before its body is polled no further.
const SEND_BUFFER_BYTES: usize = 512 * 1024;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams that a peer opened and reset before we looked (rapid reset).
const PENDING_RESETS_MAX: usize = 20;
/// Streams that we reset because of a peer's errors, before it is sent away.
const LOCAL_RESETS_MAX: usize = 256;

/// What the configuration says about connections.
#[derive(Clone, Debug)]
pub struct Options {
    pub max_connections: usize,
    pub handshake_timeout: Duration,
    /// `None` is no age.
    pub age: Option<Duration>,
    pub age_grace: Duration,
    /// `None` is plaintext.
    pub tls: Option<Tls>,
}

impl Options {
    pub fn new(server: &config::Server, tls: Option<Tls>) -> Self {
        Self {
            tls,
            max_connections: server.max_connections,
            handshake_timeout: server.handshake_timeout,
            age: server.connection_age,
            age_grace: AGE_GRACE,
        }
    }
}

/// Opens a port. The error is a sentence for whoever starts the broker.
pub fn bind(address: SocketAddr) -> Result<TcpListener> {
    listen(address).map_err(|error| {
        let (reason, hint) = match error.kind() {
            io::ErrorKind::AddrInUse => (Reason::PortTaken, "stop what listens there, or choose another"),
            io::ErrorKind::PermissionDenied => (Reason::PermissionDenied, "ports below 1024 need privileges"),
            io::ErrorKind::AddrNotAvailable => (Reason::InvalidArgument, "this machine has no such address"),
            _ => (Reason::Internal, "choose another address"),
        };
        let message = format!("cannot listen at `{address}`: {error}; {hint}");
        Error::new(reason, message).source(error)
    })
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restarted broker should not wait for connections of the one before to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts until `closing` fires; then the listener is gone, and every connection has been told to go. The connections are
/// tasks of their own: wait for those.
pub async fn run(
    listener: TcpListener,
    door: Arc<Door>,
    tasks: Tasks,
    options: Options,
    closing: CancellationToken,
) -> Result<()> {
    let acceptor = Acceptor {
        open: Arc::new(Semaphore::new(options.max_connections)),
        half_open: Arc::new(Semaphore::new(HALF_OPEN_MAX.min(options.max_connections))),
        builder: builder(&tasks, options.handshake_timeout),
        door,
        tasks,
        options,
        closing,
    };
    let acceptor = Arc::new(acceptor);
    let mut backoff = ACCEPT_BACKOFF_MIN;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = acceptor.closing.cancelled() => return Ok(()),
        };
        match accepted {
            Ok((stream, address)) => {
                backoff = ACCEPT_BACKOFF_MIN;
                acceptor.clone().admit(stream, address);
            }
            // Out of file descriptors or memory: whoever closes a connection makes room. Anything else concerned one peer.
            Err(error) => {
                metrics::get().accept_errors.increment(1);
                tracing::warn!(%error, ?backoff, "a connection could not be accepted");
                sleep(backoff).await;
                backoff = (backoff * 2).min(ACCEPT_BACKOFF_MAX);
            }
        }
    }
}

/// What all connections share.
struct Acceptor {
    open: Arc<Semaphore>,
    half_open: Arc<Semaphore>,
    builder: Builder<CallExecutor>,
    door: Arc<Door>,
    tasks: Tasks,
    options: Options,
    closing: CancellationToken,
}

impl Acceptor {
    /// Gives the connection a task, or closes it at once: a refusal that a client sees beats a queue that it does not.
    fn admit(self: Arc<Self>, stream: TcpStream, address: SocketAddr) {
        let metrics = metrics::get();
        metrics.accepted_connections.increment(1);
        let Ok(open) = self.open.clone().try_acquire_owned() else {
            return metrics.rejected_full.increment(1);
        };
        let Ok(half_open) = self.half_open.clone().try_acquire_owned() else {
            return metrics.rejected_half_open.increment(1);
        };
        let tasks = self.tasks.clone();
        tasks.spawn(Kind::Connection, async move {
            let counted = Counted::new(open);
            let served = self.serve(stream, address, half_open).await;
            drop(counted);
            served
        });
    }

    async fn serve(&self, stream: TcpStream, address: SocketAddr, half_open: OwnedSemaphorePermit) -> Result<()> {
        // A small answer should not wait for a larger one.
        stream.set_nodelay(true).map_err(Error::internal)?;
        let greeted = tokio::select! {
            greeted = timeout(self.options.handshake_timeout, self.greet(stream, address)) => greeted,
            () = self.closing.cancelled() => return Ok(()),
        };
        drop(half_open);
        match greeted {
            Ok(Some(stream)) => self.talk(stream, address).await,
            Ok(None) => Ok(()),
            Err(_) => {
                metrics::get().rejected_timeout.increment(1);
                Ok(())
            }
        }
    }

    /// The TLS handshake where TLS is spoken, and the first bytes. `None`: this is no peer for us.
    async fn greet(&self, stream: TcpStream, address: SocketAddr) -> Option<Prefixed<Transport>> {
        let mut stream = match &self.options.tls {
            None => Either::Left(stream),
            // Plaintext is answered with an alert, which tells the peer what is spoken here.
            Some(tls) => match TlsAcceptor::from(tls.current()).accept(stream).await {
                Ok(stream) => Either::Right(Box::new(stream)),
                Err(error) => {
                    metrics::get().rejected_tls.increment(1);
                    tracing::debug!(peer = %address, %error, "a TLS handshake failed");
                    return None;
                }
            },
        };
        match preface::read(&mut stream).await {
            Ok(Preface::Http(first)) => Some(Prefixed::new(first, stream)),
            Ok(Preface::Tls) => {
                metrics::get().rejected_tls.increment(1);
                tracing::debug!(peer = %address, "TLS against the plaintext port");
                None
            }
            Ok(Preface::Closed) | Err(_) => None,
        }
    }

    /// HTTP until the peer goes, or is told to.
    async fn talk(&self, stream: Prefixed<Transport>, address: SocketAddr) -> Result<()> {
        let peer = Peer::new(address);
        let service = service_fn(|request: Request<Incoming>| {
            let answer = self.door.clone().answer(request, peer.clone());
            async { Ok::<_, Infallible>(answer.await) }
        });
        let mut connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));

        tokio::select! {
            end = connection.as_mut() => return closed(end),
            () = at_age(self.options.age) => metrics::get().aged_connections.increment(1),
            () = self.closing.cancelled() => {}
        }
        // GOAWAY: what runs may finish, nothing new begins here. Sessions say go-away themselves and end.
        peer.going.cancel();
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            end = connection.as_mut() => return closed(end),
            () = sleep(self.options.age_grace) => {}
            () = self.closing.cancelled() => {}
        }
        // Streams that are still open end with a status that says to try again; unary calls finish. A peer that does not
        // answer is not waited for: once nothing runs, only what was said has to leave.
        peer.ended.cancel();
        peer.calls.close();
        tokio::select! {
            end = connection => closed(end),
            () = async { peer.calls.wait().await; sleep(LAST_WORDS).await } => Ok(()),
        }
    }
}

/// However a connection ends, it is the peer's business; the broker only traces it.
fn closed(end: std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>) -> Result<()> {
    end.map_err(Error::internal)
}

/// The age at which a connection is asked to go, ± 10 %, so that connections made together do not go together.
async fn at_age(age: Option<Duration>) {
    match age {
        Some(age) => {
            let jitter = rand::rng().random_range(0.9..1.1);
            sleep(age.mul_f64(jitter)).await;
        }
        None => std::future::pending().await,
    }
}

/// Every limit of HTTP, said aloud: the defaults are open, and an adaptive window kills a connection over many small frames
/// that a slow consumer has not read.
fn builder(tasks: &Tasks, handshake_timeout: Duration) -> Builder<CallExecutor> {
    let mut builder = Builder::new(CallExecutor(tasks.clone()));
    builder.http1().timer(TokioTimer::new()).header_read_timeout(handshake_timeout).max_buf_size(HEADER_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .adaptive_window(false)
        .auto_date_header(false)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS_MAX)
        .max_frame_size(FRAME_BYTES)
        .max_header_list_size(HEADER_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .max_local_error_reset_streams(LOCAL_RESETS_MAX)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder
}

/// Starts HTTP/2 calls as tasks of ours.
#[derive(Clone)]
struct CallExecutor(Tasks);

impl<F> Executor<F> for CallExecutor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, call: F) {
        self.0.spawn_call(call);
    }
}

/// A connection's place, counted while it is held.
struct Counted(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Counted {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        metrics::get().connections.increment(1);
        Self(permit)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        metrics::get().connections.decrement(1);
    }
}
