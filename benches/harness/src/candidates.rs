//! Candidates of the benchmarks: every layer, around the bare service and on the
//! router.

use std::convert::Infallible;

use axum::response::IntoResponse;
use axum::routing::Route as AxumRoute;
use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use prometheus::Registry;
use prometheus_axum_middleware::PrometheusAxumLayer;
use tower_layer::{Identity, Layer};
use tower_metrics::{Label, MetricsLayer, OpenTelemetry, Prometheus, Route, TraceId};
use tower_service::Service;

use crate::comparison::Candidate;
use crate::drive::Driven;
use crate::layers::{FloorLayer, NoopBodyLayer, NoopLayer, NoopRecorder, VectorsLayer};
use crate::peers;
use crate::services::{Bare, TENANT, router};

/// Name of the floor.
pub const FLOOR: &str = "the floor";
/// Name of tower-metrics with its default settings.
pub const OURS: &str = "tower-metrics";

/// All candidates, or a single one.
#[derive(Debug, Default)]
pub struct Candidates {
    /// Candidates around the bare service.
    pub bare: Vec<Candidate>,
    /// Candidates on the router.
    pub routed: Vec<Candidate>,
    selected: Option<String>,
}

impl Candidates {
    /// Returns all candidates. The first one has no layer.
    pub fn all() -> Self {
        Self::default().fill()
    }

    /// Returns the candidate with this name without creating the others.
    pub fn named(name: &str) -> Self {
        let selected = Some(name.to_owned());
        let none = Self::default();
        Self { selected, ..none }.fill()
    }

    fn fill(mut self) -> Self {
        self.add("no layer", Identity::new);
        self.add("no-op layer", || NoopLayer);
        self.add("no-op layer, body wrapped", || NoopBodyLayer);
        self.add(FLOOR, FloorLayer::new);

        let ours = || MetricsLayer::builder(Prometheus::new());
        let valid = "the settings are valid";
        self.add(OURS, || MetricsLayer::new(Prometheus::new()));
        self.add("  without the oldest request", || {
            let recorder = Prometheus::builder().oldest_request(false);
            MetricsLayer::new(recorder.build().expect(valid))
        });
        self.add("  with a fixed route", || {
            let layer = ours().route(Route::fixed("/concerts/{id}"));
            layer.build().expect(valid)
        });
        self.add("  with exemplars", || {
            let layer = ours().exemplars(|head| TraceId::from_traceparent(head.headers));
            layer.build().expect(valid)
        });
        self.add("  with a custom label", || {
            let tenant = Label::from_request("tenant", 100, |head| {
                Some(head.headers.get(TENANT)?.to_str().ok()?.into())
            });
            ours().label(tenant).build().expect(valid)
        });
        self.add("  with OpenTelemetry as well", || {
            let second = OpenTelemetry::new(&peers::meter());
            MetricsLayer::new((Prometheus::new(), second))
        });

        self.add("  with OpenTelemetry alone", || {
            MetricsLayer::new(OpenTelemetry::new(&peers::meter()))
        });

        self.add("  with a no-op recorder", || {
            MetricsLayer::new(NoopRecorder)
        });

        self.add("hand-written vectors", || {
            VectorsLayer::new(&Registry::new())
        });
        self.add("axum-prometheus 0.10", peers::axum_prometheus);
        self.add("axum-otel-metrics 0.14", || peers::axum_otel().layer);
        self.add("otel-instrumentation-tower 0.19", || {
            peers::otel_tower().layer
        });
        self.add("tower-otel 0.12", || peers::tower_otel().layer);
        // It supports axum's body type only.
        let name = "prometheus-axum-middleware 0.4";
        if self.is_selected(name) {
            let app = router().layer(PrometheusAxumLayer::new());
            self.routed.push(Candidate::routed(name, app));
        }
        self
    }

    fn is_selected(&self, name: &str) -> bool {
        let selected = self.selected.as_deref();
        selected.is_none_or(|selected| selected == name.trim())
    }

    fn add<L>(&mut self, name: &'static str, layer: impl FnOnce() -> L)
    where
        L: Layer<Bare, Service: Driven<Empty<Bytes>> + 'static>,
        L: Layer<AxumRoute> + Clone + Send + Sync + 'static,
        <L as Layer<AxumRoute>>::Service: Clone + Send + Sync + 'static,
        <L as Layer<AxumRoute>>::Service: Service<
                Request<axum::body::Body>,
                Response: IntoResponse,
                Error: Into<Infallible>,
                Future: Send,
            >,
    {
        if self.is_selected(name) {
            let layer = layer();
            self.bare.push(Candidate::bare(name, layer.layer(Bare)));
            self.routed
                .push(Candidate::routed(name, router().layer(layer)));
        }
    }
}
