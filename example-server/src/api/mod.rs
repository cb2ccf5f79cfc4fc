//! The API: routes, and the layers around them.

pub(crate) mod body;
mod concerts;
mod layers;
mod log;
mod openapi;
pub(crate) mod problem;
mod purchases;

use axum::Router;
use axum::extract::FromRef;
use axum::routing::{get, post};
use http::{Method, StatusCode};
use ticket_core::Tickets;
use tower_metrics::{BuildError, ErrorType, InitialSeries, MetricsLayer, Prometheus, TraceId};

use crate::guard::Guard;
pub(crate) use layers::Limits;
pub(crate) use log::RequestMonitor;
pub(crate) use openapi::DOCUMENT;

/// The most bytes that a request's body may have.
pub(crate) const LARGEST_BODY: usize = 64 * 1024;
/// The most bytes that a faults document may have. One with the longest list of delays fits in.
pub(crate) const LARGEST_DOCUMENT: usize = 1024 * 1024;

/// What the handlers share.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    pub(crate) tickets: Tickets,
    pub(crate) guard: Guard,
}

impl FromRef<Api> for Tickets {
    fn from_ref(api: &Api) -> Self {
        api.tickets.clone()
    }
}

impl FromRef<Api> for Guard {
    fn from_ref(api: &Api) -> Self {
        api.guard.clone()
    }
}

/// The layer that counts the API's requests. How they may end stands at zero from the start, so
/// that the first failure of each kind is seen.
///
/// # Errors
/// When a setting is refused.
pub(crate) fn metrics(prometheus: Prometheus) -> Result<layers::Metrics, BuildError> {
    let (unavailable, timeout) = (StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT);
    let failed: [InitialSeries; 7] = [
        (unavailable, problem::DATABASE_BUSY).into(),
        (unavailable, problem::DATABASE_UNAVAILABLE).into(),
        (unavailable, problem::OUTCOME_UNKNOWN).into(),
        (unavailable, ErrorType::INJECTED).into(),
        (unavailable, ErrorType::SHED).into(),
        (timeout, ErrorType::TIMEOUT).into(),
        ErrorType::CANCELLED.into(),
    ];
    let ends = |answers: &[StatusCode]| {
        let answers = answers.iter().map(|&status| InitialSeries::from(status));
        answers.chain(failed).collect::<Vec<_>>()
    };
    let read = ends(&[StatusCode::OK]);
    let bought = ends(&[
        StatusCode::CREATED,
        StatusCode::PAYMENT_REQUIRED,
        StatusCode::CONFLICT,
    ]);
    let (concert, purchase) = ("/concerts/{concert_id}", "/purchases/{purchase_id}");
    MetricsLayer::builder(prometheus)
        .exemplars(|head| TraceId::from_traceparent(head.headers))
        .initialize(Method::GET, "/concerts", read.clone())
        .initialize(Method::POST, "/concerts", ends(&[StatusCode::CREATED]))
        .initialize(Method::GET, concert, read.clone())
        .initialize(Method::POST, format!("{concert}/purchases"), bought)
        .initialize(Method::GET, purchase, read.clone())
        .initialize(Method::DELETE, purchase, read)
        .count_request_bytes(true)
        .build()
}

/// The API's routes in their layers.
pub(crate) fn router(
    api: Api,
    metrics: layers::Metrics,
    limits: Limits,
    monitor: RequestMonitor,
) -> Router {
    let routes = Router::new()
        .route("/concerts", get(concerts::list).post(concerts::create))
        .route("/concerts/{concert_id}", get(concerts::read))
        .route("/concerts/{concert_id}/purchases", post(purchases::create))
        .route(
            "/purchases/{purchase_id}",
            get(purchases::read).delete(purchases::refund),
        )
        .route("/openapi.json", get(openapi::document))
        .route("/docs", get(openapi::page))
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .with_state(api);
    layers::wrap(routes, metrics, limits, monitor)
}
