//! Writes families, ours and others, in the text formats.

use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::output::Output;
use super::{Format, Inner};
use crate::prometheus::bound::format_bound;
use crate::prometheus::cells::Exemplar;
use crate::prometheus::collector::{self, Family, Kind};
use crate::prometheus::series::push_label;
use crate::prometheus::snapshot::{Snapshot, View};
use crate::proto;

/// Everything in the recorder's registry.
pub(super) fn registry(
    out: &mut Output,
    inner: &'static Inner,
    snapshot: &mut Snapshot,
    format: Format,
) {
    let others = collector::gather_others(inner);
    let mut added_labels = String::new();
    for (name, value) in &inner.additions.labels {
        push_label(&mut added_labels, name, value);
    }
    if !added_labels.is_empty() {
        added_labels.push(',');
    }
    snapshot.read(&inner.endpoints());
    for family in collector::families(&inner.exposed_names, inner.time_to_head) {
        ours(out, &family, snapshot, &added_labels, format);
    }
    for family in &others {
        other(out, family, format);
    }
    if format == Format::OpenMetrics {
        out.block().extend_from_slice(b"# EOF\n");
    }
}

fn ours(
    out: &mut Output,
    family: &Family,
    snapshot: &Snapshot,
    added_labels: &str,
    format: Format,
) {
    let name = family.name;
    let kind = match family.kind {
        Kind::InFlight => MetricType::GAUGE,
        Kind::Requests => MetricType::COUNTER,
        _ => MetricType::HISTOGRAM,
    };
    let mut headed = false;
    let mut head = |out: &mut Output| {
        if !std::mem::replace(&mut headed, true) {
            header(out.block(), name, family.help, kind, format);
        }
    };
    let more = added_labels.as_bytes();
    match family.kind {
        Kind::InFlight => {
            for (endpoint, in_flight) in snapshot.endpoints() {
                head(out);
                sample(
                    out.block(),
                    &[
                        name.as_bytes(),
                        b"{",
                        more,
                        endpoint.labels.as_bytes(),
                        b"} ",
                    ],
                );
                integer(out.block(), in_flight);
                out.block().push(b'\n');
                out.written();
            }
        }
        Kind::Requests => {
            // OpenMetrics samples of a counter end in `_total`, as it does.
            for view in snapshot.series() {
                head(out);
                let labels = view.series.labels.as_bytes();
                sample(out.block(), &[name.as_bytes(), b"{", more, labels, b"} "]);
                integer(out.block(), view.count());
                out.block().push(b'\n');
                out.written();
            }
        }
        kind => {
            let exemplars = kind == Kind::Duration && format == Format::OpenMetrics;
            let mut line = Vec::new();
            for view in snapshot.series() {
                head(out);
                histogram(out.block(), &mut line, name, &view, kind, more, exemplars);
                out.written();
            }
        }
    }
}

/// One series of a histogram: the lines share their beginning, so it is put
/// together once.
fn histogram(
    out: &mut Vec<u8>,
    line: &mut Vec<u8>,
    name: &str,
    view: &View<'_>,
    kind: Kind,
    more: &[u8],
    exemplars: bool,
) {
    let Some((histogram, unit)) = kind.histogram(view) else {
        return;
    };
    let labels = view.series.labels.as_bytes();
    line.clear();
    sample(
        line,
        &[name.as_bytes(), b"_bucket{", more, labels, b",le=\""],
    );

    let mut cumulative = 0;
    for (bucket, (le, in_bucket)) in histogram.le.iter().zip(histogram.buckets).enumerate() {
        cumulative += in_bucket;
        sample(out, &[line, le.as_bytes(), b"\"} "]);
        integer(out, cumulative);
        if exemplars
            && *in_bucket > 0
            && let Some(exemplar) = view.exemplar(bucket)
        {
            self::exemplar(out, &exemplar);
        }
        out.push(b'\n');
    }
    if histogram.buckets.is_empty() {
        sample(out, &[line, b"+Inf\"} "]);
        integer(out, histogram.count);
        out.push(b'\n');
    }
    sample(out, &[name.as_bytes(), b"_sum{", more, labels, b"} "]);
    if unit == 1.0 {
        integer(out, histogram.sum)
    } else {
        seconds(out, histogram.sum)
    }
    sample(
        out,
        &[b"\n", name.as_bytes(), b"_count{", more, labels, b"} "],
    );
    integer(out, histogram.count);
    out.push(b'\n');
}

fn exemplar(out: &mut Vec<u8>, exemplar: &Exemplar) {
    let at = exemplar
        .at
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    out.extend_from_slice(b" # {trace_id=\"");
    out.extend_from_slice(exemplar.trace_id.to_string().as_bytes());
    out.extend_from_slice(b"\"} ");
    seconds(out, exemplar.nanoseconds);
    out.push(b' ');
    // Milliseconds are what Prometheus keeps.
    seconds(out, at.as_millis() as u64 * 1_000_000);
}

#[inline]
fn sample(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

fn integer(out: &mut Vec<u8>, n: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

/// Nanoseconds as seconds, exactly, without trailing zeros.
fn seconds(out: &mut Vec<u8>, nanoseconds: u64) {
    integer(out, nanoseconds / 1_000_000_000);
    let mut rest = nanoseconds % 1_000_000_000;
    if rest == 0 {
        return;
    }
    let mut digits = [b'0'; 9];
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let zeros = digits
        .iter()
        .rev()
        .take_while(|digit| **digit == b'0')
        .count();
    out.push(b'.');
    out.extend_from_slice(&digits[..9 - zeros]);
}

fn float(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else if value.fract() == 0.0 && value.abs() < 9_007_199_254_740_992.0 {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    } else {
        out.extend_from_slice(ryu::Buffer::new().format_finite(value).as_bytes());
    }
}

fn header(out: &mut Vec<u8>, name: &str, help: &str, kind: MetricType, format: Format) {
    let (name, kind) = match (kind, format) {
        (MetricType::COUNTER, Format::OpenMetrics) => match name.strip_suffix("_total") {
            Some(name) => (name, "counter"),
            // Its samples would have to change their name to be a counter's.
            None => (name, "unknown"),
        },
        (MetricType::COUNTER, _) => (name, "counter"),
        (MetricType::GAUGE, _) => (name, "gauge"),
        (MetricType::HISTOGRAM, _) => (name, "histogram"),
        (MetricType::SUMMARY, _) => (name, "summary"),
        (_, Format::OpenMetrics) => (name, "unknown"),
        _ => (name, "untyped"),
    };
    if !help.is_empty() {
        sample(out, &[b"# HELP ", name.as_bytes(), b" "]);
        for b in help.bytes() {
            match b {
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'"' if format == Format::OpenMetrics => out.extend_from_slice(b"\\\""),
                b => out.push(b),
            }
        }
        out.push(b'\n');
    }
    sample(
        out,
        &[b"# TYPE ", name.as_bytes(), b" ", kind.as_bytes(), b"\n"],
    );
    if format == Format::OpenMetrics {
        for unit in ["seconds", "bytes"] {
            if name
                .strip_suffix(unit)
                .is_some_and(|rest| rest.ends_with('_'))
            {
                sample(
                    out,
                    &[b"# UNIT ", name.as_bytes(), b" ", unit.as_bytes(), b"\n"],
                );
            }
        }
    }
}

fn other(out: &mut Output, family: &MetricFamily, format: Format) {
    let name = family.name();
    let kind = family.get_field_type();
    header(out.block(), name, family.help(), kind, format);
    for metric in family.get_metric() {
        let block = out.block();
        match kind {
            MetricType::COUNTER => {
                labelled(block, name, "", metric, None);
                float(block, proto::counter_value(metric));
            }
            MetricType::GAUGE => {
                labelled(block, name, "", metric, None);
                float(block, proto::gauge_value(metric));
            }
            MetricType::HISTOGRAM => other_histogram(block, name, metric),
            MetricType::SUMMARY => {
                let summary = metric.get_summary();
                for quantile in summary.get_quantile() {
                    labelled(
                        block,
                        name,
                        "",
                        metric,
                        Some(("quantile", quantile.quantile())),
                    );
                    float(block, quantile.value());
                    block.push(b'\n');
                }
                labelled(block, name, "_sum", metric, None);
                float(block, summary.sample_sum());
                block.push(b'\n');
                labelled(block, name, "_count", metric, None);
                integer(block, summary.sample_count());
            }
            // `prometheus` has no collector that makes one.
            _ => continue,
        }
        block.push(b'\n');
        out.written();
    }
}

fn other_histogram(out: &mut Vec<u8>, name: &str, metric: &Metric) {
    let histogram = metric.get_histogram();
    let count = histogram.get_sample_count();
    let mut line = |le, n| {
        labelled(out, name, "_bucket", metric, Some(("le", le)));
        integer(out, n);
        out.push(b'\n');
    };
    let mut infinite = false;
    for bucket in histogram.get_bucket() {
        infinite |= bucket.upper_bound() == f64::INFINITY;
        line(bucket.upper_bound(), bucket.cumulative_count());
    }
    if !infinite {
        line(f64::INFINITY, count);
    }
    labelled(out, name, "_sum", metric, None);
    float(out, histogram.get_sample_sum());
    out.push(b'\n');
    labelled(out, name, "_count", metric, None);
    integer(out, count);
}

fn labelled(
    out: &mut Vec<u8>,
    name: &str,
    suffix: &str,
    metric: &Metric,
    more: Option<(&str, f64)>,
) {
    let mut labels = String::new();
    for label in metric.get_label() {
        push_label(&mut labels, label.name(), label.value());
    }
    if let Some((name, value)) = more {
        push_label(&mut labels, name, &format_bound(value));
    }
    sample(out, &[name.as_bytes(), suffix.as_bytes()]);
    if !labels.is_empty() {
        sample(out, &[b"{", labels.as_bytes(), b"}"]);
    }
    out.push(b' ');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact() {
        for (nanoseconds, text) in [
            (0, "0"),
            (1, "0.000000001"),
            (1_500_000_000, "1.5"),
            (20_000_000_000, "20"),
            (123_456_789_012_345_678, "123456789.012345678"),
        ] {
            let mut out = Vec::new();
            seconds(&mut out, nanoseconds);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }

    #[test]
    fn floats_are_what_prometheus_reads() {
        for (value, text) in [
            (0.0, "0"),
            (3.0, "3"),
            (-2.5, "-2.5"),
            (1e300, "1e300"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ] {
            let mut out = Vec::new();
            float(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
