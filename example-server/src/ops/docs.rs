//! `/docs`: the problem types, to which the `type` of problems links. The API has a page of the same
//! path with its operations, whose address the ops port does not know.

use std::sync::LazyLock;

use axum::response::{Html, IntoResponse};
use http::header;

use crate::{problem, security};

const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static PAGE: LazyLock<String> = LazyLock::new(|| {
    include_str!("docs.html")
        .replace("{{style}}", include_str!("../api/docs/page.css"))
        .replace("{{problem types}}", &problem::table::html())
});

/// `GET /docs`
pub(super) async fn page() -> impl IntoResponse {
    (
        [
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::CACHE_CONTROL, "no-cache"),
        ],
        security::PAGE,
        Html(PAGE.as_str()),
    )
}
