//! Middleware stack of the API.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::from_fn_with_state;
use http::HeaderName;
use tower::ServiceBuilder;
use tower::timeout::TimeoutLayer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_metrics::{CountRequestBytes, MetricsLayer, Prometheus, RequestBody, ServiceError};

use super::log::{self, RequestMonitor};
use crate::body::MAX_BODY;
use crate::net::{self, Admission};
use crate::problem;
use crate::security::no_sniff;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Maximum length of a client's request ID.
const MAX_REQUEST_ID: usize = 128;

/// Layer that measures the API.
///
/// It counts the bytes that the server reads of request bodies, because a client can declare
/// any length.
pub(crate) type Metrics = MetricsLayer<Prometheus, ServiceError, CountRequestBytes>;

/// Limits of a server's API.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Limits on admission.
    pub(crate) admission: net::Limits,
    /// Time after which an admitted request fails with 504.
    pub(crate) timeout: Duration,
}

/// Applies the middleware stack, listed from the outermost layer. Admission precedes the expensive
/// layers: a request that is shed is counted and has a request ID, but no log line.
pub(super) fn wrap(
    routes: Router,
    metrics: Metrics,
    recorder: Prometheus,
    limits: Limits,
    monitor: RequestMonitor,
) -> Router {
    routes.layer(
        ServiceBuilder::new()
            .map_request({
                let monitor = monitor.clone();
                move |request| monitor.count(request)
            })
            .map_response(no_sniff)
            .layer(metrics)
            .map_request(|request: http::Request<RequestBody<Body>>| request.map(Body::new))
            .map_request(remove_invalid_request_id)
            .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
            .layer(PropagateRequestIdLayer::x_request_id())
            .layer(from_fn_with_state(
                Admission::new(limits.admission).measured(recorder),
                net::admit,
            ))
            .layer(from_fn_with_state(monitor, log::log_request))
            .layer(HandleErrorLayer::new(problem::from_layer_error))
            .layer(TimeoutLayer::new(limits.timeout))
            .layer(CatchPanicLayer::custom(problem::from_panic))
            .layer(DefaultBodyLimit::max(MAX_BODY)),
    )
}

/// Removes an `X-Request-Id` that is repeated or not 1 to 128 visible ASCII characters, so that the
/// server assigns a new one. The ID goes into log lines and the sample of recent requests.
fn remove_invalid_request_id(mut request: Request) -> Request {
    let mut ids = request.headers().get_all(X_REQUEST_ID).iter();
    let first = ids.next().map(|id| id.as_bytes());
    let is_valid = first.is_none_or(|id| {
        (1..=MAX_REQUEST_ID).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
    });
    if !is_valid || ids.next().is_some() {
        request.headers_mut().remove(X_REQUEST_ID);
    }
    request
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use http::{Request, StatusCode};
    use tower::Service;
    use tower_metrics::ErrorType;

    use super::*;

    async fn boom() {
        panic!("boom");
    }

    #[tokio::test]
    async fn a_panic_is_a_500_is_counted_and_releases_its_permit() {
        let prometheus = Prometheus::builder().build().unwrap();
        let limits = Limits {
            admission: net::Limits {
                concurrency: 1,
                queue_timeout: Duration::ZERO,
                body_timeout: Duration::from_secs(1),
                max_body: MAX_BODY,
            },
            timeout: Duration::from_secs(1),
        };
        let routes = Router::new().route("/boom", get(boom));
        let mut router = wrap(
            routes,
            MetricsLayer::builder(prometheus)
                .count_request_bytes(true)
                .build()
                .unwrap(),
            prometheus,
            limits,
            RequestMonitor::default(),
        );
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
