//! Registries of the crates `prometheus-client` and `metrics` in the exposition.

mod client;
mod facade;
#[allow(dead_code, reason = "this test uses a part of it")]
#[path = "../programs/mod.rs"]
mod programs;
#[path = "../scrape/mod.rs"]
mod scrape;

use std::convert::Infallible;

use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use prometheus::{Gauge, IntCounter};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tower::{Layer, ServiceExt, service_fn};
use tower_metrics::prometheus::Format;
use tower_metrics::{MetricsLayer, Names, Prometheus, Route};

use self::scrape::Samples;

const FORMATS: [Format; 2] = [Format::Text, Format::OpenMetrics];
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openmetrics.py");

fn text(prometheus: Prometheus) -> String {
    prometheus.exposition().render(Format::Text)
}

fn open_metrics(prometheus: Prometheus) -> String {
    prometheus.exposition().render(Format::OpenMetrics)
}

/// Checks that promtool, if it is installed, and the strict parser of OpenMetrics read both formats,
/// and that both have the same samples.
fn assert_readable(prometheus: Prometheus) -> Samples {
    let (text, open_metrics) = (text(prometheus), open_metrics(prometheus));
    let samples = Samples::parse(&text);
    assert_eq!(Samples::parse(&open_metrics).texts(), samples.texts());
    if programs::present("promtool", &["--version"]) {
        let (_, said) = programs::check("promtool", &["check", "metrics"], &text);
        assert!(!said.contains("parsing error"), "{said}\n{text}");
    }
    if let Some(python) = programs::python() {
        let (readable, said) = programs::check(&python, &[SCRIPT], &open_metrics);
        assert!(readable, "{said}\n{open_metrics}");
    }
    samples
}

/// Sends a request through a layer with this recorder.
async fn request(prometheus: Prometheus) {
    let layer = MetricsLayer::builder(prometheus).route(Route::fixed("/"));
    let service =
        layer
            .build()
            .unwrap()
            .layer(service_fn(|_: Request<Empty<bytes::Bytes>>| async {
                Ok::<_, Infallible>(Response::new(Empty::<bytes::Bytes>::new()))
            }));
    let response = service.oneshot(Request::new(Empty::new())).await.unwrap();
    response.into_body().collect().await.unwrap();
}

#[tokio::test]
async fn one_exposition_shows_the_metrics_of_all_registries() {
    let prometheus = Prometheus::new();
    let own = IntCounter::new("own_total", "Of the crate prometheus.").unwrap();
    own.inc();
    prometheus.registry().register(Box::new(own)).unwrap();
    let mut registry = Registry::default();
    let client: Counter = Counter::default();
    registry.register("client", "Of the crate prometheus-client", client.clone());
    prometheus.add_client_registry(registry);
    let facade = prometheus.metrics_facade().build().unwrap();

    client.inc_by(2);
    metrics::with_local_recorder(&facade, || metrics::counter!("facade_total").increment(3));
    request(prometheus).await;

    let samples = assert_readable(prometheus);
    assert_eq!(samples.sum("own_total", &[]), 1.0);
    assert_eq!(samples.sum("client_total", &[]), 2.0);
    assert_eq!(samples.sum("facade_total", &[]), 3.0);
    assert_eq!(samples.requests(&[]), 1.0);
    for family in ["own", "client", "facade"] {
        let line = format!("# TYPE {family} counter\n");
        assert!(open_metrics(prometheus).contains(&line), "{family}");
    }
    let protobuf = prometheus.exposition().render_protobuf();
    for name in ["own_total", "client_total", "facade_total"] {
        let mut windows = protobuf.windows(name.len());
        assert!(windows.any(|window| window == name.as_bytes()), "{name}");
    }
}

#[tokio::test]
async fn equal_series_of_several_registries_appear_once_and_the_recorders_win() {
    let prometheus = Prometheus::builder()
        .names(Names::axum_prometheus())
        .build()
        .unwrap();
    let own = Gauge::new("shared", "Of the crate prometheus.").unwrap();
    own.set(1.0);
    prometheus.registry().register(Box::new(own)).unwrap();
    let facade = prometheus.metrics_facade().build().unwrap();
    metrics::with_local_recorder(&facade, || {
        metrics::gauge!("shared").set(2.0);
        metrics::gauge!("shared", "of" => "facade").set(3.0);
        // As axum-prometheus records it during a migration.
        let labels = [("method", "GET"), ("endpoint", "/"), ("status", "200")];
        metrics::counter!("axum_http_requests_total", &labels).increment(7);
        metrics::counter!("axum_http_requests_total", "method" => "PUT").increment(8);
    });
    request(prometheus).await;

    let samples = assert_readable(prometheus);
    assert_eq!(samples.sum("shared", &[("of", "")]), 1.0);
    assert_eq!(samples.sum("shared", &[("of", "facade")]), 3.0);
    let requests = |method| samples.sum("axum_http_requests_total", &[("method", method)]);
    assert_eq!(requests("GET"), 1.0);
    assert_eq!(requests("PUT"), 8.0);
}

#[tokio::test]
async fn equal_names_of_different_types_lose_only_their_types() {
    let prometheus = Prometheus::new();
    let mut registry = Registry::default();
    let jobs: Counter = Counter::default();
    jobs.inc();
    registry.register("jobs", "A counter", jobs);
    prometheus.add_client_registry(registry);
    let facade = prometheus.metrics_facade().build().unwrap();
    metrics::with_local_recorder(&facade, || {
        metrics::gauge!("jobs").set(2.0);
        metrics::gauge!("jobs_total").set(3.0);
        metrics::gauge!("jobs_total", "of" => "facade").set(4.0);
        metrics::histogram!("waits").record(1.0);
        metrics::gauge!("waits_count").set(5.0);
        metrics::gauge!("waits_sum", "of" => "facade").set(6.0);
    });

    let samples = assert_readable(prometheus);
    // The registry that was added first wins.
    assert_eq!(samples.sum("jobs_total", &[("of", "")]), 1.0);
    assert_eq!(samples.sum("jobs_total", &[("of", "facade")]), 4.0);
    assert_eq!(samples.sum("jobs", &[]), 2.0);
    assert_eq!(samples.series("waits_count"), 1);
    assert_eq!(samples.sum("waits_sum", &[]), 7.0);
    assert!(open_metrics(prometheus).contains("# TYPE jobs gauge\n"));
}

#[test]
fn families_can_be_selected_by_name() {
    let prometheus = Prometheus::new();
    let facade = prometheus.metrics_facade().build().unwrap();
    metrics::with_local_recorder(&facade, || {
        metrics::gauge!("a").set(1.0);
        metrics::gauge!("b").set(2.0);
    });
    let exposition = prometheus.exposition();
    for format in FORMATS {
        let text = exposition.render_families(format, ["b"]);
        assert!(
            text.contains("\nb 2\n") && !text.contains("\na 1\n"),
            "{text}"
        );
    }
}

/// The live page evaluates what the reader returns.
#[test]
fn the_reader_returns_the_families_of_other_registries() {
    let prometheus = Prometheus::new();
    let facade = prometheus.metrics_facade().bounds([1.0]).build().unwrap();
    metrics::with_local_recorder(&facade, || {
        metrics::counter!("a_total", "of" => "x").increment(2);
        metrics::gauge!("b").set(3.0);
        metrics::histogram!("c").record(0.5);
    });
    let families = prometheus.reader().gather_others();
    let text = prometheus::TextEncoder::new().encode_to_string(&families);
    let samples = Samples::parse(&text.unwrap());
    assert_eq!(samples.sum("a_total", &[("of", "x")]), 2.0);
    assert_eq!(samples.sum("b", &[]), 3.0);
    assert_eq!(samples.sum("c_bucket", &[("le", "1")]), 1.0);
    assert_eq!(samples.sum("c_sum", &[]), 0.5);
}
