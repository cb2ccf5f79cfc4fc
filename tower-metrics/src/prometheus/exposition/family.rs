//! Assigns each family of a scrape the name and type under which it is written.

use std::borrow::Cow;
use std::collections::HashMap;

use prometheus::proto::{MetricFamily, MetricType};

use super::Format;

/// A family with the name and the form in which it is written.
#[derive(Debug)]
pub(super) struct Family<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) help: &'a str,
    pub(super) kind: MetricType,
    pub(super) form: Form,
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
            kind,
            form: Form::Typed,
        }
    }

    /// A family from `gather()`, whose values may be ones that OpenMetrics
    /// does not allow for its type.
    pub(super) fn gathered(family: &'a MetricFamily, format: Format) -> Self {
        let kind = family.get_field_type();
        let mut this = Self::new(family.name(), family.help(), kind);
        if format == Format::OpenMetrics && !has_allowed_values(family) {
            this.form = match kind {
                MetricType::COUNTER => Form::Unknown,
                _ => Form::Samples,
            };
        }
        this
    }

    /// The family's name in the metadata of its format. OpenMetrics leaves a
    /// counter's `_total` to its samples.
    fn base(&self, format: Format) -> &str {
        match (self.kind, self.form, format) {
            (MetricType::COUNTER, Form::Typed, Format::OpenMetrics) => {
                self.name.strip_suffix("_total").unwrap_or(&self.name)
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
            _ => &[""],
        };
        suffixes.iter().map(move |suffix| format!("{base}{suffix}"))
    }

    /// Writes the metadata lines.
    pub(super) fn write_metadata(&self, out: &mut Vec<u8>, format: Format) {
        let kind = match (self.kind, self.form) {
            (MetricType::COUNTER, Form::Typed) => "counter",
            (MetricType::GAUGE, _) => "gauge",
            (MetricType::HISTOGRAM, _) => "histogram",
            (MetricType::SUMMARY, _) => "summary",
            _ => format.unknown_type(),
        };
        write_metadata(out, self.base(format), self.help, kind, format);
    }
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
    demote(families, format, |family| {
        (family.kind == MetricType::COUNTER && format == Format::OpenMetrics)
            .then_some(Form::Unknown)
    });
    demote(families, format, |_| Some(Form::Samples));
}

fn demote(families: &mut [Family<'_>], format: Format, to: impl Fn(&Family<'_>) -> Option<Form>) {
    let mut claims = HashMap::new();
    for name in families.iter().flat_map(|family| family.claims(format)) {
        *claims.entry(name).or_insert(0) += 1;
    }
    for family in families {
        if let Some(form) = to(family)
            && family.claims(format).any(|name| claims[&name] > 1)
        {
            family.form = form;
        }
    }
}

/// Returns whether OpenMetrics allows the values of this family for its type.
fn has_allowed_values(family: &MetricFamily) -> bool {
    // `NaN >= 0.0` is false.
    let is_count = |value: f64| value >= 0.0;
    family
        .get_metric()
        .iter()
        .all(|metric| match family.get_field_type() {
            MetricType::COUNTER => is_count(crate::proto::counter_value(metric)),
            MetricType::HISTOGRAM => {
                let histogram = metric.get_histogram();
                let lowest = histogram.get_bucket().first();
                is_count(histogram.get_sample_sum())
                    && lowest.is_none_or(|b| b.upper_bound() >= 0.0)
            }
            MetricType::SUMMARY => {
                let summary = metric.get_summary();
                is_count(summary.sample_sum())
                    && summary.get_quantile().iter().all(|quantile| {
                        // Without observations it is NaN.
                        (0.0..=1.0).contains(&quantile.quantile())
                            && (quantile.value() >= 0.0 || quantile.value().is_nan())
                    })
            }
            _ => true,
        })
}

pub(super) fn write_metadata(
    out: &mut Vec<u8>,
    name: &str,
    help: &str,
    kind: &str,
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
    if format == Format::OpenMetrics {
        for unit in ["seconds", "bytes"] {
            let rest = name.strip_suffix(unit);
            if rest.is_some_and(|rest| rest.ends_with('_')) {
                line(&["# UNIT ", name, " ", unit]);
            }
        }
    }
}

/// Replaces characters that Prometheus does not allow in names with
/// underscores, as its `underscores` escaping scheme does. The formats
/// written here have no syntax for other names.
pub(super) fn legacy_name(name: &str, colons: bool) -> Cow<'_, str> {
    let allowed = |(i, c): (usize, char)| {
        c.is_ascii_alphabetic() || c == '_' || (colons && c == ':') || (i > 0 && c.is_ascii_digit())
    };
    if !name.is_empty() && name.char_indices().all(allowed) {
        return Cow::Borrowed(name);
    }
    let escaped: String = name
        .char_indices()
        .map(|(i, c)| if allowed((i, c)) { c } else { '_' })
        .collect();
    Cow::Owned(if escaped.is_empty() {
        "_".to_owned()
    } else {
        escaped
    })
}
