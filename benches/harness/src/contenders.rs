//! Who is measured: every layer, over the bare service and over the router.

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

use crate::contest::Contender;
use crate::drive::Driven;
use crate::layers::{FloorLayer, NoopBodyLayer, NoopLayer, Nothing, VectorsLayer};
use crate::peers;
use crate::services::{Bare, TENANT, router};

/// The name of the floor.
pub const FLOOR: &str = "the floor";
/// The name of tower-metrics as it comes.
pub const OURS: &str = "tower-metrics";

/// All contenders, or one of them.
#[derive(Debug, Default)]
pub struct Contenders {
    /// Over the bare service.
    pub bare: Vec<Contender>,
    /// Over the router.
    pub routed: Vec<Contender>,
    wanted: Option<String>,
}

impl Contenders {
    /// All of them; without any layer comes first.
    pub fn all() -> Self {
        Self::default().fill()
    }

    /// Those of this name only: the others are not even set up.
    pub fn named(name: &str) -> Self {
        let wanted = Some(name.to_owned());
        let none = Self::default();
        Self { wanted, ..none }.fill()
    }

    fn fill(mut self) -> Self {
        self.add("no layer", Identity::new);
        self.add("no-op layer", || NoopLayer);
        self.add("no-op layer, body wrapped", || NoopBodyLayer);
        self.add(FLOOR, FloorLayer::new);

        let ours = || MetricsLayer::builder(Prometheus::new());
        let built = "the settings are valid";
        self.add(OURS, || MetricsLayer::new(Prometheus::new()));
        self.add("  a fixed route", || {
            let layer = ours().route(Route::fixed("/concerts/{id}"));
            layer.build().expect(built)
        });
        self.add("  with exemplars", || {
            let layer = ours().exemplars(|head| TraceId::from_traceparent(head.headers));
            layer.build().expect(built)
        });
        self.add("  with a custom label", || {
            let tenant = Label::from_request("tenant", 100, |head| {
                Some(head.headers.get(TENANT)?.to_str().ok()?.into())
            });
            ours().label(tenant).build().expect(built)
        });
        self.add("  with OpenTelemetry beside it", || {
            let second = OpenTelemetry::new(&peers::meter());
            MetricsLayer::new((Prometheus::new(), second))
        });

        self.add("  with a recorder of nothing", || {
            MetricsLayer::new(Nothing)
        });

        self.add("vectors by hand", || VectorsLayer::new(&Registry::new()));
        self.add("axum-prometheus 0.10", peers::axum_prometheus);
        self.add("axum-otel-metrics 0.14", || peers::axum_otel().layer);
        self.add("otel-instrumentation-tower 0.19", || {
            peers::otel_tower().layer
        });
        // It answers with axum's body only.
        let name = "prometheus-axum-middleware 0.4";
        if self.wants(name) {
            let app = router().layer(PrometheusAxumLayer::new());
            self.routed.push(Contender::routed(name, app));
        }
        self
    }

    fn wants(&self, name: &str) -> bool {
        let wanted = self.wanted.as_deref();
        wanted.is_none_or(|wanted| wanted == name.trim())
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
        if self.wants(name) {
            let layer = layer();
            self.bare.push(Contender::bare(name, layer.layer(Bare)));
            self.routed
                .push(Contender::routed(name, router().layer(layer)));
        }
    }
}
