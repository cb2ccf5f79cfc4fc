//! Writes everything that an exposition contains as delimited protobuf.
//!
//! The messages are those of Prometheus' `client_model`: each is an
//! `io.prometheus.client.MetricFamily` behind its length.

mod encoded_series;
mod field;
mod recorded;

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::proto::MetricType;

pub(super) use self::encoded_series::EncodedSeries;

use self::recorded::RecordedFamilies;
use super::Format;
use super::contents::Contents;
use super::family::{Family, legacy_name};
use super::others::distinct;
use super::output::Output;
use super::wire::{Field, double, embedded, length, number, number_and_double, text, varint};
use crate::prometheus::family::Kind;
use crate::prometheus::other::{OtherExemplar, OtherMetric, OtherValue};

/// Writes the contents as delimited messages.
///
/// Names that clash in the text formats do not clash here, because the samples
/// of a histogram or summary have no names.
pub(super) fn write_protobuf(
    out: &mut Output,
    contents: &Contents<'_>,
    series: &mut EncodedSeries,
) {
    let (families, sources) = contents.families(Format::Text);
    let mut recorded = RecordedFamilies::new(contents, series);
    for (family, source) in families.iter().zip(&sources) {
        out.begin_message();
        write_family(out.block(), family);
        if let Some(kind) = source.recorded {
            recorded.write(out, kind);
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

#[inline]
fn write_bucket(out: &mut Vec<u8>, bound: f64, cumulative: u64) {
    number_and_double(
        out,
        field::HISTOGRAM_BUCKET,
        (field::BUCKET_COUNT, cumulative),
        (field::BUCKET_BOUND, bound),
    );
}

/// Writes a bucket whose exemplar is a message already, or empty if there is none.
fn write_bucket_with_exemplar(out: &mut Vec<u8>, bound: f64, cumulative: u64, exemplar: &[u8]) {
    if exemplar.is_empty() {
        return write_bucket(out, bound, cumulative);
    }
    let exemplar_length = 1 + length(exemplar.len() as u64) + exemplar.len();
    // Two tags, the count and the bound.
    let bucket = 2 + length(cumulative) + 8;
    embedded(out, field::HISTOGRAM_BUCKET, bucket + exemplar_length);
    number(out, field::BUCKET_COUNT, cumulative);
    double(out, field::BUCKET_BOUND, bound);
    embedded(out, field::BUCKET_EXEMPLAR, exemplar.len());
    out.extend_from_slice(exemplar);
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
                    optional_timestamp(out, field::COUNTER_CREATED, metric.created);
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
                let (bound, count) = (bucket.upper_bound, bucket.cumulative_count);
                write_bucket_with_exemplar(out, bound, count, &exemplar);
            }
            optional_timestamp(out, field::HISTOGRAM_CREATED, metric.created);
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
            optional_timestamp(out, field::SUMMARY_CREATED, metric.created);
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
    optional_timestamp(&mut out, field::EXEMPLAR_TIMESTAMP, exemplar.at);
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

/// Writes the field of a `google.protobuf.Timestamp`, if the time is known.
fn optional_timestamp(out: &mut Vec<u8>, field: Field, time: Option<SystemTime>) {
    if let Some(time) = time {
        out.push(field.delimited_tag());
        timestamp(out, time);
    }
}

/// Writes a `google.protobuf.Timestamp` behind its length.
fn timestamp(out: &mut Vec<u8>, time: SystemTime) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (seconds, nanos) = (since.as_secs(), u64::from(since.subsec_nanos()));
    varint(out, (2 + length(seconds) + length(nanos)) as u64);
    number(out, field::SECONDS, seconds);
    number(out, field::NANOS, nanos);
}
