//! Collector of the metrics of connections.

use std::collections::HashMap;

use prometheus::core::{Collector, Desc};
use prometheus::proto;

use super::ConnectionNames;
use super::cells::{ConnectionSeries, Histogram, Reading};
use crate::connections::Rejection;
use crate::prometheus::Inner;
use crate::prometheus::collector::{family, pair};

const ERROR_TYPE: &str = "error_type";
const REASON: &str = "reason";
const DIRECTION: &str = "network_io_direction";
/// Labels of the metrics other than the constant ones.
pub(super) const LABELS: [&str; 3] = [ERROR_TYPE, REASON, DIRECTION];

/// Collector of the metrics of connections, registered with the first
/// [`Connections`](crate::Connections) of a recorder.
pub(super) struct ConnectionMetrics {
    series: &'static ConnectionSeries,
    constant: Vec<(String, String)>,
    descs: [Desc; 5],
}

impl ConnectionMetrics {
    pub(super) fn new(
        names: &ConnectionNames,
        inner: &Inner,
        series: &'static ConnectionSeries,
    ) -> prometheus::Result<Self> {
        // The scheme is an attribute of requests.
        let scheme = inner.names.scheme.as_ref();
        let constant = inner.constant.iter();
        let constant: Vec<_> = constant
            .filter(|(name, _)| Some(name) != scheme)
            .cloned()
            .collect();
        let labels: HashMap<_, _> = constant.iter().cloned().collect();
        let desc = |name: &str, help: &str, variable: &[&str]| {
            let variable = variable.iter().map(|&label| label.to_owned()).collect();
            Desc::new(name.to_owned(), help.to_owned(), variable, labels.clone())
        };
        let descs = [
            desc(&names.open, "Number of open connections.", &[])?,
            desc(&names.duration, "Duration of connections.", &[ERROR_TYPE])?,
            desc(
                &names.rejected,
                "Total number of connections that were not accepted.",
                &[REASON],
            )?,
            desc(
                &names.network_io,
                "Total number of bytes received and transmitted on connections.",
                &[DIRECTION],
            )?,
            desc(
                &names.tls_handshake,
                "Duration of TLS handshakes.",
                &[ERROR_TYPE],
            )?,
        ];
        Ok(Self {
            series,
            constant,
            descs,
        })
    }

    /// Returns a metric with this label and the constant ones.
    fn metric(&self, label: Option<(&str, &str)>) -> proto::Metric {
        let constant = self
            .constant
            .iter()
            .map(|(name, value)| (&**name, &**value));
        let labels = constant.chain(label).map(|(name, value)| pair(name, value));
        let mut labels: Vec<_> = labels.collect();
        labels.sort_by(|a, b| a.name().cmp(b.name()));
        proto::Metric::from_label(labels)
    }

    fn gauge(&self, value: u64) -> proto::Metric {
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value as f64);
        let mut metric = self.metric(None);
        metric.set_gauge(gauge);
        metric
    }

    fn counter(&self, label: (&str, &str), value: u64) -> proto::Metric {
        let mut counter = proto::Counter::default();
        counter.set_value(value as f64);
        let mut metric = self.metric(Some(label));
        metric.set_counter(counter);
        metric
    }

    fn histogram(&self, histogram: &Histogram, reading: &Reading) -> proto::Metric {
        let mut cumulative = 0;
        let finite = histogram.bounds.iter().zip(&reading.buckets);
        let buckets = finite.map(|(bound, in_bucket)| {
            cumulative += in_bucket;
            let mut bucket = proto::Bucket::default();
            bucket.set_cumulative_count(cumulative);
            bucket.set_upper_bound(*bound);
            bucket
        });
        let mut proto = proto::Histogram::default();
        proto.set_bucket(buckets.collect());
        proto.set_sample_count(reading.count());
        proto.set_sample_sum(reading.sum as f64 / 1e9);
        let mut metric = self.metric(Some((ERROR_TYPE, reading.error_type.as_str())));
        metric.set_histogram(proto);
        metric
    }
}

impl Collector for ConnectionMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let series = self.series;
        let durations = series.durations.read();
        let closed: u64 = durations.iter().map(Reading::count).sum();
        // Read last, so that the beginning of every connection whose end was seen is
        // included.
        let opened = series.sum(|thread| &thread.opened);
        let directions = [
            ("receive", series.sum(|thread| &thread.received)),
            ("transmit", series.sum(|thread| &thread.transmitted)),
        ];
        let durations = durations.iter();
        let handshakes = series.handshakes.read();

        let rejected =
            |reason: Rejection| self.counter((REASON, reason.as_str()), series.rejected(reason));
        let metrics = [
            vec![self.gauge(opened.saturating_sub(closed))],
            durations
                .map(|reading| self.histogram(&series.durations, reading))
                .collect(),
            Rejection::ALL.map(rejected).into(),
            directions
                .map(|(direction, bytes)| self.counter((DIRECTION, direction), bytes))
                .into(),
            handshakes
                .iter()
                .map(|reading| self.histogram(&series.handshakes, reading))
                .collect(),
        ];
        let types = [
            proto::MetricType::GAUGE,
            proto::MetricType::HISTOGRAM,
            proto::MetricType::COUNTER,
            proto::MetricType::COUNTER,
            proto::MetricType::HISTOGRAM,
        ];
        let families = self.descs.iter().zip(types).zip(metrics);
        families
            .map(|((desc, kind), metrics)| family(&desc.fq_name, &desc.help, kind, metrics))
            .collect()
    }
}
