//! Security headers of responses.

use http::{HeaderName, HeaderValue, Response, header};

/// Headers of the HTML pages: no framing, no referrer, no window shared with other origins.
pub(crate) const PAGE: [(HeaderName, &str); 4] = [
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

/// Tells browsers to trust the `Content-Type`, so that no JSON or text is interpreted as a page.
pub(crate) fn no_sniff<B>(mut response: Response<B>) -> Response<B> {
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
