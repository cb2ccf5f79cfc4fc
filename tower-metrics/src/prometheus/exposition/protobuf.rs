//! Writes everything that an exposition contains as delimited protobuf.
//!
//! The messages are those of Prometheus' `client_model`: each is an
//! `io.prometheus.client.MetricFamily` behind its length.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::proto::MetricType;

use super::Format;
use super::contents::Contents;
use super::family::{Family, legacy_name};
use super::others::distinct;
use super::output::Output;
use super::wire::{Field, double, embedded, length, number, number_and_double, text, zigzag};
use crate::prometheus::exemplars::Exemplar;
use crate::prometheus::family::{Kind, Labels, Metric, Number, Value};
use crate::prometheus::native::{NativeBuckets, ZERO_THRESHOLD};
use crate::prometheus::other::{OtherExemplar, OtherMetric, OtherValue};
use crate::prometheus::snapshot::{Histogram, View};

/// Field numbers of the messages.
mod field {
    use super::Field;

    pub(super) const FAMILY_NAME: Field = Field(1);
    pub(super) const FAMILY_HELP: Field = Field(2);
    pub(super) const FAMILY_TYPE: Field = Field(3);
    pub(super) const FAMILY_METRIC: Field = Field(4);
    pub(super) const FAMILY_UNIT: Field = Field(5);

    pub(super) const METRIC_LABEL: Field = Field(1);
    pub(super) const METRIC_GAUGE: Field = Field(2);
    pub(super) const METRIC_COUNTER: Field = Field(3);
    pub(super) const METRIC_SUMMARY: Field = Field(4);
    pub(super) const METRIC_UNTYPED: Field = Field(5);
    pub(super) const METRIC_TIMESTAMP_MS: Field = Field(6);
    pub(super) const METRIC_HISTOGRAM: Field = Field(7);

    pub(super) const LABEL_NAME: Field = Field(1);
    pub(super) const LABEL_VALUE: Field = Field(2);

    /// Of a gauge, a counter, or an untyped value.
    pub(super) const VALUE: Field = Field(1);
    pub(super) const COUNTER_EXEMPLAR: Field = Field(2);
    pub(super) const COUNTER_CREATED: Field = Field(3);

    /// Of a histogram or a summary.
    pub(super) const SAMPLE_COUNT: Field = Field(1);
    pub(super) const SAMPLE_SUM: Field = Field(2);
    pub(super) const HISTOGRAM_BUCKET: Field = Field(3);
    pub(super) const SCHEMA: Field = Field(5);
    pub(super) const ZERO_THRESHOLD: Field = Field(6);
    pub(super) const ZERO_COUNT: Field = Field(7);
    pub(super) const POSITIVE_SPAN: Field = Field(12);
    pub(super) const POSITIVE_DELTA: Field = Field(13);
    pub(super) const HISTOGRAM_CREATED: Field = Field(15);
    pub(super) const SUMMARY_QUANTILE: Field = Field(3);
    pub(super) const SUMMARY_CREATED: Field = Field(4);

    pub(super) const BUCKET_COUNT: Field = Field(1);
    pub(super) const BUCKET_BOUND: Field = Field(2);
    pub(super) const BUCKET_EXEMPLAR: Field = Field(3);

    pub(super) const SPAN_OFFSET: Field = Field(1);
    pub(super) const SPAN_LENGTH: Field = Field(2);

    pub(super) const QUANTILE: Field = Field(1);
    pub(super) const QUANTILE_VALUE: Field = Field(2);

    pub(super) const EXEMPLAR_LABEL: Field = Field(1);
    pub(super) const EXEMPLAR_VALUE: Field = Field(2);
    pub(super) const EXEMPLAR_TIMESTAMP: Field = Field(3);

    pub(super) const SECONDS: Field = Field(1);
    pub(super) const NANOS: Field = Field(2);
}

/// Writes the contents as delimited messages.
///
/// Names that clash in the text formats do not clash here, because the samples
/// of a histogram or summary have no names.
pub(super) fn write_protobuf(out: &mut Output, contents: &Contents<'_>) {
    let (families, sources) = contents.families(Format::Text);
    let labels = RecordedLabels::new(contents);
    for (family, source) in families.iter().zip(&sources) {
        out.begin_message();
        write_family(out.block(), family);
        if let Some(kind) = source.recorded {
            write_recorded(out, contents, kind, &labels);
            // Prometheus reads all histograms of a message as native ones if the
            // first one is.
            if source.other.is_some() && kind == Kind::Duration && contents.has_native() {
                out.end_message();
                out.begin_message();
                write_family(out.block(), family);
            }
        }
        for metric in source.other.iter().flat_map(|other| &other.metrics) {
            write_other(out.block(), family.kind, metric);
            out.written();
        }
        out.end_message();
    }
}

/// Writes the fields of a family other than its metrics.
fn write_family(out: &mut Vec<u8>, family: &Family<'_>) {
    text(out, field::FAMILY_NAME, &family.name);
    if !family.help.is_empty() {
        text(out, field::FAMILY_HELP, family.help);
    }
    let kind = match family.kind {
        MetricType::COUNTER => 0,
        MetricType::GAUGE => 1,
        MetricType::SUMMARY => 2,
        MetricType::HISTOGRAM => 4,
        _ => 3,
    };
    number(out, field::FAMILY_TYPE, kind);
    if let Some(unit) = family.unit() {
        text(out, field::FAMILY_UNIT, unit);
    }
}

/// Labels of the recorder's series, which all of its histograms share, as fields of
/// a metric.
struct RecordedLabels {
    /// Those that the registry adds.
    added: Vec<u8>,
    /// Those of every series of the snapshot.
    bytes: Vec<u8>,
    /// End of the labels of each series.
    ends: Vec<usize>,
}

impl RecordedLabels {
    fn new(contents: &Contents<'_>) -> Self {
        let mut added = Vec::new();
        for (name, value) in contents.added_labels() {
            label(&mut added, field::METRIC_LABEL, name, value);
        }
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for view in contents.snapshot.series() {
            write_labels(&mut bytes, &Labels::Series(view), &added);
            ends.push(bytes.len());
        }
        Self { added, bytes, ends }
    }

    /// Returns the labels of a metric. `scratch` is space for those of an endpoint.
    fn of<'a>(&'a self, metric: &Metric<'_>, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        let Some(view) = metric.labels.view() else {
            scratch.clear();
            write_labels(scratch, &metric.labels, &self.added);
            return scratch;
        };
        let begin = view
            .index
            .checked_sub(1)
            .map_or(0, |before| self.ends[before]);
        &self.bytes[begin..self.ends[view.index]]
    }
}

fn write_labels(out: &mut Vec<u8>, labels: &Labels<'_>, added: &[u8]) {
    labels.for_each(|name, value| {
        // Prometheus does not distinguish an empty label from an absent one.
        if !value.is_empty() {
            label(out, field::METRIC_LABEL, name, value);
        }
    });
    out.extend_from_slice(added);
}

/// Writes the recorder's metrics of this kind.
fn write_recorded(out: &mut Output, contents: &Contents<'_>, kind: Kind, labels: &RecordedLabels) {
    let mut scratch = Vec::new();
    let mut value = Vec::new();
    let mut native = Vec::new();
    let exemplars = kind == Kind::Duration;
    kind.for_each_metric(contents.snapshot, |metric| {
        let labels = labels.of(metric, &mut scratch);
        value.clear();
        let field = write_value(&mut value, &mut native, metric, exemplars);
        write_metric(out.block(), labels, field, &value, None);
        out.written();
    });
}

/// Writes the message of a metric's value and returns its field. `native` is
/// scratch space.
fn write_value(
    out: &mut Vec<u8>,
    native: &mut Vec<(i32, u64)>,
    metric: &Metric<'_>,
    exemplars: bool,
) -> Field {
    let view = metric.labels.view();
    let created = view.map(|view| view.series.created);
    match &metric.value {
        Value::Gauge(value) => {
            double(out, field::VALUE, value.as_f64());
            field::METRIC_GAUGE
        }
        Value::Counter(value) => {
            double(out, field::VALUE, *value as f64);
            timestamp(out, field::COUNTER_CREATED, created);
            field::METRIC_COUNTER
        }
        Value::Histogram(histogram) => {
            write_histogram(out, histogram, view.filter(|_| exemplars));
            if let Some(buckets) = &histogram.native {
                write_native(out, native, buckets);
            }
            timestamp(out, field::HISTOGRAM_CREATED, created);
            field::METRIC_HISTOGRAM
        }
    }
}

fn write_histogram(out: &mut Vec<u8>, histogram: &Histogram<'_>, exemplars: Option<&View<'_>>) {
    number(out, field::SAMPLE_COUNT, histogram.count);
    double(out, field::SAMPLE_SUM, histogram.sum.as_f64());
    let mut cumulative = 0;
    let mut exemplar = Vec::new();
    let infinite = std::iter::once(&f64::INFINITY);
    let bounds = histogram.bounds.iter().chain(infinite);
    for (bucket, (in_bucket, bound)) in histogram.buckets.iter().zip(bounds).enumerate() {
        cumulative += in_bucket;
        exemplar.clear();
        if let Some(view) = exemplars
            && *in_bucket > 0
            && let Some(latest) = view.exemplar(bucket)
        {
            write_exemplar(&mut exemplar, &latest);
        }
        // The bucket `+Inf` follows from the count.
        if bound.is_finite() || !exemplar.is_empty() {
            write_bucket(out, *bound, cumulative, &exemplar);
        }
    }
}

/// Writes the native buckets of a histogram. `buckets` is scratch space.
fn write_native(out: &mut Vec<u8>, buckets: &mut Vec<(i32, u64)>, native: &NativeBuckets<'_>) {
    let schema = native.reduced(buckets);
    number(out, field::SCHEMA, zigzag(i64::from(schema)));
    double(out, field::ZERO_THRESHOLD, ZERO_THRESHOLD);
    number(out, field::ZERO_COUNT, native.zero_count);
    // The bucket after the last span.
    let mut next = 0;
    for span in buckets.chunk_by(|a, b| b.0 - a.0 <= MAX_GAP + 1) {
        let (first, last) = (span[0].0, span[span.len() - 1].0);
        let offset = zigzag(i64::from(first - next));
        next = last + 1;
        let span = (next - first) as u64;
        embedded(out, field::POSITIVE_SPAN, 2 + length(offset) + length(span));
        number(out, field::SPAN_OFFSET, offset);
        number(out, field::SPAN_LENGTH, span);
    }
    let mut previous = 0;
    let mut delta = |out: &mut Vec<u8>, count: u64| {
        let delta = (count as i64).wrapping_sub(previous);
        number(out, field::POSITIVE_DELTA, zigzag(delta));
        previous = count as i64;
    };
    for span in buckets.chunk_by(|a, b| b.0 - a.0 <= MAX_GAP + 1) {
        let mut next = span[0].0;
        for (bucket, count) in span {
            for _ in next..*bucket {
                delta(out, 0);
            }
            delta(out, *count);
            next = bucket + 1;
        }
    }
}

/// Highest number of empty buckets within a span. More of them take more bytes
/// than another span.
const MAX_GAP: i32 = 2;

#[inline]
fn write_bucket(out: &mut Vec<u8>, bound: f64, cumulative: u64, exemplar: &[u8]) {
    let exemplar_length = match exemplar {
        [] => 0,
        exemplar => 1 + length(exemplar.len() as u64) + exemplar.len(),
    };
    // Two tags, the count and the bound.
    let bucket = 2 + length(cumulative) + 8;
    embedded(out, field::HISTOGRAM_BUCKET, bucket + exemplar_length);
    number_and_double(
        out,
        field::BUCKET_COUNT,
        cumulative,
        field::BUCKET_BOUND,
        bound,
    );
    if !exemplar.is_empty() {
        embedded(out, field::BUCKET_EXEMPLAR, exemplar.len());
        out.extend_from_slice(exemplar);
    }
}

fn write_exemplar(out: &mut Vec<u8>, exemplar: &Exemplar) {
    let trace_id = exemplar.trace_id.to_string();
    label(out, field::EXEMPLAR_LABEL, "trace_id", &trace_id);
    let value = Number::Nanoseconds(exemplar.nanoseconds);
    double(out, field::EXEMPLAR_VALUE, value.as_f64());
    timestamp(out, field::EXEMPLAR_TIMESTAMP, Some(exemplar.at));
}

/// Writes a metric whose labels and value are messages already.
fn write_metric(
    out: &mut Vec<u8>,
    labels: &[u8],
    field: Field,
    value: &[u8],
    timestamp_ms: Option<i64>,
) {
    let timestamp_ms = timestamp_ms.map(|ms| ms as u64);
    let time = timestamp_ms.map_or(0, |ms| 1 + length(ms));
    let value_length = 1 + length(value.len() as u64) + value.len();
    embedded(
        out,
        field::FAMILY_METRIC,
        labels.len() + value_length + time,
    );
    out.extend_from_slice(labels);
    embedded(out, field, value.len());
    out.extend_from_slice(value);
    if let Some(ms) = timestamp_ms {
        number(out, field::METRIC_TIMESTAMP_MS, ms);
    }
}

/// Writes a metric of another source.
fn write_other(out: &mut Vec<u8>, kind: MetricType, metric: &OtherMetric<'_>) {
    let mut labels = Vec::new();
    for (name, value) in distinct(&metric.labels) {
        label(
            &mut labels,
            field::METRIC_LABEL,
            &legacy_name(name, false),
            value,
        );
    }
    let mut value = Vec::new();
    let field = write_other_value(&mut value, kind, metric);
    write_metric(out, &labels, field, &value, metric.timestamp_ms);
}

fn write_other_value(out: &mut Vec<u8>, kind: MetricType, metric: &OtherMetric<'_>) -> Field {
    match &metric.value {
        OtherValue::Number { value, exemplar } => {
            double(out, field::VALUE, *value);
            match kind {
                MetricType::COUNTER => {
                    if let Some(exemplar) = exemplar {
                        let exemplar = other_exemplar(exemplar);
                        embedded(out, field::COUNTER_EXEMPLAR, exemplar.len());
                        out.extend_from_slice(&exemplar);
                    }
                    timestamp(out, field::COUNTER_CREATED, metric.created);
                    field::METRIC_COUNTER
                }
                MetricType::GAUGE => field::METRIC_GAUGE,
                _ => field::METRIC_UNTYPED,
            }
        }
        OtherValue::Histogram {
            buckets,
            count,
            sum,
        } => {
            number(out, field::SAMPLE_COUNT, *count);
            double(out, field::SAMPLE_SUM, *sum);
            for bucket in buckets {
                let exemplar = bucket.exemplar.as_ref().map(other_exemplar);
                let exemplar = exemplar.unwrap_or_default();
                write_bucket(out, bucket.upper_bound, bucket.cumulative_count, &exemplar);
            }
            timestamp(out, field::HISTOGRAM_CREATED, metric.created);
            field::METRIC_HISTOGRAM
        }
        OtherValue::Summary {
            quantiles,
            count,
            sum,
        } => {
            number(out, field::SAMPLE_COUNT, *count);
            double(out, field::SAMPLE_SUM, *sum);
            for (quantile, value) in quantiles {
                // Two tags and two numbers.
                embedded(out, field::SUMMARY_QUANTILE, 18);
                double(out, field::QUANTILE, *quantile);
                double(out, field::QUANTILE_VALUE, *value);
            }
            timestamp(out, field::SUMMARY_CREATED, metric.created);
            field::METRIC_SUMMARY
        }
    }
}

fn other_exemplar(exemplar: &OtherExemplar<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in distinct(&exemplar.labels) {
        label(
            &mut out,
            field::EXEMPLAR_LABEL,
            &legacy_name(name, false),
            value,
        );
    }
    double(&mut out, field::EXEMPLAR_VALUE, exemplar.value);
    timestamp(&mut out, field::EXEMPLAR_TIMESTAMP, exemplar.at);
    out
}

/// Writes a `LabelPair`.
#[inline]
fn label(out: &mut Vec<u8>, field: Field, name: &str, value: &str) {
    let size = |text: &str| 1 + length(text.len() as u64) + text.len();
    embedded(out, field, size(name) + size(value));
    text(out, field::LABEL_NAME, name);
    text(out, field::LABEL_VALUE, value);
}

/// Writes a `google.protobuf.Timestamp`, if the time is known.
fn timestamp(out: &mut Vec<u8>, field: Field, time: Option<SystemTime>) {
    let Some(time) = time else {
        return;
    };
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, nanos) = (since.as_secs(), u64::from(since.subsec_nanos()));
    embedded(out, field, 2 + length(seconds) + length(nanos));
    number(out, field::SECONDS, seconds);
    number(out, field::NANOS, nanos);
}
