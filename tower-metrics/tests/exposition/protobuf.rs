//! Exposition as protobuf, decoded by prost.

use std::collections::BTreeMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::messages::{Histogram, Metric, MetricFamily, MetricType, Timestamp, decode};
use super::*;

pub(crate) fn scraped(prometheus: Prometheus) -> Vec<MetricFamily> {
    decode(&prometheus.exposition().render_protobuf())
}

/// Returns the samples of the families as the text formats write them.
fn samples(families: &[MetricFamily]) -> Samples {
    let mut all = Samples::default();
    for family in families {
        for metric in &family.metric {
            add_samples(&mut all, family, metric);
        }
    }
    all
}

fn add_samples(all: &mut Samples, family: &MetricFamily, metric: &Metric) {
    let mut add = |suffix: &str, label: Option<(&str, f64)>, value: f64| {
        let mut labels: BTreeMap<_, _> = metric.labels().into_iter().collect();
        assert_eq!(labels.len(), metric.label.len(), "a label is repeated");
        labels.retain(|_, value| !value.is_empty());
        if let Some((name, value)) = label {
            labels.insert(name.to_owned(), value.to_string());
        }
        let key = (format!("{}{suffix}", family.name()), labels);
        let previous = all.0.insert(key, value);
        assert!(previous.is_none(), "duplicate sample of {}", family.name());
    };
    match family.r#type() {
        MetricType::Counter => add("", None, metric.counter.as_ref().unwrap().value()),
        MetricType::Gauge => add("", None, metric.gauge.unwrap().value()),
        MetricType::Untyped => add("", None, metric.untyped.unwrap().value()),
        MetricType::Summary => {
            let summary = metric.summary.as_ref().unwrap();
            for quantile in &summary.quantile {
                let label = ("quantile", quantile.quantile());
                add("", Some(label), quantile.value());
            }
            add("_sum", None, summary.sample_sum());
            add("_count", None, summary.sample_count() as f64);
        }
        MetricType::Histogram | MetricType::GaugeHistogram => {
            let histogram = metric.histogram.as_ref().unwrap();
            let mut infinite = false;
            for bucket in &histogram.bucket {
                let bound = bucket.upper_bound();
                infinite |= bound.is_infinite();
                let count = bucket.cumulative_count() as f64;
                add("_bucket", Some(("le", bound)), count);
            }
            let count = histogram.sample_count() as f64;
            if !infinite {
                add("_bucket", Some(("le", f64::INFINITY)), count);
            }
            add("_sum", None, histogram.sample_sum());
            add("_count", None, count);
        }
    }
}

#[tokio::test]
async fn protobuf_contains_the_samples_of_the_text_formats() {
    for prometheus in recorders().await {
        let text = prometheus.exposition().render(Format::Text);
        let families = scraped(prometheus);
        assert_eq!(samples(&families).texts(), Samples::parse(&text).texts());
        let names: BTreeSet<_> = families.iter().map(MetricFamily::name).collect();
        assert_eq!(names.len(), families.len(), "family names are unique");
        for family in &families {
            let help = format!("# HELP {} ", family.name());
            assert_eq!(text.contains(&help), family.help.is_some());
        }
    }
}

/// Sends a request to a service that responds with this status.
fn send(layer: &MetricsLayer<Prometheus>, status: u16) {
    let service = layer.layer(service_fn(move |_: Request<Script>| async move {
        let response = Response::builder().status(status).body(Script::default());
        Ok::<_, std::io::Error>(response.unwrap())
    }));
    let sent = pin!(service.oneshot(Request::default()));
    let polled = sent.poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Ready(Ok(_))));
}

/// Renderings keep what they know of the series for the next one.
#[test]
fn what_is_added_between_scrapes_is_in_the_next_one() {
    let prometheus = Prometheus::builder().names(Names::classic());
    let prometheus = prometheus.native_histogram(true).build().unwrap();
    let layer = |route: &'static str| {
        let builder = MetricsLayer::builder(prometheus).route(Route::fixed(route));
        builder.build().unwrap()
    };
    let (one, other) = (layer("/one"), layer("/other"));
    let mut sent = 0;
    let check = |sent: u32| {
        let text = prometheus.exposition().render(Format::Text);
        let texts = Samples::parse(&text).texts();
        assert_eq!(samples(&scraped(prometheus)).texts(), texts);
        assert_eq!(
            texts,
            Samples::parse(&gathered(prometheus.registry())).texts()
        );
        let total = Samples::parse(&text).sum("http_requests_total", &[]);
        assert_eq!(total, f64::from(sent));
    };
    check(sent);
    // Series before, between and after the known ones, on the first, the second and a new
    // endpoint, from a known and from a new thread.
    for status in [404, 201, 500, 204, 200, 503] {
        for layer in [&one, &other] {
            send(layer, status);
            sent += 1;
            check(sent);
            std::thread::scope(|scope| {
                scope.spawn(|| send(layer, status));
            });
            sent += 1;
            check(sent);
        }
    }
    send(&layer("/new"), 404);
    check(sent + 1);
}

#[test]
fn every_format_shows_the_age_of_a_request_in_flight() {
    const NAME: &str = "shop_http_server_oldest_request_seconds";
    let labels = HashMap::from([("pod".to_owned(), "a \"1\"".to_owned())]);
    let registry = Registry::new_custom(Some("shop".to_owned()), Some(labels)).unwrap();
    let prometheus = Prometheus::builder().registry(registry);
    let prometheus = prometheus.constant_label("zone", "eu").build().unwrap();
    let layer = |route: &'static str| {
        let builder = MetricsLayer::builder(prometheus).route(Route::fixed(route));
        builder.build().unwrap()
    };
    send(&layer("/idle"), 200);
    let pending = service_fn(|_: Request<Script>| {
        std::future::pending::<std::io::Result<Response<Script>>>()
    });
    let mut hung = pin!(layer("/hung").layer(pending).oneshot(Request::default()));
    let polled = hung.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());

    let formats: [&dyn Fn() -> Samples; 4] = [
        &|| Samples::parse(&prometheus.exposition().render(Format::Text)),
        &|| Samples::parse(&prometheus.exposition().render(Format::OpenMetrics)),
        &|| samples(&scraped(prometheus)),
        &|| Samples::parse(&gathered(prometheus.registry())),
    ];
    let started = Instant::now();
    for format in formats {
        let common = [("pod", "a \"1\""), ("zone", "eu"), ("url_scheme", "http")];
        let age = |samples: &Samples, route| {
            let mut labels = vec![("http_route", route)];
            labels.extend(common);
            samples.sum(NAME, &labels)
        };
        // The clock has a resolution of a millisecond.
        let samples = loop {
            let samples = format();
            if age(&samples, "/hung") > 0.0 {
                break samples;
            }
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "it never shows"
            );
            std::thread::yield_now();
        };
        assert_eq!(samples.series(NAME), 2);
        assert!(samples.series_with(NAME, ("http_route", "/idle")));
        assert_eq!(age(&samples, "/idle"), 0.0);
    }
}

#[tokio::test]
async fn units_are_suffixes_of_their_names() {
    let mut seen = BTreeSet::new();
    for prometheus in recorders().await {
        for family in scraped(prometheus) {
            let name = family.name().trim_end_matches("_total");
            let wanted = ["seconds", "bytes"].into_iter().find(|unit| {
                let rest = name.strip_suffix(unit);
                rest.is_some_and(|rest| rest.ends_with('_'))
            });
            assert_eq!(family.unit.as_deref(), wanted, "{}", family.name());
            seen.extend(family.unit);
        }
    }
    assert_eq!(seen.len(), 2);
}

fn time(timestamp: Timestamp) -> SystemTime {
    UNIX_EPOCH + Duration::new(timestamp.seconds as u64, timestamp.nanos as u32)
}

#[tokio::test]
async fn series_carry_the_time_of_their_creation() {
    let before = SystemTime::now();
    let names = Names::classic();
    let prometheus = Prometheus::builder().names(names).build().unwrap();
    traffic(prometheus, false).await;
    let after = SystemTime::now();
    traffic(prometheus, false).await;
    let (mut counters, mut histograms) = (0, 0);
    for family in scraped(prometheus) {
        for metric in family.metric {
            let created = if let Some(histogram) = metric.histogram {
                histograms += 1;
                histogram.created_timestamp
            } else if let Some(counter) = metric.counter {
                if family.name.as_deref() == Some("tower_metrics_overflow_total") {
                    continue;
                }
                counters += 1;
                counter.created_timestamp
            } else {
                continue;
            };
            let created = time(created.unwrap());
            assert!(before <= created && created <= after);
        }
    }
    assert_eq!((counters, histograms), (6, 18));
}

fn durations(families: &[MetricFamily]) -> impl Iterator<Item = &Histogram> {
    let family = families
        .iter()
        .find(|family| family.name() == "http_server_request_duration_seconds");
    let metrics = family.unwrap().metric.iter();
    metrics.map(|metric| metric.histogram.as_ref().unwrap())
}

#[tokio::test]
async fn exemplars_carry_their_time() {
    let before = SystemTime::now();
    let prometheus = Prometheus::builder().time_to_head(true).build().unwrap();
    traffic(prometheus, true).await;
    let after = SystemTime::now();
    let families = scraped(prometheus);
    let mut exemplars = 0;
    for histogram in durations(&families) {
        let mut previous = f64::NEG_INFINITY;
        for bucket in &histogram.bucket {
            if let Some(exemplar) = &bucket.exemplar {
                exemplars += 1;
                assert_eq!(exemplar.label.len(), 1);
                assert_eq!(exemplar.label[0].name(), "trace_id");
                assert_eq!(exemplar.label[0].value(), TRACE);
                let value = exemplar.value();
                assert!(previous < value && value <= bucket.upper_bound());
                let at = time(exemplar.timestamp.unwrap());
                assert!(before <= at && at <= after);
            }
            previous = bucket.upper_bound();
        }
    }
    assert_eq!(exemplars, 6);
    let all = families.iter().flat_map(|family| &family.metric);
    let buckets = all.flat_map(|metric| &metric.histogram);
    let with = buckets.flat_map(|histogram| &histogram.bucket);
    assert_eq!(with.filter(|bucket| bucket.exemplar.is_some()).count(), 6);
}

/// A duration above the last bound has its exemplar in the bucket `+Inf`.
#[tokio::test]
async fn the_infinite_bucket_is_written_for_its_exemplar() {
    let builder = Prometheus::builder().duration_bounds([1e-9]);
    let prometheus = builder.build().unwrap();
    traffic(prometheus, true).await;
    let families = scraped(prometheus);
    for histogram in durations(&families) {
        let [_, infinite] = &histogram.bucket[..] else {
            panic!("{histogram:?}");
        };
        assert_eq!(infinite.upper_bound(), f64::INFINITY);
        assert_eq!(infinite.cumulative_count(), histogram.sample_count());
        assert!(infinite.exemplar.is_some());
    }
}
