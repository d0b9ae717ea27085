//! Is it a gRPC call at all? Whoever points a browser or a health probe at this port is told what the port is.

use super::AnswerBody;
use http::{HeaderValue, Method, Request, Response, StatusCode, Version, header};

/// Whether the call came as gRPC-Web, whose trailers no proxy can lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Web {
    Yes,
    No,
}

/// The HTTP answer for what is no gRPC call; `None` for a call.
pub(super) fn refusal<B>(request: &Request<B>, web: Web) -> Option<Response<AnswerBody>> {
    let content_type = request.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    if !is_grpc(content_type) {
        let text = "this port speaks gRPC and gRPC-Web (content-type: application/grpc, application/grpc-web); probes and metrics are on the HTTP port\n";
        return Some(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, text));
    }
    if request.method() != Method::POST {
        return Some(refuse(StatusCode::METHOD_NOT_ALLOWED, "gRPC calls are POST\n"));
    }
    if web == Web::No && request.version() != Version::HTTP_2 {
        // Trailers carry the status; HTTP/1 proxies lose them.
        return Some(refuse(StatusCode::HTTP_VERSION_NOT_SUPPORTED, "gRPC needs HTTP/2\n"));
    }
    None
}

/// `application/grpc` and `application/grpc+proto`; other encodings are something else.
fn is_grpc(content_type: &[u8]) -> bool {
    let name = content_type.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    name.eq_ignore_ascii_case(b"application/grpc") || name.eq_ignore_ascii_case(b"application/grpc+proto")
}

pub(super) fn refuse(code: StatusCode, text: &'static str) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::text(text));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(method: Method, version: Version, content_type: &str) -> Option<StatusCode> {
        let request = Request::builder().method(method).version(version).header("content-type", content_type).body(());
        refusal(&request.expect("request"), Web::No).map(|answer| answer.status())
    }

    #[test]
    fn only_grpc_over_http2_passes() {
        for good in ["application/grpc", "application/grpc+proto", "Application/gRPC; charset=x"] {
            assert_eq!(code(Method::POST, Version::HTTP_2, good), None, "`{good}`");
        }
        for bad in ["", "application/json", "application/grpc-web", "application/grpc+json", "text/html"] {
            let answer = code(Method::POST, Version::HTTP_2, bad);
            assert_eq!(answer, Some(StatusCode::UNSUPPORTED_MEDIA_TYPE), "`{bad}`");
        }
        assert_eq!(code(Method::GET, Version::HTTP_2, "application/grpc"), Some(StatusCode::METHOD_NOT_ALLOWED));
        let old = code(Method::POST, Version::HTTP_11, "application/grpc");
        assert_eq!(old, Some(StatusCode::HTTP_VERSION_NOT_SUPPORTED));
        let request = Request::post("/").version(Version::HTTP_11).header("content-type", "application/grpc").body(());
        assert!(refusal(&request.expect("request"), Web::Yes).is_none());
    }
}
