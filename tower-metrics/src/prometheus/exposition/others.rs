//! Writes families of other sources in the text formats.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Format;
use super::family::{Form, legacy_name};
use super::number::{float, integer, seconds};
use crate::prometheus::bound::format_bound;
use crate::prometheus::other::{OtherExemplar, OtherMetric, OtherValue};
use crate::prometheus::series::push_label;

/// Writes the samples of one metric of a family with this name.
pub(super) fn write_metric(
    out: &mut Vec<u8>,
    name: &str,
    metric: &OtherMetric<'_>,
    form: Form,
    format: Format,
) {
    let mut samples = Samples {
        out,
        name,
        metric,
        format,
        exemplars: format == Format::OpenMetrics && form == Form::Typed,
    };
    match &metric.value {
        OtherValue::Number { value, exemplar } => {
            samples.series("", None);
            float(samples.out, *value);
            samples.end_line(exemplar.as_ref());
        }
        OtherValue::Histogram {
            buckets,
            count,
            sum,
        } => {
            let mut infinite = false;
            for bucket in buckets {
                infinite |= bucket.upper_bound == f64::INFINITY;
                samples.series("_bucket", Some(("le", bucket.upper_bound)));
                integer(samples.out, bucket.cumulative_count);
                samples.end_line(bucket.exemplar.as_ref());
            }
            if !infinite {
                samples.series("_bucket", Some(("le", f64::INFINITY)));
                integer(samples.out, *count);
                samples.end_line(None);
            }
            samples.sum_and_count(*sum, *count);
        }
        OtherValue::Summary {
            quantiles,
            count,
            sum,
        } => {
            for (quantile, value) in quantiles {
                samples.series("", Some(("quantile", *quantile)));
                float(samples.out, *value);
                samples.end_line(None);
            }
            samples.sum_and_count(*sum, *count);
        }
    }
}

struct Samples<'a> {
    out: &'a mut Vec<u8>,
    name: &'a str,
    metric: &'a OtherMetric<'a>,
    format: Format,
    exemplars: bool,
}

impl Samples<'_> {
    fn sum_and_count(&mut self, sum: f64, count: u64) {
        self.series("_sum", None);
        float(self.out, sum);
        self.end_line(None);
        self.series("_count", None);
        integer(self.out, count);
        self.end_line(None);
    }

    fn series(&mut self, suffix: &str, more: Option<(&str, f64)>) {
        self.out.extend_from_slice(self.name.as_bytes());
        self.out.extend_from_slice(suffix.as_bytes());
        let mut labels = text_labels(&self.metric.labels);
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

    fn end_line(&mut self, exemplar: Option<&OtherExemplar<'_>>) {
        if let Some(milliseconds) = self.metric.timestamp_ms {
            self.out.push(b' ');
            match self.format {
                Format::Text => float(self.out, milliseconds as f64),
                Format::OpenMetrics => float(self.out, milliseconds as f64 / 1000.0),
            }
        }
        if let Some(exemplar) = exemplar.filter(|_| self.exemplars) {
            let labels = text_labels(&exemplar.labels);
            self.out.extend_from_slice(b" # {");
            self.out.extend_from_slice(labels.as_bytes());
            self.out.extend_from_slice(b"} ");
            float(self.out, exemplar.value);
            if let Some(at) = exemplar.at {
                self.out.push(b' ');
                seconds(self.out, milliseconds_of(at) * 1_000_000);
            }
        }
        self.out.push(b'\n');
    }
}

/// Returns a time as Prometheus stores it, in milliseconds since the Unix epoch.
pub(super) fn milliseconds_of(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as u64
}

fn text_labels(all: &[(Cow<'_, str>, Cow<'_, str>)]) -> String {
    let mut labels = String::new();
    for (name, value) in distinct(all) {
        push_label(&mut labels, &legacy_name(name, false), value);
    }
    labels
}

/// Iterates over the labels without those whose name is repeated when it is written. The
/// metric's own label wins over the registry's, which follows it. Prometheus rejects a
/// scrape with a repeated label.
pub(super) fn distinct<'a>(
    all: &'a [(Cow<'_, str>, Cow<'_, str>)],
) -> impl Iterator<Item = (&'a str, &'a str)> {
    all.iter()
        .enumerate()
        .filter(|(i, (name, _))| {
            let name = legacy_name(name, false);
            let mut before = all[..*i].iter();
            !before.any(|(other, _)| legacy_name(other, false) == name)
        })
        .map(|(_, (name, value))| (&**name, &**value))
}
