//! Writes the recorder's families from their cells.

use super::number::{integer, seconds};
use super::output::Output;
use crate::prometheus::cells::Exemplar;
use crate::prometheus::collector::Kind;
use crate::prometheus::snapshot::{Snapshot, View};

/// Writes the samples of a family with this name. `added_labels` are those of
/// the registry, each followed by a comma.
pub(super) fn write_samples(
    out: &mut Output,
    name: &str,
    kind: Kind,
    snapshot: &Snapshot,
    added_labels: &str,
    exemplars: bool,
) {
    let added = added_labels.as_bytes();
    match kind {
        Kind::InFlight => {
            for (endpoint, in_flight) in snapshot.endpoints() {
                write_integer(out.block(), name, added, &endpoint.labels, in_flight);
                out.written();
            }
        }
        Kind::Requests => {
            for view in snapshot.series() {
                write_integer(out.block(), name, added, &view.series.labels, view.count());
                out.written();
            }
        }
        kind => {
            let mut line = Vec::new();
            for view in snapshot.series() {
                write_histogram(out.block(), &mut line, name, &view, kind, added, exemplars);
                out.written();
            }
        }
    }
}

fn write_integer(out: &mut Vec<u8>, name: &str, added: &[u8], labels: &str, value: u64) {
    let series = [name.as_bytes(), b"{", added, labels.as_bytes(), b"} "];
    append(out, &series);
    integer(out, value);
    out.push(b'\n');
}

/// Writes one series of a histogram. `line` is scratch space for the part that
/// all of its bucket lines have in common.
fn write_histogram(
    out: &mut Vec<u8>,
    line: &mut Vec<u8>,
    name: &str,
    view: &View<'_>,
    kind: Kind,
    added: &[u8],
    exemplars: bool,
) {
    let Some((histogram, unit)) = kind.histogram(view) else {
        return;
    };
    let name = name.as_bytes();
    let labels = view.series.labels.as_bytes();
    line.clear();
    append(line, &[name, b"_bucket{", added, labels, b",le=\""]);

    let mut cumulative = 0;
    for (bucket, (le, in_bucket)) in histogram.le.iter().zip(histogram.buckets).enumerate() {
        cumulative += in_bucket;
        append(out, &[line, le.as_bytes(), b"\"} "]);
        integer(out, cumulative);
        if exemplars
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
    if unit == 1.0 {
        integer(out, histogram.sum);
    } else {
        seconds(out, histogram.sum);
    }
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
