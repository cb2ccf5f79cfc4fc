//! Other middleware, configured as recommended by its documentation.

use std::sync::LazyLock;

use axum_otel_metrics::{HttpMetricsLayer, HttpMetricsLayerBuilder};
use axum_prometheus::PrometheusMetricLayer;
use axum_prometheus::metrics_exporter_prometheus::PrometheusHandle;
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use tokio::runtime::{Builder, Runtime};

/// Runtime for background tasks of other middleware. axum-prometheus drains its
/// histograms every five seconds.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("the system has threads")
});

static AXUM_PROMETHEUS: LazyLock<(PrometheusMetricLayer<'static>, PrometheusHandle)> =
    LazyLock::new(|| {
        let _entered = RUNTIME.enter();
        PrometheusMetricLayer::pair()
    });

/// Returns the layer of axum-prometheus 0.10, whose recorder is global.
pub fn axum_prometheus() -> PrometheusMetricLayer<'static> {
    AXUM_PROMETHEUS.0.clone()
}

/// Returns the exposition of axum-prometheus.
pub fn axum_prometheus_handle() -> &'static PrometheusHandle {
    &AXUM_PROMETHEUS.1
}

/// OpenTelemetry layer with its SDK.
#[derive(Clone, Debug)]
pub struct Otel<L, P, E> {
    /// Layer that wraps services.
    pub layer: L,
    /// Provider, which must be flushed before the exporter is read.
    pub provider: P,
    /// Exporter that keeps the metrics in memory.
    pub exporter: E,
}

/// opentelemetry-instrumentation-tower with its SDK.
pub type OtelTower = Otel<
    opentelemetry_instrumentation_tower::http::server::Layer,
    SdkMeterProvider,
    InMemoryMetricExporter,
>;

/// tower-otel with its SDK.
pub type TowerOtel = Otel<tower_otel::metrics::HttpLayer, SdkMeterProvider, InMemoryMetricExporter>;

/// axum-otel-metrics with its SDK.
pub type AxumOtel = Otel<
    HttpMetricsLayer,
    opentelemetry_sdk_0_32::metrics::SdkMeterProvider,
    opentelemetry_sdk_0_32::metrics::InMemoryMetricExporter,
>;

/// Returns the layer of opentelemetry-instrumentation-tower 0.19 with a periodic
/// reader. Without a tracer its spans are no-ops.
///
/// Sets the global meter provider, which `Layer::new` uses.
pub fn otel_tower() -> OtelTower {
    let (provider, exporter) = sdk();
    opentelemetry::global::set_meter_provider(provider.clone());
    Otel {
        layer: opentelemetry_instrumentation_tower::http::server::Layer::new(),
        provider,
        exporter,
    }
}

/// Returns the layer of tower-otel 0.12 with a periodic reader.
pub fn tower_otel() -> TowerOtel {
    let (provider, exporter) = sdk();
    Otel {
        layer: tower_otel::metrics::HttpLayer::server(&provider.meter("tower-otel")),
        provider,
        exporter,
    }
}

/// Returns a meter of the SDK with a periodic reader.
pub fn meter() -> Meter {
    static PROVIDER: LazyLock<SdkMeterProvider> = LazyLock::new(|| sdk().0);
    PROVIDER.meter("benches")
}

fn sdk() -> (SdkMeterProvider, InMemoryMetricExporter) {
    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter.clone()).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    (provider, exporter)
}

/// Returns the layer of axum-otel-metrics 0.14 with a periodic reader.
pub fn axum_otel() -> AxumOtel {
    use opentelemetry_sdk_0_32::metrics::{
        InMemoryMetricExporter, PeriodicReader, SdkMeterProvider,
    };
    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter.clone()).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    let layer = HttpMetricsLayerBuilder::new().with_provider(provider.clone());
    Otel {
        layer: layer.build(),
        provider,
        exporter,
    }
}
