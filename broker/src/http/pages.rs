//! What each path says.

use super::Pages;
use crate::{domain::web_headers::WEB_HEADERS, runtime::readiness::Cause, telemetry::metrics};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::json;

const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

/// The request's body is never read.
pub(super) fn answer<B>(request: &Request<B>, pages: &Pages) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n".to_owned());
    }
    match request.uri().path() {
        // Answering at all is being alive.
        "/livez" => page(StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/readyz" => ready(&pages.readiness.causes()),
        "/metrics" => {
            page(StatusCode::OK, PROMETHEUS, metrics::render() + &pages.lags.render() + &pages.alerts.render())
        }
        "/.well-known/jwks.json" => page(StatusCode::OK, JSON, pages.public_keys.text().to_string()),
        _ => page(
            StatusCode::NOT_FOUND,
            TEXT,
            "here are /livez, /readyz and /metrics; gRPC is on its own port\n".to_owned(),
        ),
    }
}

fn ready(causes: &[Cause]) -> Response<Full<Bytes>> {
    let code = if causes.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let reasons: Vec<_> =
        causes.iter().map(|cause| json!({ "condition": cause.condition.as_str(), "detail": cause.detail })).collect();
    let body = json!({ "ready": causes.is_empty(), "reasons": reasons });
    page(code, JSON, format!("{body}\n"))
}

fn page(code: StatusCode, content_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = code;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    for (name, value) in WEB_HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Condition, Readiness};
    use http_body_util::BodyExt;

    async fn get(path: &str, method: Method, readiness: &Readiness) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path).body(()).expect("request");
        let pages = Pages {
            readiness: readiness.clone(),
            lags: Default::default(),
            alerts: Default::default(),
            public_keys: Default::default(),
        };
        let response = answer(&request, &pages);
        let code = response.status();
        let bytes = response.into_body().collect().await.expect("body").to_bytes();
        (code, String::from_utf8(bytes.to_vec()).expect("utf-8"))
    }

    #[tokio::test]
    async fn readiness_names_every_reason() {
        let readiness = Readiness::starting();
        readiness.raise(Condition::DatabaseDown, "connection refused");
        let (code, text) = get("/readyz", Method::GET, &readiness).await;
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
        let body: serde_json::Value = serde_json::from_str(&text).expect("json");
        assert_eq!(body["ready"], false);
        assert_eq!(body["reasons"][0]["condition"], "starting");
        assert_eq!(body["reasons"][1]["detail"], "connection refused");

        readiness.clear(Condition::Starting);
        readiness.clear(Condition::DatabaseDown);
        let (code, text) = get("/readyz", Method::GET, &readiness).await;
        assert_eq!((code, text.as_str()), (StatusCode::OK, "{\"ready\":true,\"reasons\":[]}\n"));
    }

    #[tokio::test]
    async fn a_broker_that_is_not_ready_is_alive_and_shows_its_metrics() {
        let readiness = Readiness::starting();
        assert_eq!(get("/livez", Method::GET, &readiness).await.0, StatusCode::OK);
        let (code, text) = get("/metrics", Method::GET, &readiness).await;
        assert!(code == StatusCode::OK && text.contains("eventflow_connections"), "{text}");
    }

    #[tokio::test]
    async fn public_keys_are_shown_as_a_key_set() {
        let (code, text) = get("/.well-known/jwks.json", Method::GET, &Readiness::starting()).await;
        assert_eq!((code, text.as_str()), (StatusCode::OK, "{\"keys\":[]}"));
    }

    #[tokio::test]
    async fn anything_else_is_refused_with_a_hint() {
        let readiness = Readiness::starting();
        let (code, text) = get("/", Method::GET, &readiness).await;
        assert!(code == StatusCode::NOT_FOUND && text.contains("/readyz"));
        assert_eq!(get("/metrics", Method::POST, &readiness).await.0, StatusCode::METHOD_NOT_ALLOWED);
    }
}
