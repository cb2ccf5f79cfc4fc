//! Parser of the OpenMetrics text that `prometheus-client` writes.
//!
//! Its encoders cannot be replaced, and its protobuf messages require a protobuf
//! compiler at build time, so the text is the way to its families.

use std::borrow::Cow;
use std::time::{Duration, UNIX_EPOCH};

use prometheus::proto::MetricType;

use crate::prometheus::other::{OtherBucket, OtherExemplar, OtherFamily, OtherMetric, OtherValue};

type Family = OtherFamily<'static>;
type Labels = Vec<(Cow<'static, str>, Cow<'static, str>)>;

/// Returns the families of an exposition. Lines that cannot be parsed are ignored:
/// `prometheus-client` does not escape line breaks in help texts.
pub(super) fn parse(text: &str) -> Vec<Family> {
    let mut families = Vec::new();
    let mut current = Header::default();
    let mut open: Option<Family> = None;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap_or((rest, ""));
            // `HELP` is the first line of a family.
            families.extend(open.take());
            current = Header {
                name: name.to_owned(),
                help: help.to_owned(),
            };
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            families.extend(open.take());
            if let Some((name, kind)) = rest.split_once(' ') {
                open = Some(current.family(name, kind));
            }
        } else if let Some(rest) = line.strip_prefix("# UNIT ") {
            if let (Some(family), Some((_, unit))) = (&mut open, rest.split_once(' ')) {
                family.unit = Some(unit.to_owned().into());
            }
        } else if let (Some(family), Some(sample)) = (&mut open, Sample::parse(line)) {
            add(family, sample);
        }
    }
    families.extend(open);
    families
}

#[derive(Default)]
struct Header {
    name: String,
    help: String,
}

impl Header {
    fn family(&mut self, name: &str, kind: &str) -> Family {
        let info = kind == "info";
        let (kind, suffix) = match kind {
            "counter" => (MetricType::COUNTER, "_total"),
            "gauge" => (MetricType::GAUGE, ""),
            "histogram" => (MetricType::HISTOGRAM, ""),
            "info" => (MetricType::GAUGE, "_info"),
            _ => (MetricType::UNTYPED, ""),
        };
        let help = if self.name == name {
            std::mem::take(&mut self.help)
        } else {
            String::new()
        };
        Family {
            name: format!("{name}{suffix}").into(),
            help: help.into(),
            unit: None,
            kind,
            info,
            metrics: Vec::new(),
        }
    }
}

struct Sample<'a> {
    name: &'a str,
    /// Sorted by name.
    labels: Labels,
    value: &'a str,
    exemplar: Option<OtherExemplar<'static>>,
}

impl<'a> Sample<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let end = line.find(['{', ' '])?;
        let (name, rest) = line.split_at(end);
        let (mut labels, rest) = labels(rest)?;
        labels.sort();
        labels.dedup_by(|later, first| later.0 == first.0);
        let rest = rest.strip_prefix(' ')?;
        let (value, exemplar) = match rest.split_once(" # ") {
            Some((value, exemplar)) => (value, self::exemplar(exemplar)),
            None => (rest, None),
        };
        Some(Self {
            name,
            labels,
            // Without a timestamp.
            value: value.split(' ').next()?,
            exemplar,
        })
    }
}

fn exemplar(text: &str) -> Option<OtherExemplar<'static>> {
    let (labels, rest) = labels(text)?;
    let mut numbers = rest.trim_start().split(' ').map(str::parse);
    let value = numbers.next()?.ok()?;
    let seconds = numbers.next().and_then(Result::ok);
    let since_epoch = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Some(OtherExemplar {
        labels,
        value,
        at: since_epoch.and_then(|duration| UNIX_EPOCH.checked_add(duration)),
    })
}

/// Parses labels in braces, if there are any, and returns them with the rest.
fn labels(text: &str) -> Option<(Labels, &str)> {
    let mut labels = Labels::new();
    let Some(mut rest) = text.strip_prefix('{') else {
        return Some((labels, text));
    };
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        labels.push((name.to_owned().into(), value.into()));
        rest = after.strip_prefix(',').unwrap_or(after);
    }
}

/// Splits an escaped value from the text after its closing quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Some((value, &text[i + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                c => value.push(c),
            },
            c => value.push(c),
        }
    }
    None
}

fn add(family: &mut Family, sample: Sample<'_>) {
    if family.kind == MetricType::HISTOGRAM {
        add_to_histogram(family, sample);
    } else if let Ok(value) = sample.value.parse()
        && sample.name == family.name
    {
        let exemplar = sample.exemplar;
        family.metrics.push(OtherMetric {
            labels: sample.labels,
            value: OtherValue::Number { value, exemplar },
            timestamp_ms: None,
            created: None,
        });
    }
}

fn add_to_histogram(family: &mut Family, mut sample: Sample<'_>) {
    let suffix = sample.name.strip_prefix(&*family.name).unwrap_or_default();
    let le = match suffix {
        "_bucket" => {
            let at = sample.labels.iter().position(|(name, _)| name == "le");
            at.map(|at| sample.labels.remove(at).1)
        }
        _ => None,
    };
    // The samples of a series follow one another.
    let same = |last: &OtherMetric<'_>| last.labels == sample.labels;
    if !family.metrics.last().is_some_and(same) {
        family.metrics.push(OtherMetric {
            labels: sample.labels,
            value: OtherValue::Histogram {
                buckets: Vec::new(),
                count: 0,
                sum: 0.0,
            },
            timestamp_ms: None,
            created: None,
        });
    }
    let Some(OtherValue::Histogram {
        buckets,
        count,
        sum,
    }) = family.metrics.last_mut().map(|metric| &mut metric.value)
    else {
        return;
    };
    match (suffix, le) {
        ("_sum", _) => *sum = sample.value.parse().unwrap_or(f64::NAN),
        ("_count", _) => *count = sample.value.parse().unwrap_or_default(),
        ("_bucket", Some(le)) => {
            // `+Inf` parses as infinity.
            if let (Ok(upper_bound), Ok(cumulative_count)) = (le.parse(), sample.value.parse()) {
                buckets.push(OtherBucket {
                    upper_bound,
                    cumulative_count,
                    exemplar: sample.exemplar,
                });
            }
        }
        _ => {}
    }
}
