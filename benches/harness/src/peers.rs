//! The peers, each set up as its own documentation recommends.

use std::sync::LazyLock;

use axum_otel_metrics::{HttpMetricsLayer, HttpMetricsLayerBuilder};
use axum_prometheus::PrometheusMetricLayer;
use axum_prometheus::metrics_exporter_prometheus::PrometheusHandle;
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
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

/// An OpenTelemetry layer with the SDK behind it.
#[derive(Clone, Debug)]
pub struct Otel<L, P, E> {
    /// What it is put around services with.
    pub layer: L,
    /// Flush it before the exporter is read.
    pub provider: P,
    /// What a collector would be sent.
    pub exporter: E,
}

/// opentelemetry-instrumentation-tower with its SDK.
pub type OtelTower = Otel<
    opentelemetry_instrumentation_tower::http::server::Layer,
    SdkMeterProvider,
    InMemoryMetricExporter,
>;

/// axum-otel-metrics with its SDK.
pub type AxumOtel = Otel<
    HttpMetricsLayer,
    opentelemetry_sdk_0_32::metrics::SdkMeterProvider,
    opentelemetry_sdk_0_32::metrics::InMemoryMetricExporter,
>;

/// opentelemetry-instrumentation-tower 0.19 over the SDK's meter with a
/// periodic reader; no tracer, so its spans are the no-op ones.
///
/// The meter is the process's, for that is where `Layer::new` looks.
pub fn otel_tower() -> OtelTower {
    let (provider, exporter) = sdk();
    opentelemetry::global::set_meter_provider(provider.clone());
    Otel {
        layer: opentelemetry_instrumentation_tower::http::server::Layer::new(),
        provider,
        exporter,
    }
}

/// A meter of the SDK with a periodic reader, for a recorder.
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

/// axum-otel-metrics 0.14 over the SDK's meter with a periodic reader.
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
