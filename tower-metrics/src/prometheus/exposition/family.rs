//! Assigns each family of a scrape the name and type under which it is written.

use std::borrow::Cow;
use std::collections::HashMap;

use prometheus::proto::MetricType;

use super::Format;
use crate::prometheus::other::{OtherFamily, OtherValue};

/// A family with the name and the form in which it is written.
#[derive(Debug)]
pub(super) struct Family<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) help: &'a str,
    unit: Option<&'a str>,
    pub(super) kind: MetricType,
    pub(super) form: Form,
    /// Whether OpenMetrics writes this gauge as an info.
    info: bool,
}

/// How much of a family's type the format can express.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Under its own type.
    Typed,
    /// A counter as a family of unknown type with the counter's full name.
    Unknown,
    /// Each of its sample names as a family of unknown type, together with
    /// samples of the same name from other families.
    Samples,
}

impl<'a> Family<'a> {
    pub(super) fn new(name: &'a str, help: &'a str, kind: MetricType) -> Self {
        Self {
            name: legacy_name(name, true),
            help,
            unit: None,
            kind,
            form: Form::Typed,
            info: false,
        }
    }

    /// A family of another source, whose values may be ones that OpenMetrics
    /// does not allow for its type.
    pub(super) fn other(family: &'a OtherFamily<'_>, format: Format) -> Self {
        let mut this = Self::new(&family.name, &family.help, family.kind);
        this.unit = family.unit.as_deref();
        this.info = family.info && format == Format::OpenMetrics && this.name.ends_with("_info");
        if format == Format::OpenMetrics && !has_allowed_values(family) {
            this.form = match family.kind {
                MetricType::COUNTER => Form::Unknown,
                _ => Form::Samples,
            };
        }
        this
    }

    /// Returns the unit that the name without `_total` ends in.
    pub(super) fn unit(&self) -> Option<&'a str> {
        let base = match self.kind {
            MetricType::COUNTER => self.name.strip_suffix("_total").unwrap_or(&self.name),
            _ => &self.name,
        };
        unit(base, self.unit)
    }

    /// Returns whether a request selects the family, which contains its name with or
    /// without `_total`, or the name of one of its samples.
    pub(super) fn is_named(&self, requested: impl Fn(&str) -> bool) -> bool {
        let claimed = |format| self.claims(format).any(|claimed| requested(&claimed));
        requested(&self.name) || claimed(Format::Text) || claimed(Format::OpenMetrics)
    }

    /// The family's name in the metadata of its format. OpenMetrics leaves a
    /// counter's `_total` to its samples.
    fn base(&self, format: Format) -> &str {
        match (self.kind, self.form, format) {
            (MetricType::COUNTER, Form::Typed, Format::OpenMetrics) => {
                self.name.strip_suffix("_total").unwrap_or(&self.name)
            }
            (_, Form::Typed, Format::OpenMetrics) if self.info => {
                self.name.strip_suffix("_info").unwrap_or(&self.name)
            }
            _ => &self.name,
        }
    }

    /// All names that no other family may use as its own or for its samples.
    fn claims(&self, format: Format) -> impl Iterator<Item = String> {
        let base = self.base(format).to_owned();
        let suffixes: &[&str] = match (self.kind, self.form, format) {
            (MetricType::COUNTER, Form::Typed, Format::OpenMetrics) => &["", "_total", "_created"],
            (MetricType::HISTOGRAM, _, Format::OpenMetrics) => {
                &["", "_bucket", "_count", "_sum", "_created"]
            }
            (MetricType::HISTOGRAM, _, Format::Text) => &["", "_bucket", "_count", "_sum"],
            (MetricType::SUMMARY, _, Format::OpenMetrics) => &["", "_count", "_sum", "_created"],
            (MetricType::SUMMARY, _, Format::Text) => &["", "_count", "_sum"],
            (_, Form::Typed, Format::OpenMetrics) if self.info => &["", "_info"],
            _ => &[""],
        };
        suffixes.iter().map(move |suffix| format!("{base}{suffix}"))
    }

    /// Writes the metadata lines.
    pub(super) fn write_metadata(&self, out: &mut Vec<u8>, format: Format) {
        let kind = match (self.kind, self.form) {
            (MetricType::COUNTER, Form::Typed) => "counter",
            (MetricType::GAUGE, Form::Typed) if self.info => "info",
            (MetricType::GAUGE, _) => "gauge",
            (MetricType::HISTOGRAM, _) => "histogram",
            (MetricType::SUMMARY, _) => "summary",
            _ => format.unknown_type(),
        };
        let base = self.base(format);
        write_metadata(out, base, self.help, kind, unit(base, self.unit), format);
    }
}

/// Returns the unit that a name ends in: this one, or a base unit.
fn unit<'a>(name: &str, known: Option<&'a str>) -> Option<&'a str> {
    ["seconds", "bytes"].into_iter().chain(known).find(|unit| {
        let rest = name.strip_suffix(unit);
        rest.is_some_and(|rest| rest.ends_with('_'))
    })
}

/// Chooses the form of every family, so that no two of them claim the same
/// name. A parser may reject the whole scrape otherwise.
pub(super) fn resolve_clashes(families: &mut [Family<'_>], format: Format) {
    for family in &mut *families {
        // The samples of an OpenMetrics counter must end in `_total`.
        let base = family.name.strip_suffix("_total");
        if format == Format::OpenMetrics
            && family.kind == MetricType::COUNTER
            && base.is_none_or(str::is_empty)
        {
            family.form = Form::Unknown;
        }
    }
    // A counter under its full name often resolves the clash (`jobs_total`
    // beside the gauge `jobs`) and leaves the other family its type.
    // Likewise an info as a gauge.
    demote(families, format, |family| {
        family.info = false;
        if family.kind == MetricType::COUNTER && format == Format::OpenMetrics {
            family.form = Form::Unknown;
        }
    });
    demote(families, format, |family| family.form = Form::Samples);
}

/// Changes every family that claims a name of another one.
fn demote(families: &mut [Family<'_>], format: Format, change: impl Fn(&mut Family<'_>)) {
    let mut claims = HashMap::new();
    for name in families.iter().flat_map(|family| family.claims(format)) {
        *claims.entry(name).or_insert(0) += 1;
    }
    for family in families {
        if family.claims(format).any(|name| claims[&name] > 1) {
            change(family);
        }
    }
}

/// Returns whether OpenMetrics allows the values of this family for its type.
fn has_allowed_values(family: &OtherFamily<'_>) -> bool {
    // `NaN >= 0.0` is false.
    let is_count = |value: f64| value >= 0.0;
    let allowed = |value: &OtherValue<'_>| match value {
        OtherValue::Number { value, .. } => family.kind != MetricType::COUNTER || is_count(*value),
        OtherValue::Histogram { buckets, sum, .. } => {
            let lowest = buckets.first();
            is_count(*sum) && lowest.is_none_or(|bucket| bucket.upper_bound >= 0.0)
        }
        OtherValue::Summary { quantiles, sum, .. } => {
            is_count(*sum)
                && quantiles.iter().all(|(quantile, value)| {
                    // Without observations it is NaN.
                    (0.0..=1.0).contains(quantile) && (*value >= 0.0 || value.is_nan())
                })
        }
    };
    family.metrics.iter().all(|metric| allowed(&metric.value))
}

pub(super) fn write_metadata(
    out: &mut Vec<u8>,
    name: &str,
    help: &str,
    kind: &str,
    unit: Option<&str>,
    format: Format,
) {
    let mut line = |parts: &[&str]| {
        for part in parts {
            out.extend_from_slice(part.as_bytes());
        }
        out.push(b'\n');
    };
    if !help.is_empty() {
        let mut help = help.replace('\\', "\\\\").replace('\n', "\\n");
        if format == Format::OpenMetrics {
            help = help.replace('"', "\\\"");
        }
        line(&["# HELP ", name, " ", &help]);
    }
    line(&["# TYPE ", name, " ", kind]);
    if format == Format::OpenMetrics
        && let Some(unit) = unit
    {
        line(&["# UNIT ", name, " ", unit]);
    }
}

/// Returns whether Prometheus allowed the name before it allowed UTF-8.
pub(super) fn is_legacy_name(name: &str, colons: bool) -> bool {
    let mut characters = name.char_indices();
    !name.is_empty() && characters.all(|(i, c)| is_allowed(i, c, colons))
}

fn is_allowed(i: usize, c: char, colons: bool) -> bool {
    c.is_ascii_alphabetic() || c == '_' || (colons && c == ':') || (i > 0 && c.is_ascii_digit())
}

/// Replaces characters that Prometheus does not allow in names with
/// underscores, as its `underscores` escaping scheme does. The formats
/// written here have no syntax for other names.
pub(in crate::prometheus) fn legacy_name(name: &str, colons: bool) -> Cow<'_, str> {
    if is_legacy_name(name, colons) {
        return Cow::Borrowed(name);
    }
    let escaped: String = name
        .char_indices()
        .map(|(i, c)| if is_allowed(i, c, colons) { c } else { '_' })
        .collect();
    Cow::Owned(if escaped.is_empty() {
        "_".to_owned()
    } else {
        escaped
    })
}
