//! Metric families whose values are read at each scrape.

use std::collections::HashMap;

use prometheus::core::Desc;
use prometheus::proto;

/// Metric family whose values are read at each scrape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) kind: proto::MetricType,
}

impl Family {
    pub(crate) const fn gauge(name: &'static str, help: &'static str) -> Self {
        let kind = proto::MetricType::GAUGE;
        Self { name, help, kind }
    }

    #[cfg(any(feature = "process", feature = "tokio"))]
    pub(crate) const fn counter(name: &'static str, help: &'static str) -> Self {
        let kind = proto::MetricType::COUNTER;
        Self { name, help, kind }
    }

    #[cfg(any(feature = "admission", feature = "tokio"))]
    pub(crate) const fn histogram(name: &'static str, help: &'static str) -> Self {
        let kind = proto::MetricType::HISTOGRAM;
        Self { name, help, kind }
    }

    /// Returns the description for a registry.
    pub(crate) fn desc(&self, constant: &[(&str, &str)], variable: &[&str]) -> Desc {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let constant: HashMap<_, _> = constant.iter().map(owned).collect();
        let variable = variable.iter().map(|name| (*name).to_owned()).collect();
        Desc::new(self.name.into(), self.help.into(), variable, constant)
            .expect("the names are constants and valid")
    }

    /// Returns the family with these metrics.
    pub(crate) fn with(&self, metrics: Vec<proto::Metric>) -> proto::MetricFamily {
        let mut family = proto::MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(metrics);
        family
    }

    /// Returns a metric of a gauge or a counter.
    pub(crate) fn metric(&self, labels: &[(&str, &str)], value: f64) -> proto::Metric {
        let mut metric = metric(labels);
        if self.kind == proto::MetricType::COUNTER {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        } else {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        }
        metric
    }
}

fn metric(labels: &[(&str, &str)]) -> proto::Metric {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    let mut labels: Vec<_> = labels.iter().map(pair).collect();
    labels.sort_by(|a, b| a.name().cmp(b.name()));
    proto::Metric::from_label(labels)
}

/// Returns a metric of a histogram. `buckets` has the count of each bound, and then that
/// of greater values.
#[cfg(any(feature = "admission", feature = "tokio"))]
pub(crate) fn histogram(
    labels: &[(&str, &str)],
    bounds: &[f64],
    buckets: &[u64],
    sum: f64,
) -> proto::Metric {
    let mut cumulative = 0;
    let bucket = |(bound, count): (&f64, &u64)| {
        cumulative += count;
        let mut bucket = proto::Bucket::default();
        bucket.set_cumulative_count(cumulative);
        bucket.set_upper_bound(*bound);
        bucket
    };
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(bounds.iter().zip(buckets).map(bucket).collect());
    histogram.set_sample_count(buckets.iter().sum());
    histogram.set_sample_sum(sum);
    let mut metric = metric(labels);
    metric.set_histogram(histogram);
    metric
}
