//! Middleware to compare.

use axum::Router;
use axum::error_handling::HandleErrorLayer;
use harness::peers;
use prometheus::TextEncoder;
use prometheus_axum_middleware::PrometheusAxumLayer;
use tower_metrics::prometheus::Format;
use tower_metrics::{MetricsLayer, Prometheus};

use crate::app::{failing, handle};
use crate::counts::{Counts, Names, of_otel, of_text};

/// Metrics layer, and a way to read what it has recorded.
pub(crate) struct Middleware {
    pub(crate) name: &'static str,
    wrap: Box<dyn Fn(Router) -> Router>,
    wrap_failing: Box<dyn Fn(Router) -> Router>,
    read: Box<dyn Fn() -> Counts>,
}

impl Middleware {
    /// Adds the layer to the routes.
    pub(crate) fn wrap(&self, routes: Router) -> Router {
        (self.wrap)(routes)
    }

    /// Adds the layer around a service that returns `Err`.
    pub(crate) fn wrap_failing(&self, routes: Router) -> Router {
        (self.wrap_failing)(routes)
    }

    /// Returns what the layer has recorded.
    pub(crate) fn read(&self) -> Counts {
        (self.read)()
    }
}

/// A macro, because a function would have to name the bounds on the layer's type.
macro_rules! middleware {
    ($name:literal, $layer:expr, $read:expr) => {{
        let layer = $layer;
        let same = layer.clone();
        Middleware {
            name: $name,
            wrap: Box::new(move |routes| routes.layer(layer.clone())),
            wrap_failing: Box::new(move |routes| {
                routes.layer((HandleErrorLayer::new(handle), same.clone(), failing()))
            }),
            read: Box::new($read),
        }
    }};
}

/// Returns all middleware.
pub(crate) fn all() -> Vec<Middleware> {
    let prometheus = Prometheus::new();
    let otel_tower = peers::otel_tower();
    let tower_otel = peers::tower_otel();
    let axum_otel = peers::axum_otel();
    let mut axum_prometheus = peers::axum_prometheus();
    // Disabled by default.
    axum_prometheus.enable_response_body_size();
    vec![
        middleware!("tower-metrics", MetricsLayer::new(prometheus), move || {
            of_text(&prometheus.exposition().render(Format::Text), OURS)
        }),
        middleware!("axum-prometheus", axum_prometheus, || {
            of_text(&peers::axum_prometheus_handle().render(), AXUM)
        }),
        middleware!("otel-instr.-tower", otel_tower.layer.clone(), move || {
            of_otel!(opentelemetry_sdk, otel_tower)
        }),
        middleware!("tower-otel", tower_otel.layer.clone(), move || {
            of_otel!(opentelemetry_sdk, tower_otel)
        }),
        middleware!("axum-otel-metrics", axum_otel.layer.clone(), move || {
            of_otel!(opentelemetry_sdk_0_32, axum_otel)
        }),
        middleware!("prometheus-axum-mw", PrometheusAxumLayer::new(), || {
            let families = prometheus::gather();
            let text = TextEncoder::new().encode_to_string(&families);
            of_text(&text.expect("its metrics are valid"), AXUM)
        }),
    ]
}

const OURS: Names = Names {
    requests: "http_server_request_duration_seconds_count",
    seconds: "http_server_request_duration_seconds_sum",
    bytes: "http_server_response_body_size_bytes_sum",
    in_flight: "http_server_active_requests",
    method: "http_request_method",
    route: "http_route",
    status: "http_response_status_code",
    error: "error_type",
};

/// Names of both crates for axum.
const AXUM: Names = Names {
    requests: "axum_http_requests_total",
    seconds: "axum_http_requests_duration_seconds_sum",
    bytes: "axum_http_response_body_size_sum",
    in_flight: "axum_http_requests_pending",
    method: "method",
    route: "endpoint",
    status: "status",
    error: "error",
};
