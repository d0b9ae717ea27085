//! One attempt to connect to one host: look up, connect, shake hands, hear the server's first byte.

use std::{
    error::Error as StdError,
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper_util::rt::TokioIo;
use rand::seq::SliceRandom;
use tokio::{net::TcpStream, sync::watch, time::timeout};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};

use super::{
    sniff::{Heard, Sniffed},
    transport::Transport,
};
use crate::{
    connection_string::Host,
    error::{Error, ErrorKind, Result, reason},
    options::ClientOptions,
};

/// Receive window of one HTTP/2 stream. Explicit, because adaptive windows break connections under many small frames.
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Receive window of the whole connection.
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// Connects to the first address of the host that answers.
pub(super) async fn dial(host: &Host, options: &ClientOptions) -> Result<Transport> {
    let mut addresses = look_up(host, options.connect_timeout).await?;
    addresses.shuffle(&mut rand::rng());
    let mut first_error = None;
    for address in addresses {
        let attempt = connect(host, address, options);
        match timeout(options.connect_timeout, attempt).await.unwrap_or_else(|_| Err(timed_out(host))) {
            Ok(channel) => return Transport::new(channel, options),
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    Err(first_error.unwrap_or_else(|| not_found(host)))
}

async fn look_up(host: &Host, limit: Duration) -> Result<Vec<SocketAddr>> {
    let found = timeout(limit, tokio::net::lookup_host((host.name.as_str(), host.port))).await;
    match found {
        Ok(Ok(addresses)) => Ok(addresses.collect()),
        Ok(Err(error)) => Err(not_found(host).with_source(error)),
        Err(_) => Err(timed_out(host)),
    }
}

async fn connect(host: &Host, address: SocketAddr, options: &ClientOptions) -> Result<Channel> {
    let tcp = TcpStream::connect(address).await.map_err(|error| refused(host, address, error))?;
    tcp.set_nodelay(true).map_err(|error| refused(host, address, error))?;
    let (io, heard) = Sniffed::new(tcp);
    let endpoint = endpoint(host, options)?;
    let once = Arc::new(Mutex::new(Some(TokioIo::new(io))));
    let connector = tower::service_fn(move |_| {
        let io = once.lock().unwrap_or_else(PoisonError::into_inner).take();
        std::future::ready(io.ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the connection has ended")))
    });
    let connected = endpoint.connect_with_connector(connector).await;
    let channel = match connected {
        Ok(channel) => channel,
        Err(error) => return Err(handshake_failed(host, options, *heard.borrow(), error)),
    };
    greeted(host, options, heard).await?;
    Ok(channel)
}

/// Waits for the server's first byte and checks that it fits.
async fn greeted(host: &Host, options: &ClientOptions, mut heard: watch::Receiver<Heard>) -> Result<()> {
    // An error means that the connection has been dropped; the last value tells whether anything was said.
    let _ = heard.wait_for(|heard| *heard != Heard::Nothing).await;
    let heard = *heard.borrow();
    match (heard, options.target.tls()) {
        (Heard::Http2, false) | (Heard::Tls, true) => Ok(()),
        _ => Err(mismatch(host, heard, options.target.tls()).unwrap_or_else(|| {
            let message = format!("`{host}` closed the connection without a word; is it an EventFlow broker?");
            Error::new(ErrorKind::Unavailable, reason::CONNECTION_LOST, message)
        })),
    }
}

fn endpoint(host: &Host, options: &ClientOptions) -> Result<Endpoint> {
    let scheme = if options.target.tls() { "https" } else { "http" };
    let bad = |error: tonic::transport::Error| {
        Error::invalid_options(format!("cannot connect to `{host}`: {}", innermost(&error))).with_source(error)
    };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{host}"))
        .and_then(|endpoint| endpoint.user_agent(crate::USER_AGENT))
        .map_err(bad)?
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(options.keepalive_interval)
        .keep_alive_timeout(options.keepalive_timeout)
        .keep_alive_while_idle(true)
        .http2_max_header_list_size(64 * 1024);
    if !options.target.tls() {
        return Ok(endpoint);
    }
    let mut tls = ClientTlsConfig::new().with_enabled_roots().domain_name(host.name.clone());
    if let Some(pem) = &options.ca_certificate_pem {
        tls = tls.ca_certificate(Certificate::from_pem(pem));
    }
    endpoint.tls_config(tls).map_err(bad)
}

fn not_found(host: &Host) -> Error {
    let message = format!("`{}` has no address; check the name in the connection string", host.name);
    Error::new(ErrorKind::Unavailable, reason::HOST_NOT_FOUND, message)
}

fn refused(host: &Host, address: SocketAddr, error: io::Error) -> Error {
    let message = format!("`{host}` ({address}) cannot be reached: {error}; is a broker running there?");
    Error::new(ErrorKind::Unavailable, reason::CONNECTION_REFUSED, message).with_source(error)
}

fn timed_out(host: &Host) -> Error {
    Error::new(ErrorKind::Unavailable, reason::CONNECTION_TIMED_OUT, format!("`{host}` did not answer in time"))
}

fn mismatch(host: &Host, heard: Heard, tls: bool) -> Option<Error> {
    let (reason, message) = match (heard, tls) {
        (Heard::Http2 | Heard::SomethingElse, true) => (
            reason::SERVER_SPEAKS_PLAINTEXT,
            format!("`{host}` speaks plaintext, and the client TLS; add `?tls=off` to the connection string"),
        ),
        (Heard::Tls, false) => (
            reason::SERVER_SPEAKS_TLS,
            format!("`{host}` speaks TLS, and the client plaintext; add `?tls=on` to the connection string"),
        ),
        (Heard::SomethingElse, false) => (
            reason::NOT_A_BROKER,
            format!("what listens on `{host}` is not a gRPC server; check the port (brokers use 50051)"),
        ),
        _ => return None,
    };
    Some(Error::new(ErrorKind::Unavailable, reason, message))
}

fn handshake_failed(host: &Host, options: &ClientOptions, heard: Heard, error: tonic::transport::Error) -> Error {
    let tls = options.target.tls();
    if let Some(error) = mismatch(host, heard, tls) {
        return error;
    }
    let cause = innermost(&error);
    let (reason, message) = match (tls, heard) {
        // A plaintext server hangs up on a TLS greeting without a word.
        (true, Heard::Nothing) => (
            reason::SERVER_SPEAKS_PLAINTEXT,
            format!(
                "`{host}` hung up on the TLS handshake; if it speaks plaintext, add `?tls=off` to the connection string"
            ),
        ),
        (true, _) => (reason::TLS_FAILED, format!("the TLS handshake with `{host}` failed: {cause}")),
        (false, _) => (reason::CONNECTION_LOST, format!("the connection to `{host}` failed: {cause}")),
    };
    Error::new(ErrorKind::Unavailable, reason, message).with_source(error)
}

fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
