//! Serves a registry: our families straight from their cells, everything else
//! from `gather()`.

mod family;
mod gathered;
#[cfg(feature = "axum")]
mod handler;
mod negotiate;
mod number;
mod output;
mod recorded;
mod write;

use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use tower_service::Service;

use self::output::Output;
use super::Inner;
use super::snapshot::Snapshot;

/// Serves everything in a recorder's registry to Prometheus: a tower service
/// that never fails, and with the feature `axum` a handler too.
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
/// It answers `GET` and `HEAD` in the text format 0.0.4, or in OpenMetrics 1.0
/// where `Accept` prefers it, and compresses with gzip where `Accept-Encoding`
/// names it. Exemplars are in OpenMetrics only.
///
/// A scrape reads the cells and holds up no request. Scrapes that arrive while
/// one is being rendered wait for the next rendering and share it. Rendering
/// runs on the calling thread: serve a very large exposition (many megabytes)
/// from a runtime of its own.
#[derive(Clone, Copy)]
pub struct Exposition(&'static Inner);

/// How figures are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics text 1.0.
    OpenMetrics,
}

impl Format {
    /// The `Content-Type` of an answer in this format.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format's name for a type that is not known.
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

    /// Everything in the registry, as text.
    pub fn render(&self, format: Format) -> String {
        let rendering = self.0.exposition.rendering(self.0, format);
        // Names, labels and numbers are all written from `str`s.
        String::from_utf8(rendering.plain.to_vec()).unwrap_or_default()
    }

    fn answer<B>(&self, request: &Request<B>) -> Response<ExpositionBody> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = Response::new(ExpositionBody::default());
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response
                .headers_mut()
                .insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let format = negotiate::format(request.headers());
        let gzip = negotiate::gzip(request.headers());
        let rendering = self.0.exposition.rendering(self.0, format);
        let content = if gzip {
            rendering.gzipped()
        } else {
            &rendering.plain
        };

        let mut response = Response::new(ExpositionBody::default());
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(format.content_type()),
        );
        headers.insert(header::CONTENT_LENGTH, content.len().into());
        headers.insert(
            header::VARY,
            HeaderValue::from_static("accept, accept-encoding"),
        );
        if gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if request.method() == Method::GET {
            *response.body_mut() = ExpositionBody {
                left: content.clone(),
            };
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
        ready(Ok(self.answer(&request)))
    }
}

impl fmt::Debug for Exposition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exposition").finish_non_exhaustive()
    }
}

/// One rendering, for all who asked for it.
#[derive(Debug, Default)]
struct Rendering {
    plain: Bytes,
    gzip: OnceLock<Bytes>,
}

impl Rendering {
    fn gzipped(&self) -> &Bytes {
        self.gzip.get_or_init(|| output::gzip(&self.plain))
    }
}

/// What the scrapes of a recorder share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    text: Renderer,
    open_metrics: Renderer,
}

#[derive(Debug, Default)]
struct Renderer {
    /// How many renderings have begun.
    begun: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    snapshot: Snapshot,
    last: Arc<Rendering>,
    /// The last rendering's number among those that have begun.
    number: u64,
}

impl Shared {
    fn rendering(&self, inner: &'static Inner, format: Format) -> Arc<Rendering> {
        let renderer = match format {
            Format::Text => &self.text,
            Format::OpenMetrics => &self.open_metrics,
        };
        // A read-modify-write sees the newest number: whoever counts a request
        // and then asks is never given a rendering from before it.
        let begun_before = renderer.begun.fetch_add(0, Ordering::AcqRel);
        let mut state = renderer
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if state.number > begun_before {
            return Arc::clone(&state.last);
        }
        let number = renderer.begun.fetch_add(1, Ordering::AcqRel) + 1;

        let state = &mut *state;
        // Should somebody's collector panic, there is nothing to share.
        state.number = 0;
        // Where somebody still holds the last rendering, its memory is theirs.
        let spare = Arc::try_unwrap(std::mem::take(&mut state.last)).unwrap_or_default();
        let mut output = Output::reusing(spare.plain);
        write::write_registry(&mut output, inner, &mut state.snapshot, format);
        state.last = Arc::new(Rendering {
            plain: output.finish(),
            gzip: OnceLock::new(),
        });
        state.number = number;
        Arc::clone(&state.last)
    }
}

/// The body of an exposition.
#[derive(Debug, Default)]
pub struct ExpositionBody {
    left: Bytes,
}

/// What is handed on at once: a slow reader is not given all of a large text.
const FRAME: usize = 1 << 20;

impl Body for ExpositionBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.left.len().min(FRAME);
        let frame = (length > 0).then(|| Ok(Frame::data(self.left.split_to(length))));
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
