//! Source of the metrics of a live page.

use prometheus::Registry;
use prometheus::proto::{Metric, MetricFamily, MetricType};
use tower_metrics::Prometheus;
use tower_metrics::prometheus::{ReadSeries, ReadValue, Reader, counter_value, gauge_value};

use super::hook;
use super::sample::Sample;
use super::store::Store;

/// Source of the metrics of a [`LivePage`](super::LivePage): a recorder with its
/// registry, or any registry.
///
/// From a [`Prometheus`] recorder, the page reads request metrics directly from
/// their counters instead of gathering them, which is cheaper and continues to
/// work if another collector in the registry panics.
#[derive(Debug)]
pub struct MetricsSource(Source);

#[derive(Debug)]
enum Source {
    Recorder(Box<Reader>),
    Registry(Registry),
}

impl From<Prometheus> for MetricsSource {
    fn from(prometheus: Prometheus) -> Self {
        Self(Source::Recorder(Box::new(prometheus.reader())))
    }
}

impl From<Registry> for MetricsSource {
    fn from(registry: Registry) -> Self {
        Self(Source::Registry(registry))
    }
}

impl From<&Registry> for MetricsSource {
    fn from(registry: &Registry) -> Self {
        registry.clone().into()
    }
}

impl MetricsSource {
    /// Reads all metrics into `store` at `now`, in seconds of the monotonic
    /// clock.
    ///
    /// # Errors
    /// Returns the message if a collector panics. The metrics that could be
    /// read are in the store.
    pub(super) fn read(&mut self, store: &mut Store, now: f64) -> Result<(), String> {
        store.begin(now);
        let gathered = match &mut self.0 {
            Source::Recorder(reader) => {
                reader.read(|series| record(store, series));
                hook::call(|| reader.gather_others())
            }
            Source::Registry(registry) => hook::call(|| registry.gather()),
        };
        let result = gathered.map(|families| {
            for family in &families {
                record_family(store, family);
            }
        });
        store.finish(result.is_ok());
        result
    }
}

fn record(store: &mut Store, series: &ReadSeries<'_>) {
    if !store.wants(series.family()) {
        return;
    }
    let labels = |add: &mut dyn FnMut(&str, &str)| series.for_each_label(add);
    let mut cumulative = Vec::new();
    let sample = match series.value() {
        ReadValue::Gauge(value) => Sample::Gauge(value),
        ReadValue::Counter(value) => Sample::Counter(value),
        ReadValue::Histogram {
            bounds,
            buckets,
            count,
            sum,
        } => {
            let mut total = 0;
            cumulative.extend(buckets.iter().take(bounds.len()).map(|in_bucket| {
                total += in_bucket;
                total as f64
            }));
            Sample::Histogram {
                bounds,
                cumulative: &cumulative,
                count: count as f64,
                sum,
            }
        }
        _ => return,
    };
    store.record(series.family(), Some(series.id()), &labels, &sample);
}

fn record_family(store: &mut Store, family: &MetricFamily) {
    if !store.wants(family.name()) {
        return;
    }
    let (mut bounds, mut cumulative) = (Vec::new(), Vec::new());
    for metric in family.get_metric() {
        let labels = |add: &mut dyn FnMut(&str, &str)| {
            for pair in metric.get_label() {
                add(pair.name(), pair.value());
            }
        };
        let sample = match family.get_field_type() {
            MetricType::COUNTER => Sample::Counter(counter_value(metric)),
            MetricType::GAUGE => Sample::Gauge(gauge_value(metric)),
            MetricType::HISTOGRAM => histogram(metric, &mut bounds, &mut cumulative),
            _ => continue,
        };
        store.record(family.name(), None, &labels, &sample);
    }
}

fn histogram<'a>(
    metric: &Metric,
    bounds: &'a mut Vec<f64>,
    cumulative: &'a mut Vec<f64>,
) -> Sample<'a> {
    bounds.clear();
    cumulative.clear();
    let histogram = metric.get_histogram();
    for bucket in histogram.get_bucket() {
        if bucket.upper_bound().is_finite() {
            bounds.push(bucket.upper_bound());
            cumulative.push(bucket.cumulative_count() as f64);
        }
    }
    Sample::Histogram {
        bounds,
        cumulative,
        count: histogram.get_sample_count() as f64,
        sum: histogram.get_sample_sum(),
    }
}
