//! Exposition of a registry over HTTP.
//!
//! The recorder's families are written straight from their cells, all others
//! from [`Registry::gather`](prometheus::Registry::gather) and other sources.

mod body;
mod contents;
mod family;
mod gathered;
#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "axum")]
mod handler;
mod negotiate;
mod number;
mod others;
mod output;
mod protobuf;
mod query;
mod recorded;
mod rendering;
mod wire;
mod write;

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use tower_service::Service;

pub use self::body::ExpositionBody;
#[cfg(feature = "metrics")]
pub(super) use self::family::legacy_name;
pub(super) use self::rendering::Renderers;

use self::negotiate::Protocol;
use self::query::NameFilter;
use self::rendering::Syntax;
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
/// It responds to `GET` and `HEAD` in the format of the highest quality in the
/// `Accept` header:
///
/// | format | exemplars | native histograms, creation times |
/// |---|---|---|
/// | Prometheus text 0.0.4 and 1.0.0 | no | no |
/// | OpenMetrics text 0.0.1 and 1.0.0 | yes | no |
/// | delimited protobuf (`io.prometheus.client.MetricFamily`) | yes | yes |
///
/// Without one of these, as for `*/*`, the format is text 0.0.4. Prometheus 3
/// asks for OpenMetrics, and for protobuf with `scrape_native_histograms`. With
/// the feature `gzip`, responses are compressed if the `Accept-Encoding` header
/// allows it.
///
/// `?name[]=NAME`, which may be repeated, selects families by their name or by
/// the name of one of their samples.
///
/// # Escaping of names
///
/// Characters that Prometheus 2 does not allow in names are written as
/// underscores. The parameter `escaping` of the `Content-Type` says
/// `underscores`, or `allow-utf-8` or `values` if the scraper asked for that and
/// no name needs escaping.
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
///
/// # Memory
///
/// For each of text, OpenMetrics and protobuf that has been scraped, the recorder keeps the
/// last rendering, to reuse its memory, and a reading of the cells: with the default bucket
/// bounds about 230 bytes per series, and 32 bytes for each thread that has recorded it.
/// Vectors may have twice that capacity. For protobuf, it also keeps the encoded labels.
/// Scrapes that select families and `Registry::gather` each keep one more reading.
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
            Self::OpenMetrics => {
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores"
            }
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
        text(&self.0.renderers.render(self.0, Syntax::Text(format)))
    }

    /// Renders the families with one of these names. A name is that of the
    /// family or of one of its samples, as in the query `?name[]=`.
    ///
    /// ```
    /// use tower_metrics::Prometheus;
    /// use tower_metrics::prometheus::Format;
    ///
    /// let exposition = Prometheus::new().exposition();
    /// let text = exposition.render_families(Format::Text, ["tower_metrics_series"]);
    /// assert_eq!(text.matches("# TYPE").count(), 1);
    /// ```
    pub fn render_families(
        &self,
        format: Format,
        names: impl IntoIterator<Item: Into<String>>,
    ) -> String {
        let filter = NameFilter::new(names.into_iter().map(Into::into));
        let syntax = Syntax::Text(format);
        let renderers = &self.0.renderers;
        text(&renderers.render_selected(self.0, syntax, &filter))
    }

    /// Renders everything in the registry as length-delimited
    /// `io.prometheus.client.MetricFamily` messages.
    ///
    /// The `Content-Type` is [`PROTOBUF_CONTENT_TYPE`](Self::PROTOBUF_CONTENT_TYPE).
    pub fn render_protobuf(&self) -> Bytes {
        let rendering = self.0.renderers.render(self.0, Syntax::Protobuf);
        rendering.content.clone()
    }

    /// `Content-Type` of [`render_protobuf`](Self::render_protobuf).
    pub const PROTOBUF_CONTENT_TYPE: &str = negotiate::PROTOBUF;

    fn respond(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<ExpositionBody> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = Response::new(ExpositionBody::default());
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(header::ALLOW, allowed);
            return response;
        }
        let protocol = Protocol::accepted(headers);
        let syntax = match protocol {
            Protocol::Text0_0_4 | Protocol::Text1_0_0(_) => Syntax::Text(Format::Text),
            Protocol::OpenMetrics0_0_1 | Protocol::OpenMetrics1_0_0(_) => {
                Syntax::Text(Format::OpenMetrics)
            }
            Protocol::Protobuf => Syntax::Protobuf,
        };
        let renderers = &self.0.renderers;
        let rendering = match NameFilter::of_query(uri.query()) {
            None => renderers.render(self.0, syntax),
            Some(filter) => renderers.render_selected(self.0, syntax, &filter),
        };
        let encoding = negotiate::encoding(headers);
        let content = rendering.encoded(encoding);

        let mut response = Response::new(ExpositionBody::default());
        let headers = response.headers_mut();
        let content_type = HeaderValue::from_static(protocol.content_type(rendering.names_fit));
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

/// Returns the content of a rendering in a text format.
fn text(rendering: &rendering::Rendering) -> String {
    // Everything in it was written from `str`s.
    String::from_utf8(rendering.content.to_vec()).unwrap_or_default()
}

impl<B> Service<Request<B>> for Exposition {
    type Response = Response<ExpositionBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (method, uri) = (request.method(), request.uri());
        ready(Ok(self.respond(method, uri, request.headers())))
    }
}

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exposition").finish_non_exhaustive()
    }
}
