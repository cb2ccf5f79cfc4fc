//! Writes the recorder's families from their cells.

use super::encoded_series::{EncodedSeries, write_label};
use super::{field, label, timestamp, write_bucket, write_bucket_with_exemplar};
use crate::prometheus::exemplars::Exemplar;
use crate::prometheus::exposition::contents::Contents;
use crate::prometheus::exposition::output::Output;
use crate::prometheus::exposition::wire::{
    Field, delimited, double, embedded, length, number, zigzag,
};
use crate::prometheus::family::{Kind, Labels, Metric, Number, Value};
use crate::prometheus::native::{NativeBuckets, ZERO_THRESHOLD};
use crate::prometheus::snapshot::{Histogram, View};

/// Writer of the recorder's families of one scrape.
pub(super) struct RecordedFamilies<'a> {
    contents: &'a Contents<'a>,
    series: &'a EncodedSeries,
    /// Labels that the registry adds.
    added: Vec<u8>,
    scratch: Scratch,
}

/// Buffers reused for every metric.
#[derive(Default)]
struct Scratch {
    labels: Vec<u8>,
    value: Vec<u8>,
    native: Vec<(i32, u64)>,
}

impl<'a> RecordedFamilies<'a> {
    pub(super) fn new(contents: &'a Contents<'a>, series: &'a mut EncodedSeries) -> Self {
        let mut added = Vec::new();
        for (name, value) in contents.added_labels() {
            label(&mut added, field::METRIC_LABEL, name, value);
        }
        series.update(contents.snapshot, &added);
        Self {
            contents,
            series,
            added,
            scratch: Scratch::default(),
        }
    }

    /// Writes the metrics of this kind.
    pub(super) fn write(&mut self, out: &mut Output, kind: Kind) {
        let Self {
            contents,
            series,
            added,
            scratch,
        } = self;
        let exemplars = kind == Kind::Duration;
        kind.for_each_metric(contents.snapshot, |metric| {
            let (labels, created) = match &metric.labels {
                Labels::Series(view) => series.get(view.index),
                labels => {
                    scratch.labels.clear();
                    labels.for_each(|name, value| write_label(&mut scratch.labels, name, value));
                    scratch.labels.extend_from_slice(added);
                    (&*scratch.labels, &[][..])
                }
            };
            let value = &mut scratch.value;
            value.clear();
            let field = write_value(value, &mut scratch.native, metric, exemplars);
            write_metric(out.block(), labels, field, value, created);
            out.written();
        });
    }
}

/// Writes a metric. `value` is the encoded message without its creation time.
fn write_metric(out: &mut Vec<u8>, labels: &[u8], field: Field, value: &[u8], created: &[u8]) {
    let created_field = match field {
        field::METRIC_COUNTER => Some(field::COUNTER_CREATED),
        field::METRIC_HISTOGRAM => Some(field::HISTOGRAM_CREATED),
        _ => None,
    };
    let value_length = value.len() + created_field.map_or(0, |_| 1 + created.len());
    let metric_length = labels.len() + 1 + length(value_length as u64) + value_length;
    embedded(out, field::FAMILY_METRIC, metric_length);
    out.extend_from_slice(labels);
    embedded(out, field, value_length);
    out.extend_from_slice(value);
    if let Some(field) = created_field {
        delimited(out, field, created);
    }
}

/// Writes the message of a metric's value without the time of its creation, and returns
/// its field. `native` is scratch space.
fn write_value(
    out: &mut Vec<u8>,
    native: &mut Vec<(i32, u64)>,
    metric: &Metric<'_>,
    exemplars: bool,
) -> Field {
    match &metric.value {
        Value::Gauge(value) => {
            double(out, field::VALUE, value.as_f64());
            field::METRIC_GAUGE
        }
        Value::Counter(value) => {
            double(out, field::VALUE, *value as f64);
            field::METRIC_COUNTER
        }
        Value::Histogram(histogram) => {
            number(out, field::SAMPLE_COUNT, histogram.count);
            double(out, field::SAMPLE_SUM, histogram.sum.as_f64());
            let view = metric.labels.view();
            match view.filter(|view| exemplars && view.has_exemplars) {
                None => write_buckets(out, histogram),
                Some(view) => write_buckets_with_exemplars(out, histogram, view),
            }
            if let Some(buckets) = &histogram.native {
                write_native(out, native, buckets);
            }
            field::METRIC_HISTOGRAM
        }
    }
}

/// Writes the finite buckets. The bucket `+Inf` follows from the count.
fn write_buckets(out: &mut Vec<u8>, histogram: &Histogram<'_>) {
    let mut cumulative = 0;
    for (bound, in_bucket) in histogram.bounds.iter().zip(histogram.buckets) {
        cumulative += in_bucket;
        write_bucket(out, *bound, cumulative);
    }
}

fn write_buckets_with_exemplars(out: &mut Vec<u8>, histogram: &Histogram<'_>, view: &View<'_>) {
    let mut cumulative = 0;
    let mut exemplar = Vec::new();
    let infinite = std::iter::once(&f64::INFINITY);
    let bounds = histogram.bounds.iter().chain(infinite);
    for (bucket, (in_bucket, bound)) in histogram.buckets.iter().zip(bounds).enumerate() {
        cumulative += in_bucket;
        exemplar.clear();
        if *in_bucket > 0
            && let Some(latest) = view.exemplar(bucket)
        {
            write_exemplar(&mut exemplar, &latest);
        }
        if bound.is_finite() || !exemplar.is_empty() {
            write_bucket_with_exemplar(out, *bound, cumulative, &exemplar);
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

fn write_exemplar(out: &mut Vec<u8>, exemplar: &Exemplar) {
    let trace_id = exemplar.trace_id.to_string();
    label(out, field::EXEMPLAR_LABEL, "trace_id", &trace_id);
    let value = Number::Nanoseconds(exemplar.nanoseconds);
    double(out, field::EXEMPLAR_VALUE, value.as_f64());
    out.push(field::EXEMPLAR_TIMESTAMP.delimited_tag());
    timestamp(out, exemplar.at);
}
