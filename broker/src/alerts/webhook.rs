//! One notification to one webhook: a connection of its own, to an address that was looked at.
//!
//! **Invariants:** the name is resolved once, and the connection goes to one of the addresses that were found and may be reached, so
//! that nobody can show a good one first and lead elsewhere; nobody is redirected; no proxy is asked; nothing of the answer is read but
//! its head, which is bounded, and of that only the status is kept.

use super::address::Reach;
use super::target::{Host, Scheme, Target};
use crate::domain::{Error, Result};
use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use uuid::Uuid;

/// For all of it, from the name of the host to the status.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
/// Addresses of a host that are tried.
const ADDRESSES_MAX: usize = 4;
/// The head of an answer.
const HEAD_BYTES: usize = 16 * 1024;
/// Characters of a failure that are kept.
const FAILURE_MAX: usize = 200;

/// What a webhook may be.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    pub scheme: Scheme,
    pub reach: Reach,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// 0: no status was answered.
    pub http_status: u16,
    /// Empty: it was taken.
    pub error: String,
}

/// What is posted.
pub(super) struct Post<'a> {
    pub id: Uuid,
    /// Of the signature's header.
    pub signature: String,
    pub body: &'a str,
}

/// Posts to webhooks. Cheap to clone.
#[derive(Clone)]
pub(super) struct Webhooks {
    allowed: Allowed,
    tls: TlsConnector,
}

impl Webhooks {
    /// Certificates are checked against the system's roots.
    pub(super) fn new(allowed: Allowed) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in rustls_native_certs::load_native_certs().certs {
            // A root that rustls cannot read is one that nothing can be checked against.
            let _ = roots.add(certificate);
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(Error::internal)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { allowed, tls: TlsConnector::from(Arc::new(tls)) })
    }

    /// Refuses a URL that no webhook may have. Empty is none.
    pub(super) fn check(&self, field: &str, url: &str) -> Result<()> {
        if url.is_empty() {
            return Ok(());
        }
        Target::parse(url, self.allowed).map(drop).map_err(|why| Error::invalid(field, why))
    }

    /// Posts once.
    pub(super) async fn post(&self, url: &str, post: &Post<'_>) -> Posted {
        let exchange = async {
            // What was allowed when it was set need not be now.
            let target = Target::parse(url, self.allowed).map_err(|why| format!("the URL {why}"))?;
            self.exchange(&target, post).await
        };
        let answered = tokio::time::timeout(TIMEOUT, exchange).await;
        let answered = answered.unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs())));
        match answered {
            Ok(status) if (200..300).contains(&status) => Posted { http_status: status, error: String::new() },
            Ok(status) if (300..400).contains(&status) => Posted {
                http_status: status,
                error: format!("answered with status {status}; redirects are not followed"),
            },
            Ok(status) => Posted { http_status: status, error: format!("answered with status {status}") },
            Err(why) => {
                let error = why.chars().filter(|c| !c.is_control()).take(FAILURE_MAX).collect();
                Posted { http_status: 0, error }
            }
        }
    }

    async fn exchange(&self, target: &Target, post: &Post<'_>) -> Result<u16, String> {
        let stream = connect(&self.addresses(target).await?).await?;
        if !target.tls {
            return ask(stream, target, post).await;
        }
        let name = match &target.host {
            Host::Address(address) => ServerName::IpAddress((*address).into()),
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(|_| "the host cannot be checked by TLS")?,
        };
        let stream = self.tls.connect(name, stream).await.map_err(|error| format!("TLS failed: {error}"))?;
        ask(stream, target, post).await
    }

    /// Where the host is, of what may be reached.
    async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, String> {
        let found: Vec<SocketAddr> = match &target.host {
            Host::Address(address) => vec![SocketAddr::new(*address, target.port)],
            Host::Name(name) => match lookup_host((name.as_str(), target.port)).await {
                Ok(found) => found.collect(),
                Err(_) => return Err("the host's name could not be resolved".to_owned()),
            },
        };
        let may = |address: &SocketAddr| self.allowed.reach.covers(address.ip());
        let allowed: Vec<SocketAddr> = found.into_iter().filter(may).take(ADDRESSES_MAX).collect();
        if allowed.is_empty() {
            return Err("the host has no public address, and no other one is spoken to".to_owned());
        }
        Ok(allowed)
    }
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, String> {
    let mut failure = String::new();
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = format!("could not connect: {}", error.kind()),
        }
    }
    Err(failure)
}

async fn ask(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    target: &Target,
    post: &Post<'_>,
) -> Result<u16, String> {
    let failed = |_| "what answered does not speak HTTP, or closed the connection".to_owned();
    let request = Request::builder()
        .method(Method::POST)
        .uri(&target.path)
        .header(header::HOST, &target.authority)
        .header(header::USER_AGENT, concat!("eventflow/", env!("CARGO_PKG_VERSION")))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONNECTION, "close")
        .header("eventflow-id", post.id.to_string())
        .header("eventflow-signature", &post.signature)
        .body(Full::new(Bytes::copy_from_slice(post.body.as_bytes())))
        .map_err(|_| "the URL cannot be asked for".to_owned())?;
    let mut http = http1::Builder::new();
    let handshake = http.max_buf_size(HEAD_BYTES).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(failed)?;
    let answer = sender.send_request(request);
    tokio::pin!(answer, connection);
    tokio::select! {
        biased;
        response = &mut answer => response.map(|response| response.status().as_u16()).map_err(failed),
        // It may have ended with the answer.
        _ = &mut connection => answer.await.map(|response| response.status().as_u16()).map_err(failed),
    }
}
