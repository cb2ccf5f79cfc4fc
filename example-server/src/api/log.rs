//! Log lines of requests, and the sample of recent requests for the live page.

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

use crate::net::RateLimit;
use crate::problem::Cause;

/// Maximum number of lines per second about failed requests.
const FAILED_PER_SECOND: u32 = 100;
/// Maximum number of bytes of a path and of a cause in the log and in the sample of recent
/// requests.
const MAX_TEXT: usize = 256;

/// Observes the API's requests on behalf of the ops port.
///
/// # Bounds
/// Besides counters, it holds the sample of recent requests, which [`RecentRequests`] bounds in bytes.
/// Paths, methods and causes are cut at [`MAX_TEXT`] bytes, request IDs at 128.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestMonitor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    started: AtomicU64,
    recent: Arc<RecentRequests>,
    /// Limits lines about failures with a cause. Others have their own limit, so that they cannot
    /// suppress a cause.
    errors: RateLimit,
    failures: RateLimit,
}

impl Default for Inner {
    fn default() -> Self {
        let limit = || RateLimit::new(FAILED_PER_SECOND, Duration::from_secs(1));
        Self {
            started: AtomicU64::new(0),
            recent: Arc::default(),
            errors: limit(),
            failures: limit(),
        }
    }
}

impl RequestMonitor {
    /// Returns the number of requests received.
    pub(crate) fn started(&self) -> u64 {
        self.0.started.load(Relaxed)
    }

    /// Returns the sample of recent requests.
    pub(crate) fn recent(&self) -> Arc<RecentRequests> {
        self.0.recent.clone()
    }

    /// Counts a request. Runs outside the metrics layer, so that a request is never in the metrics
    /// without being counted here.
    pub(super) fn count(&self, request: Request) -> Request {
        self.0.started.fetch_add(1, Relaxed);
        request
    }
}

/// Fields that identify a request in the log.
struct RequestSummary {
    id: Option<RequestId>,
    trace: Option<TraceId>,
    method: Method,
    uri: Uri,
    route: Option<MatchedPath>,
}

/// Middleware that logs requests: 5xx responses at INFO, or at ERROR if their cause is known, and all
/// others at DEBUG.
pub(super) async fn log_request(
    State(RequestMonitor(monitor)): State<RequestMonitor>,
    request: Request,
    next: Next,
) -> Response {
    let summary = RequestSummary::of(&request);
    let span = summary.span();
    let start = Instant::now();
    let response = next.run(request).instrument(span.clone()).await;
    let duration = start.elapsed();
    span.in_scope(|| write(&response, duration, &monitor));
    let failed = response.status().is_server_error();
    let at = SystemTime::now();
    if monitor.recent.has_room(duration, failed) {
        let request = summary.to_logged_request(&response, at, duration);
        monitor.recent.record(request);
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

fn write(response: &Response, duration: Duration, monitor: &Inner) {
    let status = response.status().as_u16();
    let ms = milliseconds(duration);
    if !response.status().is_server_error() {
        tracing::debug!(status, ms, "request completed");
        return;
    }
    let (error, cause) = (error(response), cause(response));
    let limit = match cause {
        Some(_) => &monitor.errors,
        None => &monitor.failures,
    };
    let Some(count) = limit.check() else { return };
    // Failures without a line since the previous line.
    let suppressed = (count > 1).then_some(count - 1);
    match cause {
        Some(cause) => tracing::error!(status, ms, error, cause, suppressed, "request failed"),
        None => tracing::info!(status, ms, error, suppressed, "request failed"),
    }
}

/// Returns the duration in milliseconds, with microseconds as the smallest unit.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

/// Returns the first [`MAX_TEXT`] bytes of `text`, up to a character boundary.
fn truncate(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT)]
}

impl RequestSummary {
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

    fn to_logged_request(
        &self,
        response: &Response,
        at: SystemTime,
        duration: Duration,
    ) -> LoggedRequest {
        let failed = response.status().is_server_error();
        let mut request = LoggedRequest::new(at, duration);
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
        request.line = self.line(response, at, duration);
        request
    }

    /// Returns the line that the text format logs for the request.
    fn line(&self, response: &Response, at: SystemTime, duration: Duration) -> String {
        let at = Timestamp::try_from(at).map_or(String::new(), |at| format!("{at:.6} "));
        let (level, message) = match (response.status().is_server_error(), cause(response)) {
            (false, _) => ("DEBUG", "request completed"),
            (true, Some(_)) => ("ERROR", "request failed"),
            (true, None) => (" INFO", "request failed"),
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
            milliseconds(duration),
        );
        for (name, value) in [("error", error(response)), ("cause", cause(response))] {
            if let Some(value) = value {
                line += &format!(" {name}={value:?}");
            }
        }
        // The sample retains the line for 15 minutes.
        line.shrink_to_fit();
        line
    }
}
