//! Exposition of a registry over HTTP.
//!
//! The recorder's families are written straight from their cells, all others
//! from [`Registry::gather`](prometheus::Registry::gather).

mod body;
mod family;
mod gathered;
#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "axum")]
mod handler;
mod negotiate;
mod number;
mod output;
mod recorded;
mod rendering;
mod write;

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use tower_service::Service;

pub use self::body::ExpositionBody;
pub(super) use self::rendering::Renderers;

use super::Inner;

/// Service that exposes a recorder's registry to Prometheus.
///
/// It is a tower service that never fails and, with the feature `axum`, also an
/// axum handler:
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Router, routing::get};
/// # let prometheus = tower_metrics::Prometheus::new();
/// let ops: Router = Router::new().route("/metrics", get(prometheus.exposition()));
/// // Or as any other service:
/// let ops: Router = Router::new().route_service("/metrics", prometheus.exposition());
/// # }
/// ```
///
/// It responds to `GET` and `HEAD` in the Prometheus text format 0.0.4, or in
/// OpenMetrics 1.0 if the `Accept` header prefers that. Only OpenMetrics
/// carries exemplars. With the feature `gzip`, responses are compressed if the
/// `Accept-Encoding` header allows it.
///
/// # Family names
///
/// OpenMetrics leaves the suffix `_total` out of a counter's family name, so
/// the counter `jobs_total` and the gauge `jobs` would become one family, which
/// parsers reject. Such a counter is written under its full name with the type
/// `unknown`. A family whose samples would have the names of another family's
/// samples (the gauge `jobs_count` beside the histogram `jobs`), or whose
/// values OpenMetrics does not allow (a histogram with a negative sum), is
/// written as one family of unknown type for each sample name. No sample is
/// lost.
///
/// # Cost
///
/// A scrape reads the cells without blocking any request. Concurrent scrapes
/// share a rendering: those that arrive during one wait for the next. Rendering
/// runs on the calling thread, so serve an exposition of many megabytes from a
/// separate runtime.
#[derive(Clone, Copy)]
pub struct Exposition(&'static Inner);

/// Text format of an [`Exposition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Prometheus text format 0.0.4.
    Text,
    /// OpenMetrics text format 1.0.
    OpenMetrics,
}

impl Format {
    /// Returns the `Content-Type` of a response in this format.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format's name for the type of a family without one.
    const fn unknown_type(self) -> &'static str {
        match self {
            Self::Text => "untyped",
            Self::OpenMetrics => "unknown",
        }
    }
}

impl Exposition {
    pub(crate) fn new(inner: &'static Inner) -> Self {
        Self(inner)
    }

    /// Renders everything in the registry.
    pub fn render(&self, format: Format) -> String {
        let rendering = self.0.renderers.render(self.0, format);
        // Everything in it was written from `str`s.
        String::from_utf8(rendering.text.to_vec()).unwrap_or_default()
    }

    fn respond(&self, method: &Method, headers: &HeaderMap) -> Response<ExpositionBody> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = Response::new(ExpositionBody::default());
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(header::ALLOW, allowed);
            return response;
        }
        let format = negotiate::format(headers);
        let rendering = self.0.renderers.render(self.0, format);
        let encoding = negotiate::encoding(headers);
        let content = rendering.encoded(encoding);

        let mut response = Response::new(ExpositionBody::default());
        let headers = response.headers_mut();
        let content_type = HeaderValue::from_static(format.content_type());
        headers.insert(header::CONTENT_TYPE, content_type);
        headers.insert(header::CONTENT_LENGTH, content.len().into());
        let vary = HeaderValue::from_static("accept, accept-encoding");
        headers.insert(header::VARY, vary);
        if let Some(encoding) = encoding.header_value() {
            headers.insert(header::CONTENT_ENCODING, encoding);
        }
        if *method == Method::GET {
            *response.body_mut() = ExpositionBody::new(content.clone());
        }
        response
    }
}

impl<B> Service<Request<B>> for Exposition {
    type Response = Response<ExpositionBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.respond(request.method(), request.headers())))
    }
}

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exposition").finish_non_exhaustive()
    }
}
