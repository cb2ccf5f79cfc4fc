//! Registries of `prometheus-client`.

use std::sync::{Arc, Mutex, RwLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::exemplar::{CounterWithExemplar, HistogramWithExemplars};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::*;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    route: String,
}

fn route(route: &str) -> Route {
    Route {
        route: route.to_owned(),
    }
}

#[derive(Debug)]
struct Collected;

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counter = ConstCounter::new(42u64);
        let kind = counter.metric_type();
        let metric = encoder.encode_descriptor("collected", "From a collector", None, kind)?;
        counter.encode(metric)
    }
}

/// Returns a registry with every type of metric.
fn registry() -> Registry {
    let mut registry = Registry::with_prefix("shop");
    let requests = Family::<Route, Counter>::default();
    requests.get_or_create(&route("/a")).inc();
    requests.get_or_create(&route("odd \"\\\n} {x")).inc_by(2);
    registry.register("requests", "Requests with a \\", requests);
    let size: Gauge = Gauge::default();
    size.set(-3);
    registry.register_with_unit("queue", "Size of the queue", Unit::Bytes, size);
    let waits = Family::<Route, Histogram>::new_with_constructor(|| Histogram::new([0.5, 1.0]));
    waits.get_or_create(&route("/a")).observe(0.75);
    waits.get_or_create(&route("/b")).observe(20.0);
    registry.register_with_unit("waits", "Waits", Unit::Seconds, waits);
    registry.register("build", "The build", Info::new([("version", "1.2")]));
    let sold = CounterWithExemplar::<[(&str, &str); 1]>::default();
    sold.inc_by(4, Some([("trace_id", "abc")]), None);
    registry.register("sold", "Sold", sold);
    let took = HistogramWithExemplars::<[(&str, &str); 1]>::new([0.5, 1.0].into_iter());
    took.observe(0.75, Some([("trace_id", "def")]), None);
    registry.register("took", "Took", took);
    registry.register_collector(Box::new(Collected));
    for zone in ["eu", "us"] {
        let labels = [("zone".into(), zone.into())];
        let sub = registry.sub_registry_with_labels(labels.into_iter());
        let load: Gauge = Gauge::default();
        load.set(7);
        sub.register("load", "Load", load);
    }
    registry
}

#[test]
fn every_type_of_metric_keeps_its_name_its_type_and_its_values() {
    let prometheus = Prometheus::new();
    prometheus.add_client_registry(registry());
    let samples = assert_readable(prometheus);
    let odd = [("route", "odd \"\\\n} {x")];
    assert_eq!(samples.sum("shop_requests_total", &[("route", "/a")]), 1.0);
    assert_eq!(samples.sum("shop_requests_total", &odd), 2.0);
    assert_eq!(samples.sum("shop_queue_bytes", &[]), -3.0);
    let bucket = |route, le| {
        let labels = [("route", route), ("le", le)];
        samples.sum("shop_waits_seconds_bucket", &labels)
    };
    assert_eq!(bucket("/a", "0.5"), 0.0);
    assert_eq!(bucket("/a", "1"), 1.0);
    assert_eq!(bucket("/b", "1"), 0.0);
    assert_eq!(bucket("/b", "inf"), 1.0);
    assert_eq!(samples.sum("shop_waits_seconds_sum", &[]), 20.75);
    assert_eq!(samples.sum("shop_waits_seconds_count", &[]), 2.0);
    assert_eq!(samples.sum("shop_build_info", &[("version", "1.2")]), 1.0);
    assert_eq!(samples.sum("shop_collected_total", &[]), 42.0);
    assert_eq!(samples.sum("shop_load", &[("zone", "eu")]), 7.0);
    assert_eq!(samples.sum("shop_load", &[("zone", "us")]), 7.0);

    let text = text(prometheus);
    let open_metrics = open_metrics(prometheus);
    for line in [
        "# TYPE shop_requests_total counter",
        "# HELP shop_requests_total Requests with a \\\\.",
        "# TYPE shop_build_info gauge",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!text.contains(" # "), "{text}");
    for line in [
        "# TYPE shop_requests counter",
        "# TYPE shop_queue_bytes gauge",
        "# UNIT shop_queue_bytes bytes",
        "# TYPE shop_waits_seconds histogram",
        "# UNIT shop_waits_seconds seconds",
        "# TYPE shop_build info",
        "shop_sold_total 4 # {trace_id=\"abc\"} 4",
        "shop_took_bucket{le=\"1.0\"} 1 # {trace_id=\"def\"} 0.75",
        "# TYPE shop_load gauge",
    ] {
        let found = open_metrics.lines().any(|found| found == line);
        assert!(found, "{line}\n{open_metrics}");
    }
    assert_eq!(open_metrics.matches("# TYPE shop_load ").count(), 1);
}

#[test]
fn an_info_beside_a_metric_of_its_base_name_is_a_gauge() {
    let mut registry = Registry::default();
    registry.register("build", "The build", Info::new([("version", "1.2")]));
    let build: Gauge = Gauge::default();
    registry.register("build", "Another one", build);
    let prometheus = Prometheus::new();
    prometheus.add_client_registry(registry);
    assert_eq!(assert_readable(prometheus).sum("build_info", &[]), 1.0);
    let open_metrics = open_metrics(prometheus);
    assert!(
        open_metrics.contains("# TYPE build_info gauge\n"),
        "{open_metrics}"
    );
    assert!(
        open_metrics.contains("# TYPE build gauge\n"),
        "{open_metrics}"
    );
}

#[test]
fn metrics_can_be_registered_after_the_registry_was_added() {
    let prometheus = Prometheus::new();
    let mutex = Arc::new(Mutex::new(Registry::default()));
    let lock = Arc::new(RwLock::new(Registry::default()));
    let shared = Arc::new(Registry::default());
    prometheus.add_client_registry(mutex.clone());
    prometheus.add_client_registry(lock.clone());
    prometheus.add_client_registry(shared);
    let counter: Counter = Counter::default();
    mutex.lock().unwrap().register("a", "A", counter.clone());
    lock.write().unwrap().register("b", "B", counter.clone());
    counter.inc();
    let samples = assert_readable(prometheus);
    assert_eq!(samples.sum("a_total", &[]), 1.0);
    assert_eq!(samples.sum("b_total", &[]), 1.0);
}

#[test]
fn a_help_text_with_line_breaks_does_not_break_the_exposition() {
    let mut registry = Registry::default();
    let counter: Counter = Counter::default();
    counter.inc();
    registry.register("a", "First line\nb 3\n# TYPE", counter.clone());
    registry.register("c", "C", counter);
    let prometheus = Prometheus::new();
    prometheus.add_client_registry(registry);
    let samples = assert_readable(prometheus);
    assert_eq!(samples.sum("a_total", &[]), 1.0);
    assert_eq!(samples.sum("c_total", &[]), 1.0);
    assert_eq!(samples.series("b"), 0);
}

#[test]
fn a_registry_that_cannot_be_encoded_is_omitted() {
    let mut registry = Registry::default();
    registry.register("good", "Good", Counter::<u64>::default());
    registry.register_collector(Box::new(Failing));
    let prometheus = Prometheus::new();
    prometheus.add_client_registry(registry);
    let samples = assert_readable(prometheus);
    assert_eq!(samples.series("good_total"), 0);
    assert_eq!(samples.series("tower_metrics_series"), 1);
}

#[derive(Debug)]
struct Failing;

impl Collector for Failing {
    fn encode(&self, _: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        Err(std::fmt::Error)
    }
}

#[test]
fn labels_whose_names_are_equal_when_written_appear_once() {
    let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    };
    let family = Family::<Vec<(String, String)>, Counter>::default();
    for labels in [
        pairs(&[("a.b", "1"), ("a_b", "2")]),
        pairs(&[("c.d", "1")]),
        pairs(&[("c_d", "1")]),
    ] {
        family.get_or_create(&labels).inc();
    }
    let mut registry = Registry::default();
    registry.register("a", "A", family);
    let prometheus = Prometheus::new();
    prometheus.add_client_registry(registry);
    let samples = assert_readable(prometheus);
    assert_eq!(samples.series("a_total"), 2);
    assert_eq!(samples.sum("a_total", &[("a_b", "1")]), 1.0);
    assert_eq!(samples.sum("a_total", &[("c_d", "1")]), 1.0);
}
