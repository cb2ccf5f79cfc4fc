//! The API: routes and middleware.

mod concerts;
mod docs;
mod layers;
mod log;
mod openapi;
mod parameter;
mod purchases;

use axum::Router;
use axum::extract::FromRef;
use http::{Method, StatusCode};
use ticket_core::Tickets;
use tower_metrics::{
    AdmissionRecorder, BuildError, ErrorType, InitialSeries, MetricsLayer, Prometheus, TraceId,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::guard::Guard;
use crate::problem;
pub(crate) use layers::Limits;
pub(crate) use log::RequestMonitor;
pub(crate) use openapi::DOCUMENT;

/// State of the handlers.
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

/// Creates the metrics layer of the API.
///
/// The expected outcomes are initialized to zero, so that `rate` and `increase` include the first
/// failure of each kind.
///
/// # Errors
///
/// Returns an error if the configuration is invalid.
pub(crate) fn metrics(prometheus: Prometheus) -> Result<layers::Metrics, BuildError> {
    let (unavailable, timeout) = (StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT);
    let failures: [InitialSeries; 7] = [
        (unavailable, problem::DATABASE_BUSY).into(),
        (unavailable, problem::DATABASE_UNAVAILABLE).into(),
        (unavailable, problem::OUTCOME_UNKNOWN).into(),
        (unavailable, ErrorType::INJECTED).into(),
        (unavailable, ErrorType::SHED).into(),
        (timeout, ErrorType::TIMEOUT).into(),
        ErrorType::CANCELLED.into(),
    ];
    let outcomes = |statuses: &[StatusCode]| {
        let statuses = statuses.iter().map(|&status| InitialSeries::from(status));
        statuses.chain(failures).collect::<Vec<_>>()
    };
    let read = outcomes(&[StatusCode::OK]);
    let purchased = outcomes(&[
        StatusCode::CREATED,
        StatusCode::PAYMENT_REQUIRED,
        StatusCode::CONFLICT,
    ]);
    let (concert, purchase) = ("/concerts/{concert_id}", "/purchases/{purchase_id}");
    AdmissionRecorder::prepare(&prometheus)?;
    MetricsLayer::builder(prometheus)
        .exemplars(|head| TraceId::from_traceparent(head.headers))
        .initialize(Method::GET, "/concerts", read.clone())
        .initialize(Method::POST, "/concerts", outcomes(&[StatusCode::CREATED]))
        .initialize(Method::GET, concert, read.clone())
        .initialize(Method::POST, format!("{concert}/purchases"), purchased)
        .initialize(Method::GET, purchase, read.clone())
        .initialize(Method::DELETE, purchase, read)
        .count_request_bytes(true)
        .build()
}

/// Returns the routes with their descriptions.
fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(openapi::base())
        .routes(routes!(concerts::list, concerts::create))
        .routes(routes!(concerts::read))
        .routes(routes!(purchases::create))
        .routes(routes!(purchases::read, purchases::refund))
        .routes(routes!(openapi::document))
        .routes(routes!(docs::page))
        .routes(routes!(docs::file))
}

/// Creates the router of the API.
pub(crate) fn router(
    api: Api,
    metrics: layers::Metrics,
    recorder: Prometheus,
    limits: Limits,
    monitor: RequestMonitor,
) -> Router {
    let routes = Router::from(routes())
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .with_state(api);
    layers::wrap(routes, metrics, recorder, limits, monitor)
}
