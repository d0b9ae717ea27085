//! What can go wrong on the way to a host: a reason, and a sentence that says what to change.

use std::{error::Error as StdError, io, net::SocketAddr};

use rustls::CertificateError;

use super::sniff::Heard;
use crate::{
    connection_string::Host,
    error::{Error, ErrorKind, reason},
    options::ClientOptions,
};

pub(super) fn not_found(host: &Host) -> Error {
    let message = format!("`{}` has no address; check the name in the connection string", host.name);
    Error::new(ErrorKind::Unavailable, reason::HOST_NOT_FOUND, message)
}

pub(super) fn refused(host: &Host, address: SocketAddr, error: io::Error) -> Error {
    let message = format!("`{host}` ({address}) cannot be reached: {error}; is a broker running there?");
    Error::new(ErrorKind::Unavailable, reason::CONNECTION_REFUSED, message).with_source(error)
}

pub(super) fn timed_out(host: &Host) -> Error {
    let message = format!("`{host}` did not answer in time; is it a broker, and is it overloaded?");
    Error::new(ErrorKind::Unavailable, reason::CONNECTION_TIMED_OUT, message)
}

pub(super) fn closed(host: &Host) -> Error {
    let message = format!("`{host}` closed the connection without a word; is it an EventFlow broker?");
    Error::new(ErrorKind::Unavailable, reason::CONNECTION_LOST, message)
}

/// Perhaps the alert that said why was lost with the connection; perhaps the broker was just stopped.
pub(super) fn closed_after_handshake(host: &Host) -> Error {
    let message = format!(
        "`{host}` closed the connection right after the TLS handshake; if it wants a certificate of the client's, give one with the \
         option `client_certificate_pem`"
    );
    Error::new(ErrorKind::Unavailable, reason::CONNECTION_LOST, message)
}

pub(super) fn mismatch(host: &Host, heard: Heard, tls: bool) -> Option<Error> {
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

pub(super) fn handshake_failed(
    host: &Host,
    options: &ClientOptions,
    heard: Heard,
    error: tonic::transport::Error,
) -> Error {
    let tls = options.target.tls();
    if let Some(error) = mismatch(host, heard, tls) {
        return error;
    }
    let cause = innermost(&error);
    if let Some((reason, message)) = certificate_error(&error).and_then(|fault| certificate_refused(host, fault)) {
        return Error::new(ErrorKind::Unavailable, reason, message).with_source(error);
    }
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

/// What is wrong with the server's certificate, when that was the reason.
fn certificate_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a CertificateError> {
    let mut chain = std::iter::successors(Some(error), |error| StdError::source(*error));
    // An `io::Error` does not count what it wraps as its source.
    let wrapped = chain.find_map(|error| error.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref());
    match wrapped? {
        rustls::Error::InvalidCertificate(fault) => Some(fault),
        _ => None,
    }
}

fn certificate_refused(host: &Host, fault: &CertificateError) -> Option<(&'static str, String)> {
    use CertificateError as Fault;
    let name = &host.name;
    Some(match fault {
        Fault::UnknownIssuer | Fault::BadSignature => (
            reason::CERTIFICATE_NOT_TRUSTED,
            format!(
                "the certificate of `{host}` is from an authority that is not trusted; give the authority's certificate \
                 with the option `ca_certificate_pem`, or name its file in the variable SSL_CERT_FILE"
            ),
        ),
        Fault::NotValidForName => (
            reason::CERTIFICATE_FOR_ANOTHER_HOST,
            format!("the certificate of `{host}` is not for `{name}`; connect by a name that it holds"),
        ),
        Fault::NotValidForNameContext { presented, .. } => (
            reason::CERTIFICATE_FOR_ANOTHER_HOST,
            format!(
                "the certificate of `{host}` is not for `{name}`; connect by a name that it holds: {}",
                presented.iter().map(|name| format!("`{}`", plain(name))).collect::<Vec<_>>().join(", ")
            ),
        ),
        Fault::Expired | Fault::ExpiredContext { .. } | Fault::NotValidYet | Fault::NotValidYetContext { .. } => (
            reason::CERTIFICATE_EXPIRED,
            format!("the certificate of `{host}` is not valid now; renew it, or set the clock of this machine"),
        ),
        _ => return None,
    })
}

/// `elsewhere.example` of `DnsName("elsewhere.example")`.
fn plain(name: &str) -> &str {
    name.split('"').nth(1).unwrap_or(name)
}

pub(super) fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
