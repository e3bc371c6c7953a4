//! The page: three static files in the program, which ask this server and no other.

use std::sync::Arc;

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::IntoResponse;
use axum::routing::get;

use crate::served::Served;

/// Where its files are.
pub(crate) const PATHS: [&str; 3] = ["/", "/page.css", "/page.js"];

/// Nothing from elsewhere, nothing written into the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";

pub(crate) fn router() -> Router<Arc<Served>> {
    let [root, css, js] = PATHS;
    Router::new()
        .route(root, get(|| async { file("text/html; charset=utf-8", include_str!("page/index.html")) }))
        .route(css, get(|| async { file("text/css; charset=utf-8", include_str!("page/page.css")) }))
        .route(js, get(|| async { file("text/javascript; charset=utf-8", include_str!("page/page.js")) }))
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(CONTENT_TYPE, kind), (CONTENT_SECURITY_POLICY, POLICY), (CACHE_CONTROL, "no-cache")], text)
}
