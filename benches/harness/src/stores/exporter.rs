//! Macros of the crate `metrics`, with metrics-exporter-prometheus and with the facade of
//! tower-metrics.

use metrics::{Label, Recorder, SharedString, counter, gauge, histogram, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use tower_metrics::Prometheus;
use tower_metrics::prometheus::{Exposition, Format, MetricsFacade};

use super::{Observation, Store, error_type, method};
use crate::layers::BOUNDS;

/// Records like the other stores. A histogram without buckets is a counter and a sum.
fn observe(recorder: &dyn Recorder, observed: &Observation) {
    with_local_recorder(recorder, || {
        let label = |name, value| Label::from_static_parts(name, value);
        let method = label("http_request_method", method(&observed.method));
        let route = label("http_route", observed.route);
        let scheme = label("url_scheme", "http");
        let in_flight = vec![method.clone(), route.clone(), scheme.clone()];
        let in_flight = gauge!("http_server_active_requests", in_flight);
        in_flight.increment(1.0);
        let status = SharedString::from(observed.status.as_str().to_owned());
        let labels = vec![
            method,
            route,
            Label::new("http_response_status_code", status),
            label(
                "error_type",
                if error_type(&observed.status).is_empty() {
                    ""
                } else {
                    "500"
                },
            ),
            scheme,
        ];
        histogram!("http_server_request_duration_seconds", labels.clone()).record(1e-6);
        counter!("http_server_request_body_size_bytes_sum", labels.clone()).increment(0);
        counter!("http_server_request_body_size_bytes_count", labels.clone()).increment(1);
        counter!("http_server_response_body_size_bytes_sum", labels.clone()).increment(9);
        counter!("http_server_response_body_size_bytes_count", labels).increment(1);
        in_flight.decrement(1.0);
    });
}

/// The crate `metrics` with metrics-exporter-prometheus.
#[derive(Clone)]
pub struct MetricsExporter {
    recorder: std::sync::Arc<PrometheusRecorder>,
    handle: PrometheusHandle,
}

impl std::fmt::Debug for MetricsExporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetricsExporter").finish_non_exhaustive()
    }
}

impl MetricsExporter {
    /// Creates a recorder that is not global.
    pub fn new() -> Self {
        let builder = PrometheusBuilder::new().set_buckets(&BOUNDS);
        let recorder = builder.expect("there are bounds").build_recorder();
        Self {
            handle: recorder.handle(),
            recorder: recorder.into(),
        }
    }
}

impl Default for MetricsExporter {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for MetricsExporter {
    const NAME: &'static str = "metrics-exporter-prometheus";

    fn observe(&mut self, observed: &Observation) {
        observe(&*self.recorder, observed);
    }

    fn scrape(&self) -> usize {
        self.handle.render().len()
    }
}

/// The crate `metrics` with the facade of tower-metrics.
#[derive(Clone, Debug)]
pub struct TowerMetricsFacade {
    facade: MetricsFacade,
    exposition: Exposition,
}

impl TowerMetricsFacade {
    /// Creates a facade without relevant limits.
    pub fn new() -> Self {
        let prometheus = Prometheus::new();
        let facade = prometheus.metrics_facade().bounds(BOUNDS);
        let facade = facade
            .max_series(1_000_000)
            .max_series_per_metric(1_000_000);
        Self {
            facade: facade.build().expect("the settings are valid"),
            exposition: prometheus.exposition(),
        }
    }
}

impl Default for TowerMetricsFacade {
    fn default() -> Self {
        Self::new()
    }
}

impl Store for TowerMetricsFacade {
    const NAME: &'static str = "tower-metrics, `metrics` facade";

    fn observe(&mut self, observed: &Observation) {
        observe(&self.facade, observed);
    }

    fn scrape(&self) -> usize {
        self.exposition.render(Format::Text).len()
    }
}
