//! Who counts.

use axum::Router;
use axum::error_handling::HandleErrorLayer;
use harness::peers;
use prometheus::TextEncoder;
use prometheus_axum_middleware::PrometheusAxumLayer;
use tower_metrics::prometheus::Format;
use tower_metrics::{MetricsLayer, Prometheus};

use crate::app::{failing, handle};
use crate::counts::{Counts, Names, of_otel, of_text};

/// A metrics layer, and a way to read what it has counted.
pub(crate) struct Contestant {
    pub(crate) name: &'static str,
    around: Box<dyn Fn(Router) -> Router>,
    around_failing: Box<dyn Fn(Router) -> Router>,
    read: Box<dyn Fn() -> Counts>,
}

impl Contestant {
    /// Puts the layer around the routes.
    pub(crate) fn around(&self, routes: Router) -> Router {
        (self.around)(routes)
    }

    /// Puts it around a service that returns `Err`.
    pub(crate) fn around_failing(&self, routes: Router) -> Router {
        (self.around_failing)(routes)
    }

    /// What it has counted so far.
    pub(crate) fn read(&self) -> Counts {
        (self.read)()
    }
}

/// A macro, because each place has its own bounds on the layer's type.
macro_rules! contestant {
    ($name:literal, $layer:expr, $read:expr) => {{
        let layer = $layer;
        let same = layer.clone();
        Contestant {
            name: $name,
            around: Box::new(move |routes| routes.layer(layer.clone())),
            around_failing: Box::new(move |routes| {
                routes.layer((HandleErrorLayer::new(handle), same.clone(), failing()))
            }),
            read: Box::new($read),
        }
    }};
}

/// All of them.
pub(crate) fn all() -> Vec<Contestant> {
    let prometheus = Prometheus::new();
    let otel_tower = peers::otel_tower();
    let axum_otel = peers::axum_otel();
    let mut axum_prometheus = peers::axum_prometheus();
    // It measures no bytes unless asked to.
    axum_prometheus.enable_response_body_size();
    vec![
        contestant!("tower-metrics", MetricsLayer::new(prometheus), move || {
            of_text(&prometheus.exposition().render(Format::Text), OURS)
        }),
        contestant!("axum-prometheus", axum_prometheus, || {
            of_text(&peers::axum_prometheus_handle().render(), AXUM)
        }),
        contestant!("otel-instr.-tower", otel_tower.layer.clone(), move || {
            of_otel!(opentelemetry_sdk, otel_tower)
        }),
        contestant!("axum-otel-metrics", axum_otel.layer.clone(), move || {
            of_otel!(opentelemetry_sdk_0_32, axum_otel)
        }),
        contestant!("prometheus-axum-mw", PrometheusAxumLayer::new(), || {
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

/// Two peers have the same names.
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
