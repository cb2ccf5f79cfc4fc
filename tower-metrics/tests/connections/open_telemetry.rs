//! The same metrics in an OpenTelemetry meter.

use std::collections::BTreeMap;

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower_metrics::connections::ConnectionRecorder;
use tower_metrics::{Connections, ErrorType, OpenTelemetry, Prometheus};

use crate::measured::Metrics;

/// Returns the values of counters and the counts of histograms, with the attributes.
fn values(provider: &SdkMeterProvider, exporter: &InMemoryMetricExporter) -> BTreeMap<String, f64> {
    provider.force_flush().unwrap();
    let mut values = BTreeMap::new();
    let exported = exporter.get_finished_metrics().unwrap();
    let scopes = exported
        .last()
        .into_iter()
        .flat_map(|last| last.scope_metrics());
    for metric in scopes.flat_map(|scope| scope.metrics()) {
        let mut add = |attributes: Vec<String>, value: f64| {
            let key = format!("{}{{{}}}", metric.name(), attributes.join(","));
            values.insert(key, value);
        };
        let text = |kv: &opentelemetry::KeyValue| format!("{}={}", kv.key, kv.value);
        match metric.data() {
            AggregatedMetrics::F64(MetricData::Histogram(histogram)) => {
                for point in histogram.data_points() {
                    add(point.attributes().map(text).collect(), point.count() as f64);
                }
            }
            AggregatedMetrics::I64(MetricData::Sum(sum)) => {
                for point in sum.data_points() {
                    add(point.attributes().map(text).collect(), point.value() as f64);
                }
            }
            AggregatedMetrics::U64(MetricData::Sum(sum)) => {
                for point in sum.data_points() {
                    add(point.attributes().map(text).collect(), point.value() as f64);
                }
            }
            other => panic!("{other:?}"),
        }
    }
    values
}

#[tokio::test]
async fn open_telemetry_records_the_same_values() {
    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter.clone()).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    let open_telemetry = OpenTelemetry::new(&provider.meter("tests"));
    let prometheus = Prometheus::new();
    let connections = Connections::builder((prometheus, open_telemetry))
        .max_connections(2)
        .build()
        .unwrap();

    let (mut client, server) = tokio::io::duplex(1024);
    let mut io = connections.wrap(server).unwrap();
    let held = connections.wrap(()).unwrap();
    connections.wrap(()).unwrap_err();
    connections.accept_failed();
    client.write_all(b"request").await.unwrap();
    io.read_exact(&mut [0; 7]).await.unwrap();
    io.write_all(b"the response").await.unwrap();
    io.handle().set_error_type(ErrorType::TIMEOUT);
    drop(io);

    let values = values(&provider, &exporter);
    let value = |key: &str| {
        *values
            .get(key)
            .unwrap_or_else(|| panic!("{key}: {values:#?}"))
    };
    let metrics = Metrics::of(&prometheus);
    assert_eq!(value("http.server.open_connections{}"), metrics.open());
    assert_eq!(metrics.open(), 1.0);
    let bytes = ["receive", "transmit"].map(|direction| {
        value(&format!(
            "http.server.network.io{{network.io.direction={direction}}}"
        ))
    });
    assert_eq!(bytes, [7.0, 12.0]);
    assert_eq!((bytes[0], bytes[1]), metrics.bytes());
    for reason in ["limit", "accept_error"] {
        let key = format!("http.server.rejected_connections{{reason={reason}}}");
        assert_eq!((value(&key), metrics.rejected(reason)), (1.0, 1.0));
    }
    let timeouts = value("http.server.connection.duration{error.type=timeout}");
    assert_eq!((timeouts, metrics.ended_with("timeout")), (1.0, 1.0));
    drop(held);
}

#[test]
fn counters_start_at_zero() {
    let exporter = InMemoryMetricExporter::default();
    let reader = PeriodicReader::builder(exporter.clone()).build();
    let provider = SdkMeterProvider::builder().with_reader(reader).build();
    let recorder = OpenTelemetry::new(&provider.meter("tests"));
    assert!(values(&provider, &exporter).is_empty());
    recorder.prepare().unwrap();
    recorder.connections().build().unwrap();
    let values = values(&provider, &exporter);
    assert_eq!(values.len(), 5);
    assert!(values.values().all(|value| *value == 0.0));
}
