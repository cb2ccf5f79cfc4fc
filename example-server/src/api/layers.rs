//! What stands around every handler.

use std::time::Duration;

use axum::Router;
use axum::error_handling::HandleErrorLayer;
use axum::extract::DefaultBodyLimit;
use axum::middleware::from_fn_with_state;
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_metrics::{MetricsLayer, Prometheus};

use super::log::{self, Seen};
use super::{LARGEST_BODY, problem};
use crate::security::no_sniff;

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
pub(super) fn wrap(
    routes: Router,
    metrics: MetricsLayer<Prometheus>,
    limits: Limits,
    seen: Seen,
) -> Router {
    routes.layer(
        ServiceBuilder::new()
            .map_request({
                let seen = seen.clone();
                move |request| seen.come_in(request)
            })
            .map_response(no_sniff)
            .layer(metrics)
            .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
            .layer(PropagateRequestIdLayer::x_request_id())
            .layer(from_fn_with_state(seen, log::follow))
            .layer(HandleErrorLayer::new(problem::given_up))
            .layer(LoadShedLayer::new())
            // Global: axum applies a layer to each route, and the limit is the server's.
            .layer(GlobalConcurrencyLimitLayer::new(limits.concurrency))
            .layer(TimeoutLayer::new(limits.timeout))
            .layer(CatchPanicLayer::custom(problem::panicked))
            .layer(DefaultBodyLimit::max(LARGEST_BODY)),
    )
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use http::{Request, StatusCode};
    use tower::Service;
    use tower_metrics::ErrorType;

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
        let mut router = wrap(
            routes,
            MetricsLayer::new(prometheus),
            limits,
            Seen::default(),
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
