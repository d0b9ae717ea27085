//! One attempt to connect to one host: look up, connect, shake hands, hear the server's first byte.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use eventflow_proto::v1::GetLimitsRequest;
use hyper_util::rt::TokioIo;
use rand::seq::SliceRandom;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio::{net::TcpStream, sync::watch, time::timeout};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::{
    faults::{closed, closed_after_handshake, handshake_failed, innermost, mismatch, not_found, refused, timed_out},
    sniff::{Heard, Sniffed},
    transport::Transport,
};
use crate::{
    connection_string::Host,
    error::{Error, Result, reason},
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
            Ok(channel) => {
                let transport = Transport::new(channel, options)?;
                let confirmed = timeout(options.connect_timeout, confirmed(host, &transport, options));
                match confirmed.await.unwrap_or_else(|_| Err(timed_out(host))) {
                    Ok(()) => return Ok(transport),
                    Err(error) => first_error.get_or_insert(error),
                };
            }
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

/// Under TLS 1.3 a server refuses the client's certificate after the client has finished its handshake: only an answer to a call
/// tells. Any answer will do.
async fn confirmed(host: &Host, transport: &Transport, options: &ClientOptions) -> Result<()> {
    if !options.target.tls() {
        return Ok(());
    }
    match transport.streams().get_limits(GetLimitsRequest {}).await.map_err(Error::from) {
        Err(error) if error.reason() == reason::CLIENT_CERTIFICATE_REFUSED => Err(error),
        Err(error) if error.reason() == reason::CONNECTION_LOST => Err(closed_after_handshake(host).with_source(error)),
        _ => Ok(()),
    }
}

/// Waits for the server's first byte and checks that it fits.
async fn greeted(host: &Host, options: &ClientOptions, mut heard: watch::Receiver<Heard>) -> Result<()> {
    // An error means that the connection has been dropped; the last value tells whether anything was said.
    let _ = heard.wait_for(|heard| *heard != Heard::Nothing).await;
    let heard = *heard.borrow();
    match (heard, options.target.tls()) {
        (Heard::Http2, false) | (Heard::Tls, true) => Ok(()),
        _ => Err(mismatch(host, heard, options.target.tls()).unwrap_or_else(|| closed(host))),
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
        // One that is ignored would be missed at the handshake, and then the server would be blamed.
        if CertificateDer::pem_slice_iter(pem).next().is_none_or(|first| first.is_err()) {
            return Err(Error::invalid_options("`ca_certificate_pem` holds no certificate in PEM form"));
        }
        tls = tls.ca_certificate(Certificate::from_pem(pem));
    }
    if let Some((certificate, key)) = &options.client_certificate_pem {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    endpoint.tls_config(tls).map_err(bad)
}
