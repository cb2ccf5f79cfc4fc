//! Exposition of a registry, checked with other parsers of its formats.

mod clashes;
mod http_scrape;
mod messages;
mod native;
mod negotiation;
#[path = "../programs/mod.rs"]
mod programs;
mod prometheus_server;
mod protobuf;
#[path = "../scrape/mod.rs"]
mod scrape;
#[path = "../script/mod.rs"]
mod script;
#[path = "../server/mod.rs"]
mod server;
mod shared_scrapes;

use std::collections::{BTreeSet, HashMap};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prometheus::core::{Collector, Desc};
use prometheus::{
    Counter, Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts,
    Registry, TextEncoder, proto,
};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_metrics::prometheus::{Exposition, Format, format_bound};
use tower_metrics::{MetricsLayer, Names, Prometheus, Route, TraceId};

use self::scrape::Samples;
use self::script::{Script, Step, data, failure};
use self::server::{fetch, request, serve};

const FORMATS: [Format; 2] = [Format::Text, Format::OpenMetrics];
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// Sends a successful request, a failed one and one without a response on each
/// of two routes, all with the same trace ID.
async fn traffic(prometheus: Prometheus, exemplars: bool) {
    for route in ["/users/{id}", "/odd\\\"\n"] {
        let mut builder = MetricsLayer::builder(prometheus).route(Route::fixed(route));
        if exemplars {
            builder = builder.exemplars(|head| TraceId::from_traceparent(head.headers));
        }
        let service = builder
            .build()
            .unwrap()
            .layer(service_fn(|request: Request<Script>| {
                let answer = match request.uri().path() {
                    "/ok" => Ok(200),
                    "/failed" => Ok(500),
                    _ => Err(failure()),
                };
                async move {
                    let body = Script::new([data("hello"), Step::Pending]);
                    answer.map(|status| Response::builder().status(status).body(body).unwrap())
                }
            }));
        for path in ["/ok", "/failed", "/none"] {
            let request = Request::builder()
                .uri(path)
                .header("traceparent", format!("00-{TRACE}-00f067aa0ba902b7-01"));
            let request = request.body(Script::default().sized()).unwrap();
            if let Ok(response) = service.clone().oneshot(request).await {
                response.into_body().collect().await.unwrap();
            }
        }
    }
}

/// Registers metrics of all types of the crate `prometheus`, with values and texts
/// that need special treatment.
fn register_others(registry: &Registry) {
    let counter = Counter::new("seconds_total", "With a unit.").unwrap();
    counter.inc_by(1.5);
    let unusual = Counter::new("unusual", "A counter that is not called _total.").unwrap();
    unusual.inc_by(1e18);
    let vec = IntCounterVec::new(
        Opts::new("odd_total", "With \"quotes\",\na line and a \\."),
        &["odd"],
    )
    .unwrap();
    vec.with_label_values(&["a\\b\"c\nd"]).inc();
    vec.with_label_values(&[""]).inc();
    let gauges = GaugeVec::new(Opts::new("extremes", "Values."), &["of"]).unwrap();
    for (of, value) in [
        ("nan", f64::NAN),
        ("inf", f64::INFINITY),
        ("-inf", f64::NEG_INFINITY),
        ("tiny", f64::MIN_POSITIVE),
        ("big", f64::MAX),
        ("-0.5", -0.5),
    ] {
        gauges.with_label_values(&[of]).set(value);
    }
    let gauge = Gauge::new("free_bytes", "Without labels.").unwrap();
    gauge.set(3.0);
    let opts = HistogramOpts::new("db_seconds", "A histogram.").buckets(vec![0.1, 1.0, 1e9]);
    let histogram = Histogram::with_opts(opts).unwrap();
    histogram.observe(0.5);
    let opts = HistogramOpts::new("rows", "With its own +Inf.").buckets(vec![1.0, f64::INFINITY]);
    let histograms = HistogramVec::new(opts, &["table"]).unwrap();
    histograms.with_label_values(&["users"]).observe(3.0);
    let empty = IntCounterVec::new(Opts::new("empty_total", "Nothing yet."), &["of"]).unwrap();

    let collectors: [Box<dyn Collector>; 8] = [
        Box::new(counter),
        Box::new(unusual),
        Box::new(vec),
        Box::new(gauges),
        Box::new(gauge),
        Box::new(histogram),
        Box::new(histograms),
        Box::new(empty),
    ];
    for collector in collectors {
        registry.register(collector).unwrap();
    }
}

/// Returns recorders with different settings, after traffic, beside other metrics.
async fn recorders() -> Vec<Prometheus> {
    let custom = || {
        let labels = HashMap::from([("pod".to_owned(), "shop \"1\"".to_owned())]);
        Registry::new_custom(Some("shop".to_owned()), Some(labels)).unwrap()
    };
    let builders = [
        Prometheus::builder(),
        Prometheus::builder()
            .names(Names::classic())
            .constant_label("zone", "eu")
            .time_to_head(true)
            .response_size_bounds([0, 1024, 1_048_576]),
        Prometheus::builder()
            .names(Names::axum_prometheus())
            .prefix("my"),
        Prometheus::builder().registry(custom()),
    ];
    let mut recorders = Vec::new();
    for builder in builders {
        let prometheus = builder.build().unwrap();
        register_others(prometheus.registry());
        traffic(prometheus, false).await;
        recorders.push(prometheus);
    }
    recorders
}

fn gathered(registry: &Registry) -> String {
    let mut text = Vec::new();
    TextEncoder::new()
        .encode(&registry.gather(), &mut text)
        .unwrap();
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn gather_and_both_formats_expose_the_same_samples() {
    for prometheus in recorders().await {
        let expected = Samples::parse(&gathered(prometheus.registry())).texts();
        assert!(expected.len() > 50);
        for format in FORMATS {
            let text = prometheus.exposition().render(format);
            assert_eq!(Samples::parse(&text).texts(), expected, "{format:?}");
        }
    }
}

/// Each family has one header, followed by all of its samples.
#[tokio::test]
async fn families_are_contiguous() {
    for prometheus in recorders().await {
        for format in FORMATS {
            let text = prometheus.exposition().render(format);
            let mut types = BTreeSet::new();
            for line in text.lines() {
                if let Some(name) = line.strip_prefix("# TYPE ") {
                    assert!(types.insert(name.to_owned()), "{line} is duplicated");
                }
            }
            assert_eq!(text.ends_with("# EOF\n"), format == Format::OpenMetrics);
            assert_eq!(
                text.matches("# EOF").count(),
                usize::from(format == Format::OpenMetrics)
            );
        }
    }
}

#[tokio::test]
async fn promtool_reports_no_problem() {
    if !programs::present("promtool", &["--version"]) {
        return;
    }
    for names in [
        Names::open_telemetry(),
        Names::open_telemetry_client(),
        Names::classic(),
    ] {
        let builder = Prometheus::builder().names(names).time_to_head(true);
        let prometheus = builder.build().unwrap();
        traffic(prometheus, false).await;
        for text in [
            prometheus.exposition().render(Format::Text),
            gathered(prometheus.registry()),
        ] {
            let said = programs::check("promtool", &["check", "metrics"], &text);
            assert_eq!(said, (true, String::new()), "{text}");
        }
    }
}

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/openmetrics.py");

#[tokio::test]
async fn the_strict_parser_accepts_openmetrics() {
    let Some(python) = programs::python() else {
        return;
    };
    for prometheus in recorders().await {
        let text = prometheus.exposition().render(Format::OpenMetrics);
        let (content, said) = programs::check(&python, &[SCRIPT], &text);
        assert!(content, "{said}\n{text}");
        assert_eq!(said, format!("samples {}\n", Samples::parse(&text).0.len()));
    }
}

#[tokio::test]
async fn the_strict_parser_accepts_exemplars() {
    let Some(python) = programs::python() else {
        return;
    };
    let prometheus = Prometheus::builder().time_to_head(true).build().unwrap();
    traffic(prometheus, true).await;
    let text = prometheus.exposition().render(Format::OpenMetrics);
    let (content, said) = programs::check(&python, &[SCRIPT], &text);
    assert!(content, "{said}\n{text}");
    let exemplars: Vec<_> = said
        .lines()
        .filter(|line| line.starts_with("exemplar"))
        .collect();
    // One for each series of the duration, and none elsewhere.
    assert_eq!(exemplars.len(), 6, "{said}");
    let start = format!("exemplar http_server_request_duration_seconds_bucket {TRACE} ");
    assert!(
        exemplars.iter().all(|line| line.starts_with(&start)),
        "{said}"
    );
}

#[tokio::test]
async fn exemplars_change_nothing_else() {
    // With all other histograms, none of which has exemplars.
    let recorder = || {
        let builder = Prometheus::builder().time_to_head(true);
        let builder = builder.request_size_bounds([0, 1]);
        builder.response_size_bounds([0, 1024]).build().unwrap()
    };
    let without = recorder();
    traffic(without, false).await;
    let with = recorder();
    traffic(with, true).await;
    let samples = |text: String| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    };
    for prometheus in [with, without] {
        let text = samples(prometheus.exposition().render(Format::Text));
        let open_metrics = samples(prometheus.exposition().render(Format::OpenMetrics));
        let stripped: Vec<_> = open_metrics
            .iter()
            .map(|line| line.split(" # ").next().unwrap())
            .collect();
        assert_eq!(stripped, text);
    }
    for format in FORMATS {
        assert!(!without.exposition().render(format).contains(TRACE));
        let shown = with.exposition().render(format).matches(TRACE).count();
        assert_eq!(shown, if format == Format::OpenMetrics { 6 } else { 0 });
    }
}
