//! The peers, each set up as its own documentation recommends.

use std::sync::LazyLock;

use axum_otel_metrics::{HttpMetricsLayer, HttpMetricsLayerBuilder};
use axum_prometheus::PrometheusMetricLayer;
use axum_prometheus::metrics_exporter_prometheus::PrometheusHandle;
use opentelemetry_instrumentation_tower::http::server::Layer as OtelLayer;
use tokio::runtime::{Builder, Runtime};

/// What peers do beside requests runs here: axum-prometheus drains its
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

/// axum-prometheus 0.10, by `pair`; its recorder is the process's.
pub fn axum_prometheus() -> PrometheusMetricLayer<'static> {
    AXUM_PROMETHEUS.0.clone()
}

/// What axum-prometheus shows.
pub fn axum_prometheus_handle() -> &'static PrometheusHandle {
    &AXUM_PROMETHEUS.1
}

static OTEL: LazyLock<opentelemetry_sdk::metrics::InMemoryMetricExporter> = LazyLock::new(|| {
    use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter.clone()).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    opentelemetry::global::set_meter_provider(provider);
    exporter
});

/// opentelemetry-instrumentation-tower 0.19 over the SDK's meter with a
/// periodic reader; no tracer, so its spans are the no-op ones.
pub fn otel_tower() -> OtelLayer {
    LazyLock::force(&OTEL);
    OtelLayer::new()
}

/// axum-otel-metrics 0.14 over the SDK's meter with a periodic reader.
pub fn axum_otel() -> HttpMetricsLayer {
    use opentelemetry_sdk_0_32::metrics::{
        InMemoryMetricExporter, PeriodicReader, SdkMeterProvider,
    };
    let reader = PeriodicReader::builder(InMemoryMetricExporter::default()).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    HttpMetricsLayerBuilder::new()
        .with_provider(provider)
        .build()
}
