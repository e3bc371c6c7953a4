//! Errors as problem details (RFC 9457): what is wrong, and what to do.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// The sort of problem: a name that does not change, for programs.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The same for people.
    pub title: &'static str,
    /// The status of the answer.
    pub status: u16,
    /// What is wrong with this request, and what to do.
    pub detail: String,
    /// A header that belongs to the answer.
    #[serde(skip)]
    header: Option<(&'static str, &'static str)>,
}

/// The media type of problem details.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

impl Problem {
    fn new(status: StatusCode, kind: &'static str, title: &'static str, detail: impl Into<String>) -> Self {
        Self { kind, title, status: status.as_u16(), detail: detail.into(), header: None }
    }

    fn with(self, name: &'static str, value: &'static str) -> Self {
        Self { header: Some((name, value)), ..self }
    }

    /// The request cannot be read.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "urn:reprise:bad-request", "the request cannot be read", detail)
    }

    /// The token is missing or wrong.
    pub(crate) fn unauthorised() -> Self {
        let detail = "send the header `Authorization: Bearer TOKEN` with the token of --api-token-file";
        Self::new(
            StatusCode::UNAUTHORIZED,
            "urn:reprise:unauthorised",
            "the token is missing or wrong",
            detail,
        )
        .with("www-authenticate", "Bearer")
    }

    /// Whoever has no token may read and not decide.
    pub(crate) fn untrusted() -> Self {
        let detail = "a decision needs the token also on this machine: start the node with --api-token-file, and send \
                      `Authorization: Bearer TOKEN`";
        Self::new(
            StatusCode::FORBIDDEN,
            "urn:reprise:untrusted",
            "the request may not change anything",
            detail,
        )
    }

    /// What was asked for cannot be done as things stand.
    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "urn:reprise:conflict", "it cannot be done now", detail)
    }

    /// What was asked for is not there.
    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "urn:reprise:not-found", "there is no such thing", detail)
    }

    /// The method is not one of the path's.
    pub(crate) fn wrong_method() -> Self {
        let detail = "what is read is asked by GET or HEAD, and a decision about a job or a worker is a POST: /openapi.json lists them";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "urn:reprise:method", "the method is not allowed", detail)
    }

    /// The body is too large.
    pub(crate) fn too_large(max: u64) -> Self {
        let detail = format!("a request needs no body, and may have one of {max} bytes at most");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "urn:reprise:too-large", "the body is too large", detail)
    }

    /// The request was meant for another host.
    pub(crate) fn misdirected() -> Self {
        let detail = "without --api-token-file the API is served under localhost, 127.0.0.1 and [::1] alone, so that no page of \
                      another site can read it: use one of these, or set a token";
        Self::new(
            StatusCode::MISDIRECTED_REQUEST,
            "urn:reprise:host",
            "the Host header names another host",
            detail,
        )
    }

    /// There are too many requests.
    pub(crate) fn too_many(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "urn:reprise:too-many",
            "there are too many requests",
            detail,
        )
        .with("retry-after", "1")
    }

    /// The node cannot answer now.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "urn:reprise:unavailable",
            "the node cannot answer now",
            detail,
        )
        .with("retry-after", "1")
    }

    /// The answer as bytes, for a connection that is closed after it.
    pub(crate) fn raw(&self) -> String {
        let body = serde_json::to_string(self).unwrap_or_default();
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: {}\r\nRetry-After: 1\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let header = self.header.take();
        let mut response = (status, Json(self)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if let Some((name, value)) = header {
            response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        response
    }
}
