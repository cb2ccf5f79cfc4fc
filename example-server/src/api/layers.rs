//! What stands around every handler.

use std::time::Duration;

use axum::Router;
use axum::error_handling::HandleErrorLayer;
use axum::extract::DefaultBodyLimit;
use http::{Request, Response};
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{
    MakeRequestUuid, PropagateRequestIdLayer, RequestId, SetRequestIdLayer,
};
use tower_http::trace::TraceLayer;
use tower_metrics::{ErrorType, MetricsLayer, Prometheus};
use tracing::Span;

use super::{LARGEST_BODY, problem};

/// What one server takes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Requests worked on at once; the rest are shed.
    pub(crate) concurrency: usize,
    /// When a request is given up.
    pub(crate) timeout: Duration,
}

/// Wraps the routes, outermost first: what is shed or given up is counted, has a request id and
/// is logged; what panics frees its place.
pub(super) fn wrap(routes: Router, metrics: MetricsLayer<Prometheus>, limits: Limits) -> Router {
    routes.layer(
        ServiceBuilder::new()
            .layer(metrics)
            .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
            .layer(PropagateRequestIdLayer::x_request_id())
            .layer(
                TraceLayer::new_for_http()
                    .make_span_with(span)
                    .on_request(())
                    .on_response(log)
                    .on_failure(()),
            )
            .layer(HandleErrorLayer::new(problem::given_up))
            .layer(LoadShedLayer::new())
            // Global: axum applies a layer to each route, and the limit is the server's.
            .layer(GlobalConcurrencyLimitLayer::new(limits.concurrency))
            .layer(TimeoutLayer::new(limits.timeout))
            .layer(CatchPanicLayer::custom(problem::panicked))
            .layer(DefaultBodyLimit::max(LARGEST_BODY)),
    )
}

fn span<B>(request: &Request<B>) -> Span {
    let id = request
        .extensions()
        .get::<RequestId>()
        .and_then(|id| id.header_value().to_str().ok());
    tracing::info_span!(
        "request",
        id,
        trace = trace_id(request),
        method = request.method().as_str(),
        path = request.uri().path(),
    )
}

/// The trace that the request belongs to, from a W3C `traceparent`.
fn trace_id<B>(request: &Request<B>) -> Option<&str> {
    let value = request.headers().get("traceparent")?.to_str().ok()?;
    value.split('-').nth(1)
}

/// One line for each request: errors always, the rest where someone looks closely.
fn log<B>(response: &Response<B>, took: Duration, _: &Span) {
    let status = response.status().as_u16();
    let ms = took.as_secs_f64() * 1e3;
    if !response.status().is_server_error() {
        tracing::debug!(status, ms, "answered");
        return;
    }
    let error = response
        .extensions()
        .get::<ErrorType>()
        .map(|error| error.as_str());
    match response.extensions().get::<problem::Cause>() {
        Some(cause) => tracing::error!(status, ms, error, cause = cause.0, "failed"),
        None => tracing::info!(status, ms, error, "failed"),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use http::StatusCode;
    use tower::Service;

    use super::*;

    async fn boom() {
        panic!("boom");
    }

    #[tokio::test]
    async fn a_panic_is_answered_counted_and_frees_its_place() {
        let prometheus = Prometheus::builder().build().unwrap();
        let limits = Limits {
            concurrency: 1,
            timeout: Duration::from_secs(1),
        };
        let routes = Router::new().route("/boom", get(boom));
        let mut router = wrap(routes, MetricsLayer::new(prometheus), limits);
        for _ in 0..3 {
            let request = Request::get("/boom").body(Body::empty()).unwrap();
            let response = router.call(request).await.unwrap();
            assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
            let error = response.extensions().get::<ErrorType>().copied();
            assert_eq!(error, Some(ErrorType::PANIC));
            let body = axum::body::to_bytes(response.into_body(), 10_000)
                .await
                .unwrap();
            assert!(!String::from_utf8_lossy(&body).contains("boom"));
        }
    }
}
