//! Writes families from `gather()`.

use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::Format;
use super::family::legacy_name;
use super::number::{float, integer};
use crate::prometheus::bound::format_bound;
use crate::prometheus::series::push_label;
use crate::proto;

/// Writes the samples of one metric of a family with this name.
pub(super) fn write_metric(
    out: &mut Vec<u8>,
    name: &str,
    family: &MetricFamily,
    metric: &Metric,
    format: Format,
) {
    let mut samples = Samples {
        out,
        name,
        metric,
        format,
    };
    match family.get_field_type() {
        MetricType::COUNTER => samples.float("", None, proto::counter_value(metric)),
        MetricType::GAUGE => samples.float("", None, proto::gauge_value(metric)),
        MetricType::HISTOGRAM => samples.histogram(),
        MetricType::SUMMARY => {
            let summary = metric.get_summary();
            for quantile in summary.get_quantile() {
                let label = ("quantile", quantile.quantile());
                samples.float("", Some(label), quantile.value());
            }
            samples.float("_sum", None, summary.sample_sum());
            samples.integer("_count", None, summary.sample_count());
        }
        // The crate `prometheus` cannot create untyped metrics.
        MetricType::UNTYPED => {}
    }
}

struct Samples<'a> {
    out: &'a mut Vec<u8>,
    name: &'a str,
    metric: &'a Metric,
    format: Format,
}

impl Samples<'_> {
    fn histogram(&mut self) {
        let histogram = self.metric.get_histogram();
        let count = histogram.get_sample_count();
        let mut infinite = false;
        for bucket in histogram.get_bucket() {
            infinite |= bucket.upper_bound() == f64::INFINITY;
            let label = ("le", bucket.upper_bound());
            self.integer("_bucket", Some(label), bucket.cumulative_count());
        }
        if !infinite {
            self.integer("_bucket", Some(("le", f64::INFINITY)), count);
        }
        self.float("_sum", None, histogram.get_sample_sum());
        self.integer("_count", None, count);
    }

    fn float(&mut self, suffix: &str, label: Option<(&str, f64)>, value: f64) {
        self.series(suffix, label);
        float(self.out, value);
        self.end_line();
    }

    fn integer(&mut self, suffix: &str, label: Option<(&str, f64)>, value: u64) {
        self.series(suffix, label);
        integer(self.out, value);
        self.end_line();
    }

    fn series(&mut self, suffix: &str, more: Option<(&str, f64)>) {
        self.out.extend_from_slice(self.name.as_bytes());
        self.out.extend_from_slice(suffix.as_bytes());
        let all = self.metric.get_label();
        let mut labels = String::new();
        for (i, label) in all.iter().enumerate() {
            // The metric's own label wins over the registry's, which comes
            // later: Prometheus rejects a scrape with a repeated label.
            if !all[..i].iter().any(|other| other.name() == label.name()) {
                push_label(
                    &mut labels,
                    &legacy_name(label.name(), false),
                    label.value(),
                );
            }
        }
        if let Some((name, value)) = more {
            push_label(&mut labels, name, &format_bound(value));
        }
        if !labels.is_empty() {
            self.out.push(b'{');
            self.out.extend_from_slice(labels.as_bytes());
            self.out.push(b'}');
        }
        self.out.push(b' ');
    }

    fn end_line(&mut self) {
        let milliseconds = self.metric.timestamp_ms();
        if milliseconds != 0 {
            self.out.push(b' ');
            match self.format {
                Format::Text => float(self.out, milliseconds as f64),
                Format::OpenMetrics => float(self.out, milliseconds as f64 / 1000.0),
            }
        }
        self.out.push(b'\n');
    }
}
