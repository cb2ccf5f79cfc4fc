//! Families whose names clash in a format, and values that a format does not allow.

use super::*;

fn counter(name: &str, value: f64) -> Box<dyn Collector> {
    let counter = Counter::new(name, format!("The counter {name}.")).unwrap();
    counter.inc_by(value);
    Box::new(counter)
}

fn gauge(name: &str, value: f64) -> Box<dyn Collector> {
    let gauge = Gauge::new(name, format!("The gauge {name}.")).unwrap();
    gauge.set(value);
    Box::new(gauge)
}

fn histogram(name: &str, value: f64) -> Box<dyn Collector> {
    let opts = HistogramOpts::new(name, format!("The histogram {name}."));
    let histogram = Histogram::with_opts(opts.buckets(vec![-1.0, 1.0])).unwrap();
    histogram.observe(value);
    Box::new(histogram)
}

fn histogram_of_positive_values(name: &str) -> Box<dyn Collector> {
    let opts = HistogramOpts::new(name, format!("The histogram {name}."));
    let histogram = Histogram::with_opts(opts.buckets(vec![0.5, 1.0])).unwrap();
    histogram.observe(0.75);
    Box::new(histogram)
}

/// Returns a family of its choice, whatever it was registered as.
struct Forwarding {
    desc: Desc,
    families: Vec<proto::MetricFamily>,
}

impl Forwarding {
    fn boxed(families: Vec<proto::MetricFamily>) -> Box<dyn Collector> {
        let desc = Desc::new("forwarding".into(), "x".into(), vec![], HashMap::new());
        let desc = desc.unwrap();
        Box::new(Self { desc, families })
    }
}

impl Collector for Forwarding {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        self.families.clone()
    }
}

async fn recorder(names: Names, others: Vec<Box<dyn Collector>>) -> Prometheus {
    let prometheus = Prometheus::builder().names(names).build().unwrap();
    for other in others {
        prometheus.registry().register(other).unwrap();
    }
    traffic(prometheus, true).await;
    prometheus
}

/// Checks that the strict parser and promtool read all samples of both
/// formats, and returns the types that OpenMetrics declares.
fn assert_readable(prometheus: Prometheus) -> HashMap<String, String> {
    let expected = Samples::parse(&gathered(prometheus.registry())).texts();
    for format in FORMATS {
        let text = prometheus.exposition().render(format);
        assert_eq!(Samples::parse(&text).texts(), expected, "{text}");
    }
    let text = prometheus.exposition().render(Format::Text);
    if programs::present("promtool", &["--version"]) {
        let (_, said) = programs::check("promtool", &["check", "metrics"], &text);
        assert!(!said.contains("parsing error"), "{said}\n{text}");
    }
    let text = prometheus.exposition().render(Format::OpenMetrics);
    if let Some(python) = programs::python() {
        let (readable, said) = programs::check(&python, &[SCRIPT], &text);
        assert!(readable, "{said}\n{text}");
        assert!(said.starts_with(&format!("samples {}\n", expected.len())));
    }
    let types = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect()
}

#[tokio::test]
async fn a_counter_beside_a_metric_of_its_base_name_is_of_unknown_type() {
    let others = vec![
        counter("jobs_total", 1.0),
        gauge("jobs", 2.0),
        counter("waits_total", 3.0),
        histogram_of_positive_values("waits"),
        counter("starts_total", 4.0),
        gauge("starts_created", 5.0),
        counter("alone_total", 6.0),
    ];
    let types = assert_readable(recorder(Names::open_telemetry(), others).await);
    for (name, kind) in [
        ("jobs_total", "unknown"),
        ("jobs", "gauge"),
        ("waits_total", "unknown"),
        ("waits", "histogram"),
        ("starts_total", "unknown"),
        ("starts_created", "gauge"),
        ("alone", "counter"),
    ] {
        assert_eq!(types[name], kind, "{name}");
    }
    assert!(!types.contains_key("alone_total"));
}

#[tokio::test]
async fn the_recorders_counter_beside_a_gauge_of_its_base_name_is_of_unknown_type() {
    let others = vec![gauge("http_requests", 2.0)];
    let types = assert_readable(recorder(Names::classic(), others).await);
    assert_eq!(types["http_requests_total"], "unknown");
    assert_eq!(types["http_requests"], "gauge");
    assert_eq!(types["http_request_duration_seconds"], "histogram");
}

#[tokio::test]
async fn samples_whose_names_belong_to_a_histogram_are_regrouped() {
    for suffix in ["_bucket", "_count", "_sum"] {
        let vec = GaugeVec::new(Opts::new(format!("waits{suffix}"), "A gauge."), &["of"]).unwrap();
        vec.with_label_values(&["a"]).set(7.0);
        let others = vec![
            histogram_of_positive_values("waits"),
            Box::new(vec) as Box<dyn Collector>,
        ];
        let types = assert_readable(recorder(Names::open_telemetry(), others).await);
        for name in ["waits_bucket", "waits_count", "waits_sum"] {
            assert_eq!(types[name], "unknown", "{suffix}: {name}");
        }
        assert!(!types.contains_key("waits"), "{suffix}");
    }
}

#[tokio::test]
async fn metrics_can_have_names_derived_from_the_recorders_histogram() {
    for suffix in ["", "_total", "_created", "_count", "_info"] {
        let name = format!("http_server_request_duration_seconds{suffix}");
        if suffix.is_empty() {
            // The registry rejects equal names.
            let prometheus = Prometheus::new();
            assert!(prometheus.registry().register(gauge(&name, 1.0)).is_err());
            continue;
        }
        let others = vec![gauge(&name, 1.0)];
        let types = assert_readable(recorder(Names::open_telemetry(), others).await);
        let kept = matches!(suffix, "_total" | "_info");
        assert_eq!(
            types.contains_key("http_server_request_duration_seconds"),
            kept,
            "{suffix}"
        );
        assert_eq!(types[&name], if kept { "gauge" } else { "unknown" });
    }
}

#[tokio::test]
async fn values_that_openmetrics_does_not_allow_lose_only_their_type() {
    let forwarded_counter = |name: &str, value: f64| {
        let mut family = proto::MetricFamily::default();
        family.set_name(name.into());
        family.set_help("A counter that another process keeps.".into());
        family.set_field_type(proto::MetricType::COUNTER);
        let mut counter = proto::Counter::default();
        counter.set_value(value);
        let mut metric = proto::Metric::default();
        metric.set_counter(counter);
        family.set_metric(vec![metric]);
        family
    };
    let others = vec![
        counter("_total", 1.0),
        histogram("below", -5.0),
        histogram("undefined", f64::NAN),
        Forwarding::boxed(vec![
            forwarded_counter("broken_total", f64::NAN),
            forwarded_counter("down_total", -1.0),
        ]),
    ];
    let types = assert_readable(recorder(Names::open_telemetry(), others).await);
    for name in [
        "broken_total",
        "_total",
        "down_total",
        "below_bucket",
        "below_sum",
        "undefined_count",
    ] {
        assert_eq!(types[name], "unknown", "{name}");
    }
}

/// A collector can forward another registry, and with it another recorder.
#[tokio::test]
async fn forwarded_families_are_merged_with_those_of_the_same_name() {
    let forwarded = Prometheus::builder()
        .constant_label("part", "b")
        .build()
        .unwrap();
    traffic(forwarded, false).await;
    let mut families = forwarded.registry().gather();
    // The metrics about the recorders have equal labels and would be duplicates.
    families.retain(|family| family.name().starts_with("http_"));
    let others = vec![Forwarding::boxed(families)];
    let types = assert_readable(recorder(Names::open_telemetry(), others).await);
    assert_eq!(types["http_server_request_duration_seconds"], "histogram");
    assert_eq!(types["http_server_active_requests"], "gauge");
}

/// The formats have no syntax for other names.
#[tokio::test]
async fn names_outside_of_the_character_set_are_escaped() {
    let mut family = proto::MetricFamily::default();
    family.set_name("queue.größe".into());
    family.set_field_type(proto::MetricType::GAUGE);
    let mut label = proto::LabelPair::default();
    label.set_name("queue.name".into());
    label.set_value("größe \u{1f980}\r".into());
    let mut metric = proto::Metric::from_label(vec![label]);
    metric.set_gauge(proto::Gauge::default());
    metric.set_timestamp_ms(1_700_000_000_250);
    family.set_metric(vec![metric]);
    let others = vec![Forwarding::boxed(vec![family])];
    let prometheus = recorder(Names::open_telemetry(), others).await;
    for (format, timestamp) in [
        (Format::Text, "1700000000250"),
        (Format::OpenMetrics, "1700000000.25"),
    ] {
        let text = prometheus.exposition().render(format);
        let sample = format!("queue_gr__e{{queue_name=\"größe \u{1f980}\r\"}} 0 {timestamp}\n");
        assert!(text.contains(&sample), "{text}");
        assert!(text.contains("# TYPE queue_gr__e gauge\n"), "{text}");
    }
}

/// Prometheus rejects a scrape with a repeated label.
#[tokio::test]
async fn a_label_that_the_registry_adds_again_is_written_once() {
    let labels = HashMap::from([("zone".to_owned(), "registry".to_owned())]);
    let registry = Registry::new_custom(None, Some(labels)).unwrap();
    let prometheus = Prometheus::builder().registry(registry).build().unwrap();
    let vec = GaugeVec::new(Opts::new("load", "A gauge."), &["zone"]).unwrap();
    vec.with_label_values(&["metric"]).set(1.0);
    prometheus.registry().register(Box::new(vec)).unwrap();
    for format in FORMATS {
        let text = prometheus.exposition().render(format);
        assert!(text.contains("load{zone=\"metric\"} 1\n"), "{text}");
    }
}
