//! Browsers: gRPC-Web in place of gRPC, and the questions that a browser asks before it lets a page call.
//!
//! A gRPC-Web call is a gRPC call whose trailers are the last part of its body, over HTTP/1 or 2; it passes all layers like any
//! other. **Invariants:** a page of an origin that is not admitted gets no answer that it may read, and none of its calls begins;
//! no answer depends on a cookie but those of `refresh_cookie`, so that there is nothing else for a foreign page to ride on: the
//! credential is a header that only a page which has it can send.

use super::{AnswerBody, shape::refuse};
use crate::domain::web_headers::{STRICT_TRANSPORT, WEB_HEADERS};
use crate::domain::{Applied, Error, Reason, Result};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use std::sync::Arc;

/// Marks the part of a body that holds trailers.
const TRAILERS: u8 = 0x80;
const WEB: &str = "application/grpc-web";
const ASKED_HEADERS: &str = "authorization, content-type, grpc-timeout, x-grpc-web, x-request-id, x-user-agent";
const SHOWN_HEADERS: &str = "grpc-status, grpc-message, grpc-status-details-bin, x-request-id";
/// Seconds for which a browser need not ask again.
const REMEMBERED: &str = "600";

/// Whether the port speaks TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Secure {
    #[default]
    Plaintext,
    Tls,
}

/// What browsers may do at this door.
#[derive(Clone, Debug, Default)]
pub struct Browsers {
    origins: Arc<[String]>,
    secure: Secure,
}

/// A call in gRPC-Web, and the page's origin if a browser has sent it and it is admitted.
pub(super) struct WebCall {
    content_type: HeaderValue,
    origin: Option<HeaderValue>,
}

/// Marks a request that came as gRPC-Web.
#[derive(Clone, Copy, Debug)]
struct CameFromPage;

/// Whether the call came as gRPC-Web. A browser lets no form send that, and no page before it has asked whether its origin may.
pub fn came_from_page<T>(request: &tonic::Request<T>) -> bool {
    request.extensions().get::<CameFromPage>().is_some()
}

impl Browsers {
    /// `origins` are those whose pages may call, such as `https://console.example.com`, beside those of the broker itself at its
    /// `own` address.
    pub fn new(origins: &[String], own: &str, secure: Secure) -> Self {
        let own = own_origin(own, secure);
        Self { origins: origins.iter().cloned().chain([own]).collect(), secure }
    }

    /// The answer to a browser's question.
    pub(super) fn answer<B>(&self, request: &Request<B>) -> Option<Response<AnswerBody>> {
        let origin = request.headers().get(header::ORIGIN)?;
        if request.method() != Method::OPTIONS {
            return None;
        }
        if self.check(request.headers()).is_err() {
            return Some(refuse(
                StatusCode::FORBIDDEN,
                "pages of this origin may not call; see `server.browser_origins`\n",
            ));
        }
        let mut answer = Response::new(AnswerBody::empty());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        let headers = answer.headers_mut();
        allow(headers, origin.clone());
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static(ASKED_HEADERS));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(REMEMBERED));
        Some(answer)
    }

    /// Refuses whatever a page of another origin sends.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<()> {
        if headers.get_all(header::ORIGIN).iter().all(|origin| self.admits(origin)) {
            Ok(())
        } else {
            Err(not_admitted())
        }
    }

    /// Turns a gRPC-Web call into a gRPC call. `None`: it is no gRPC-Web call.
    pub(super) fn take<B>(&self, request: &mut Request<B>) -> Option<WebCall> {
        let content_type = request.headers().get(header::CONTENT_TYPE)?.clone();
        if !is_web(content_type.as_bytes()) || request.method() != Method::POST {
            return None;
        }
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        request.extensions_mut().insert(CameFromPage);
        let admitted = self.check(request.headers()).is_ok();
        Some(WebCall { content_type, origin: request.headers().get(header::ORIGIN).filter(|_| admitted).cloned() })
    }

    /// The headers that every answer to a browser has.
    pub(super) fn guard(&self, response: &mut Response<AnswerBody>) {
        let strict = (self.secure == Secure::Tls).then_some(STRICT_TRANSPORT);
        for (name, value) in WEB_HEADERS.into_iter().chain(strict) {
            response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
    }

    fn admits(&self, origin: &HeaderValue) -> bool {
        self.origins.iter().any(|known| known.as_bytes() == origin.as_bytes())
    }
}

impl WebCall {
    /// Turns a gRPC answer into one of gRPC-Web.
    pub(super) fn answer(self, response: Response<AnswerBody>) -> Response<AnswerBody> {
        let mut response = response.map(AnswerBody::for_web);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, self.content_type);
        if let Some(origin) = self.origin {
            allow(headers, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(SHOWN_HEADERS));
        }
        response
    }
}

/// An admitted origin's page may read the answer, also where the browser has sent a cookie.
fn allow(headers: &mut HeaderMap, origin: HeaderValue) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
}

/// The origin of pages from `host:port`, as browsers write it: without the port that the scheme has anyway.
fn own_origin(address: &str, secure: Secure) -> String {
    let (scheme, usual) = match secure {
        Secure::Plaintext => ("http", ":80"),
        Secure::Tls => ("https", ":443"),
    };
    format!("{scheme}://{}", address.strip_suffix(usual).unwrap_or(address).to_ascii_lowercase())
}

fn not_admitted() -> Error {
    let message = "pages of this origin may not call; the operator lists those that may in `server.browser_origins`";
    Error::new(Reason::OriginNotAdmitted, message).applied(Applied::No)
}

/// `application/grpc-web` and `application/grpc-web+proto`; the text form, for browsers of long ago, is something else.
fn is_web(content_type: &[u8]) -> bool {
    let name = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let format = name.split_at_checked(WEB.len()).filter(|(kind, _)| kind.eq_ignore_ascii_case(WEB.as_bytes()));
    format.is_some_and(|(_, format)| format.is_empty() || format.eq_ignore_ascii_case(b"+proto"))
}

/// Trailers as the last part of a body.
pub(super) fn trailers_as_data(trailers: &HeaderMap) -> Bytes {
    let mut text = BytesMut::new();
    for (name, value) in trailers {
        text.put_slice(name.as_str().as_bytes());
        text.put_slice(b": ");
        text.put_slice(value.as_bytes());
        text.put_slice(b"\r\n");
    }
    let mut part = BytesMut::with_capacity(text.len() + 5);
    part.put_u8(TRAILERS);
    part.put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
    part.put_slice(&text);
    part.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_binary_form_is_grpc_web() {
        for good in ["application/grpc-web", "application/grpc-web+proto", "Application/gRPC-Web+proto; charset=x"] {
            assert!(is_web(good.as_bytes()), "`{good}`");
        }
        for bad in ["application/grpc", "application/grpc-web-text", "application/grpc-web+json", "text/plain", ""] {
            assert!(!is_web(bad.as_bytes()), "`{bad}`");
        }
    }

    #[test]
    fn trailers_are_lines_behind_a_marked_length() {
        let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
        assert_eq!(&trailers_as_data(&trailers)[..], b"\x80\0\0\0\x10grpc-status: 0\r\n");
    }

    #[test]
    fn only_a_port_that_speaks_tls_asks_for_it() {
        for (secure, asks) in [(Secure::Plaintext, false), (Secure::Tls, true)] {
            let mut answer = Response::new(AnswerBody::empty());
            Browsers::new(&[], "localhost:1", secure).guard(&mut answer);
            assert_eq!(answer.headers().contains_key(STRICT_TRANSPORT.0), asks);
            assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        }
    }

    #[test]
    fn a_second_origin_does_not_hide_behind_the_first() {
        let browsers = Browsers::new(&[], "127.0.0.1:50051", Secure::Plaintext);
        let own = HeaderValue::from_static("http://127.0.0.1:50051");
        let mut headers = HeaderMap::from_iter([(header::ORIGIN, own)]);
        browsers.check(&headers).expect("its own pages");
        headers.append(header::ORIGIN, HeaderValue::from_static("https://evil.example"));
        assert_eq!(browsers.check(&headers).expect_err("refused").reason(), Reason::OriginNotAdmitted);
    }

    #[test]
    fn an_origin_is_admitted_to_the_letter() {
        let browsers =
            Browsers::new(&["https://console.example.com".to_owned()], "Broker.example.com:443", Secure::Tls);
        let admits = |origin: &'static str| browsers.admits(&HeaderValue::from_static(origin));
        assert!(admits("https://console.example.com") && admits("https://broker.example.com"));
        for other in [
            "http://console.example.com",
            "https://console.example.com:8443",
            "https://console.example.com.evil.example",
            "http://broker.example.com",
            "https://broker.example.com:443",
            "https://evil.example",
            "null",
            "*",
            "",
        ] {
            assert!(!admits(other), "`{other}`");
        }
    }
}
