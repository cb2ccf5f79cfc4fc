//! Collectors that make the recorder part of a [`prometheus::Registry`].

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use super::Inner;
use super::family::{Kind, Metric, Value, families};
use super::names::label_names;
use super::snapshot::{Histogram, Snapshot};

thread_local! {
    /// Recorder whose request metrics `gather` omits on this thread, because the
    /// exposition writes them from the cells. Identified by the address of its
    /// duration histogram's name.
    static EXCLUDED: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// Gathers everything in the recorder's registry except its request metrics.
pub(crate) fn gather_others(inner: &'static Inner) -> Vec<proto::MetricFamily> {
    struct Restore(Option<&'static str>);
    impl Drop for Restore {
        fn drop(&mut self) {
            EXCLUDED.set(self.0);
        }
    }
    let _restore = Restore(EXCLUDED.replace(Some(&inner.names.duration)));
    inner.registry.gather()
}

/// Collector of the request metrics.
pub(crate) struct RequestMetrics {
    inner: &'static Inner,
    descs: Vec<Desc>,
    /// Memory of the last reading, which the next one reuses.
    snapshot: Mutex<Snapshot>,
}

impl RequestMetrics {
    pub(crate) fn new(inner: &'static Inner) -> prometheus::Result<Self> {
        let constant: HashMap<_, _> = inner.constant.iter().cloned().collect();
        let names = inner.names;
        let endpoint = names.method.iter().chain([&names.route]);
        let series: Vec<_> = label_names(names, &[]).map(str::to_owned).collect();
        let descs = families(inner, names)
            .map(|family| {
                let labels = match family.kind {
                    Kind::InFlight => endpoint.clone().cloned().collect(),
                    Kind::OldestRequest => vec![names.route.clone()],
                    _ => series.clone(),
                };
                Desc::new(
                    family.name.to_owned(),
                    family.help.to_owned(),
                    labels,
                    constant.clone(),
                )
            })
            .collect::<prometheus::Result<_>>()?;
        Ok(Self {
            inner,
            descs,
            snapshot: Mutex::default(),
        })
    }
}

impl Collector for RequestMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let inner = self.inner;
        if EXCLUDED
            .get()
            .is_some_and(|excluded| std::ptr::eq(excluded, &*inner.names.duration))
        {
            return Vec::new();
        }
        let mut snapshot = self.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        inner.read(&mut snapshot);
        families(inner, inner.names)
            .map(|family| {
                let mut metrics = Vec::new();
                let kind = family.kind;
                kind.for_each_metric(&snapshot, |one| metrics.push(metric(one)));
                self::family(family.name, family.help, kind.metric_type(), metrics)
            })
            .collect()
    }
}

pub(super) fn family(
    name: &str,
    help: &str,
    kind: proto::MetricType,
    metrics: Vec<proto::Metric>,
) -> proto::MetricFamily {
    let mut family = proto::MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

pub(super) fn pair(name: &str, value: &str) -> proto::LabelPair {
    let mut pair = proto::LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

fn metric(of: &Metric<'_>) -> proto::Metric {
    let mut labels = Vec::new();
    of.labels
        .for_each(|name, value| labels.push(pair(name, value)));
    labels.sort_by(|a, b| a.name().cmp(b.name()));
    let mut metric = proto::Metric::from_label(labels);
    match &of.value {
        Value::Gauge(value) => {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value.as_f64());
            metric.set_gauge(gauge);
        }
        Value::Counter(value) => {
            let mut counter = proto::Counter::default();
            counter.set_value(*value as f64);
            metric.set_counter(counter);
        }
        Value::Histogram(value) => metric.set_histogram(histogram(value)),
    }
    metric
}

fn histogram(of: &Histogram<'_>) -> proto::Histogram {
    let mut histogram = proto::Histogram::default();
    histogram.set_sample_count(of.count);
    histogram.set_sample_sum(of.sum.as_f64());
    let mut cumulative = 0;
    // Encoders derive `+Inf` from the count. `TextEncoder` would write `inf`.
    let finite = of
        .le
        .iter()
        .zip(of.buckets)
        .filter(|(le, _)| ***le != *"+Inf");
    let buckets = finite.map(|(le, in_bucket)| {
        cumulative += in_bucket;
        let mut bucket = proto::Bucket::default();
        bucket.set_cumulative_count(cumulative);
        bucket.set_upper_bound(le.parse().expect("`le` was written from a number"));
        bucket
    });
    histogram.set_bucket(buckets.collect());
    histogram
}

const SERIES: &str = "tower_metrics_series";
const OVERFLOW: &str = "tower_metrics_overflow_total";
/// Label that identifies the recorder by its duration histogram's name.
pub(crate) const METRIC: &str = "metric";

pub(crate) const LIMIT: &str = "limit";

/// Collector of metrics about the recorder.
pub(crate) struct RecorderMetrics {
    inner: &'static Inner,
    descs: [Desc; 2],
}

const SERIES_HELP: &str = "Number of request series, by the name of the duration histogram.";
const OVERFLOW_HELP: &str =
    "Total number of times that a route, a label value or a series exceeded a cardinality limit.";

impl RecorderMetrics {
    pub(crate) fn new(inner: &'static Inner) -> prometheus::Result<Self> {
        let constant = HashMap::from([(METRIC.to_owned(), inner.names.duration.clone())]);
        Ok(Self {
            inner,
            descs: [
                Desc::new(
                    SERIES.into(),
                    SERIES_HELP.into(),
                    Vec::new(),
                    constant.clone(),
                )?,
                Desc::new(
                    OVERFLOW.into(),
                    OVERFLOW_HELP.into(),
                    vec![LIMIT.into()],
                    constant,
                )?,
            ],
        })
    }
}

impl Collector for RecorderMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let name = &*self.inner.names.duration;
        let series: usize = self
            .inner
            .endpoints()
            .iter()
            .map(|endpoint| endpoint.series_count())
            .sum();
        let mut gauge = proto::Gauge::default();
        gauge.set_value(series as f64);
        let mut metric = proto::Metric::from_label(vec![pair(METRIC, name)]);
        metric.set_gauge(gauge);
        let mut families = vec![family(
            SERIES,
            SERIES_HELP,
            proto::MetricType::GAUGE,
            vec![metric],
        )];

        let mut overflows = Vec::new();
        self.inner.overflows.for_each(|limit, count| {
            let mut counter = proto::Counter::default();
            counter.set_value(count.load(Ordering::Relaxed) as f64);
            let mut metric =
                proto::Metric::from_label(vec![pair(LIMIT, limit), pair(METRIC, name)]);
            metric.set_counter(counter);
            overflows.push(metric);
        });
        families.push(family(
            OVERFLOW,
            OVERFLOW_HELP,
            proto::MetricType::COUNTER,
            overflows,
        ));
        families
    }
}
