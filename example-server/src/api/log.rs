//! A line in the log for each request, and a sample of them for the live page.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{Method, Uri};
use jiff::Timestamp;
use tower_http::request_id::RequestId;
use tower_metrics::{ErrorType, TraceId};
use tower_metrics_dashboard::live::{LoggedRequest, RecentRequests};
use tracing::{Instrument, Span};

use super::problem::Cause;
use crate::net::RateLimit;

/// Maximum number of lines per second about failed requests.
const FAILED_PER_SECOND: u32 = 100;
/// Maximum number of bytes of a path and of a cause in the log and in the sample of recent
/// requests.
const MAX_TEXT: usize = 256;

/// What the API lets the ops port know of its requests.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    begun: Arc<AtomicU64>,
    recent: Arc<RecentRequests>,
    failed: Arc<RateLimit>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            begun: Arc::default(),
            recent: Arc::default(),
            failed: Arc::new(RateLimit::new(FAILED_PER_SECOND, Duration::from_secs(1))),
        }
    }
}

impl Seen {
    /// Requests that have come in, counted at the door.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Relaxed)
    }

    /// A sample of the requests of the last minutes.
    pub(crate) fn recent(&self) -> Arc<RecentRequests> {
        self.recent.clone()
    }

    /// The outermost of all: counts a request before the metrics layer does.
    pub(super) fn come_in(&self, request: Request) -> Request {
        self.begun.fetch_add(1, Relaxed);
        request
    }
}

/// What a request is called in the log.
struct About {
    id: Option<RequestId>,
    trace: Option<TraceId>,
    method: Method,
    uri: Uri,
    route: Option<MatchedPath>,
}

/// Logs each request: errors always, the rest where someone looks closely.
pub(super) async fn follow(State(seen): State<Seen>, request: Request, next: Next) -> Response {
    let about = About::of(&request);
    let span = about.span();
    let begun = Instant::now();
    let response = next.run(request).instrument(span.clone()).await;
    let took = begun.elapsed();
    span.in_scope(|| write(&response, took, &seen.failed));
    let failed = response.status().is_server_error();
    let at = SystemTime::now();
    if seen.recent.has_room(took, failed) {
        seen.recent.record(about.with(&response, at, took));
    }
    response
}

fn error(response: &Response) -> Option<&'static str> {
    let error = response.extensions().get::<ErrorType>();
    error.map(|error| error.as_str())
}

fn cause(response: &Response) -> Option<&str> {
    let cause = response.extensions().get::<Cause>();
    cause.map(|cause| truncate(&cause.0))
}

fn write(response: &Response, took: Duration, limit: &RateLimit) {
    let status = response.status().as_u16();
    let ms = took.as_secs_f64() * 1e3;
    if !response.status().is_server_error() {
        tracing::debug!(status, ms, "answered");
        return;
    }
    let Some(count) = limit.check() else { return };
    // Failed requests without a line, since the last line.
    let suppressed = (count > 1).then_some(count - 1);
    let error = error(response);
    match cause(response) {
        Some(cause) => tracing::error!(status, ms, error, cause, suppressed, "failed"),
        None => tracing::info!(status, ms, error, suppressed, "failed"),
    }
}

/// Returns the first [`MAX_TEXT`] bytes of `text`, up to a character boundary.
fn truncate(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

impl About {
    fn of(request: &Request) -> Self {
        Self {
            id: request.extensions().get().cloned(),
            trace: TraceId::from_traceparent(request.headers()),
            method: request.method().clone(),
            uri: request.uri().clone(),
            route: request.extensions().get().cloned(),
        }
    }

    fn id(&self) -> &str {
        let id = self.id.as_ref();
        id.and_then(|id| id.header_value().to_str().ok())
            .unwrap_or_default()
    }

    fn span(&self) -> Span {
        tracing::info_span!(
            "request",
            id = self.id(),
            trace = self.trace.map(tracing::field::display),
            method = truncate(self.method.as_str()),
            path = truncate(self.uri.path()),
        )
    }

    fn with(&self, response: &Response, at: SystemTime, took: Duration) -> LoggedRequest {
        let failed = response.status().is_server_error();
        let mut request = LoggedRequest::new(at, took);
        request.id = self.id().to_owned();
        request.method = truncate(self.method.as_str()).to_owned();
        if let Some(route) = &self.route {
            request.route = route.as_str().to_owned();
        }
        request.status = Some(response.status().as_u16());
        request.error_type = match error(response) {
            Some(error) => error.to_owned(),
            None if failed => response.status().as_str().to_owned(),
            None => String::new(),
        };
        request.failed = failed;
        request.line = self.line(response, at, took);
        request
    }

    /// The request's line as the text log has it.
    fn line(&self, response: &Response, at: SystemTime, took: Duration) -> String {
        let at = Timestamp::try_from(at).map_or(String::new(), |at| format!("{at:.6} "));
        let (level, message) = match (response.status().is_server_error(), cause(response)) {
            (false, _) => ("DEBUG", "answered"),
            (true, Some(_)) => ("ERROR", "failed"),
            (true, None) => (" INFO", "failed"),
        };
        let mut line = format!("{at}{level} request{{id={:?}", self.id());
        if let Some(trace) = self.trace {
            line += &format!(" trace={trace}");
        }
        line += &format!(
            " method={:?} path={:?}}}: {message} status={} ms={}",
            truncate(self.method.as_str()),
            truncate(self.uri.path()),
            response.status().as_u16(),
            took.as_secs_f64() * 1e3,
        );
        for (name, value) in [("error", error(response)), ("cause", cause(response))] {
            if let Some(value) = value {
                line += &format!(" {name}={value:?}");
            }
        }
        // The sample keeps it for up to 15 minutes.
        line.shrink_to_fit();
        line
    }
}
