//! The OpenAPI document and the documentation page, both embedded in the binary.

use axum::response::{Html, IntoResponse};
use http::header;

use crate::security;

/// The OpenAPI document.
pub(crate) const DOCUMENT: &str = include_str!("openapi.json");

/// `GET /openapi.json`
pub(super) async fn document() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT)
}

/// `GET /docs`: a page that renders the document and loads nothing from other hosts.
pub(super) async fn page() -> impl IntoResponse {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
    (
        [(header::CONTENT_SECURITY_POLICY, policy)],
        security::PAGE,
        Html(include_str!("docs.html")),
    )
}
