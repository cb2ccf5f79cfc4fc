//! Writes the recorder's families from their cells.

use super::number::{integer, seconds};
use super::output::Output;
use crate::prometheus::exemplars::Exemplar;
use crate::prometheus::family::{Kind, Number, Value};
use crate::prometheus::snapshot::{Histogram, Snapshot, View};

/// Writes the samples of a family with this name. `added_labels` are those of
/// the registry, each followed by a comma.
pub(super) fn write_samples(
    out: &mut Output,
    name: &str,
    kind: Kind,
    snapshot: &Snapshot,
    added_labels: &str,
    with_exemplars: bool,
) {
    let added = added_labels.as_bytes();
    let mut line = Vec::new();
    kind.for_each_metric(snapshot, |metric| {
        let labels = metric.labels.text();
        let block = out.block();
        match &metric.value {
            Value::Gauge(value) => write_number(block, name, added, labels, *value),
            Value::Counter(value) => {
                write_number(block, name, added, labels, Number::Integer(*value));
            }
            Value::Histogram(histogram) => {
                let view = metric.labels.view();
                let exemplars = view.filter(|view| with_exemplars && view.has_exemplars);
                write_histogram(block, &mut line, name, labels, histogram, added, exemplars);
            }
        }
        out.written();
    });
}

fn write_number(out: &mut Vec<u8>, name: &str, added: &[u8], labels: &str, value: Number) {
    let series = [name.as_bytes(), b"{", added, labels.as_bytes(), b"} "];
    append(out, &series);
    number(out, value);
    out.push(b'\n');
}

fn number(out: &mut Vec<u8>, value: Number) {
    match value {
        Number::Integer(n) => integer(out, n),
        Number::Nanoseconds(n) => seconds(out, n),
    }
}

/// Writes one series of a histogram. `line` is scratch space for the part that
/// all of its bucket lines have in common.
fn write_histogram(
    out: &mut Vec<u8>,
    line: &mut Vec<u8>,
    name: &str,
    labels: &str,
    histogram: &Histogram<'_>,
    added: &[u8],
    exemplars: Option<&View<'_>>,
) {
    let name = name.as_bytes();
    let labels = labels.as_bytes();
    line.clear();
    append(line, &[name, b"_bucket{", added, labels, b",le=\""]);

    let mut cumulative = 0;
    for (bucket, (le, in_bucket)) in histogram.le.iter().zip(histogram.buckets).enumerate() {
        cumulative += in_bucket;
        append(out, &[line, le.as_bytes(), b"\"} "]);
        integer(out, cumulative);
        if let Some(view) = exemplars
            && *in_bucket > 0
            && let Some(exemplar) = view.exemplar(bucket)
        {
            write_exemplar(out, &exemplar);
        }
        out.push(b'\n');
    }
    if histogram.buckets.is_empty() {
        append(out, &[line, b"+Inf\"} "]);
        integer(out, histogram.count);
        out.push(b'\n');
    }
    append(out, &[name, b"_sum{", added, labels, b"} "]);
    number(out, histogram.sum);
    append(out, &[b"\n", name, b"_count{", added, labels, b"} "]);
    integer(out, histogram.count);
    out.push(b'\n');
}

fn write_exemplar(out: &mut Vec<u8>, exemplar: &Exemplar) {
    let at = exemplar
        .at
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    let trace_id = exemplar.trace_id.to_string();
    append(out, &[b" # {trace_id=\"", trace_id.as_bytes(), b"\"} "]);
    seconds(out, exemplar.nanoseconds);
    out.push(b' ');
    // Prometheus stores timestamps in milliseconds.
    seconds(out, at.as_millis() as u64 * 1_000_000);
}

#[inline]
fn append(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}
