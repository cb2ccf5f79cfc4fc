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
use tower_metrics::{BuildError, MetricsLayer, Prometheus, TraceId};

use crate::guard::Guard;
pub(crate) use layers::Limits;
pub(crate) use log::Seen;
pub(crate) use openapi::DOCUMENT;

/// The most bytes that a request's body may have.
pub(crate) const LARGEST_BODY: usize = 64 * 1024;

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

/// The layer that counts the API's requests. What can succeed or fail on the way of a purchase
/// stands at zero from the start, so that its first failure is seen.
///
/// # Errors
/// When a setting is refused.
pub(crate) fn metrics(prometheus: Prometheus) -> Result<MetricsLayer<Prometheus>, BuildError> {
    let (ok, unavailable) = (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE);
    let bought = [
        StatusCode::CREATED,
        StatusCode::PAYMENT_REQUIRED,
        StatusCode::CONFLICT,
        unavailable,
        StatusCode::GATEWAY_TIMEOUT,
    ];
    let (concert, purchase) = ("/concerts/{concert_id}", "/purchases/{purchase_id}");
    MetricsLayer::builder(prometheus)
        .exemplars(|head| TraceId::from_traceparent(head.headers))
        .initialize(Method::GET, "/concerts", [ok, unavailable])
        .initialize(Method::GET, concert, [ok, unavailable])
        .initialize(Method::POST, format!("{concert}/purchases"), bought)
        .initialize(Method::GET, purchase, [ok, unavailable])
        .initialize(Method::DELETE, purchase, [ok, unavailable])
        .build()
}

/// The API's routes in their layers.
pub(crate) fn router(
    api: Api,
    metrics: MetricsLayer<Prometheus>,
    limits: Limits,
    seen: Seen,
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
    layers::wrap(routes, metrics, limits, seen)
}
