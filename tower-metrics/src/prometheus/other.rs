//! Metrics from sources other than the recorder: the registry, and other
//! libraries' registries.
//!
//! A [`Source`] returns its metrics as [`OtherFamily`] values at each scrape, and
//! every format of the exposition writes them. Add one with
//! [`Prometheus::add_source`](super::Prometheus::add_source):
//!
//! - Names may contain any character and may clash with those of other
//!   families. The exposition escapes names and resolves clashes for the format
//!   that it writes.
//! - A counter's name contains its suffix `_total`. OpenMetrics' metadata is
//!   written without it.
//! - Info metrics are gauges with [`info`](OtherFamily::info) whose name ends in
//!   `_info`, with the value 1.
//! - The registry's prefix and labels are not added.

use std::borrow::Cow;
use std::fmt;
use std::time::SystemTime;

use prometheus::proto::{self, MetricType};

/// Source of metrics beside the recorder and its registry.
pub(crate) trait Source: Send + Sync {
    /// Returns the current metrics. Called once per rendering, on the thread of
    /// the scrape.
    fn families(&self) -> Vec<OtherFamily<'static>>;
}

impl fmt::Debug for dyn Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").finish_non_exhaustive()
    }
}

/// Metric family with its metrics.
#[derive(Clone, Debug)]
pub(crate) struct OtherFamily<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) help: Cow<'a, str>,
    /// Written if the name ends in it. `None` derives it from a name that ends
    /// in `seconds` or `bytes`.
    pub(crate) unit: Option<Cow<'a, str>>,
    /// `UNTYPED` for a type that the source does not know.
    pub(crate) kind: MetricType,
    /// Whether a gauge named `…_info` is an info, a type of OpenMetrics.
    pub(crate) info: bool,
    pub(crate) metrics: Vec<OtherMetric<'a>>,
}

/// Metric of an [`OtherFamily`].
#[derive(Clone, Debug)]
pub(crate) struct OtherMetric<'a> {
    /// Name and value of each label. The first one of a repeated name counts.
    pub(crate) labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Must be of the family's type.
    pub(crate) value: OtherValue<'a>,
    /// Milliseconds since the Unix epoch, if the sample has its own time.
    pub(crate) timestamp_ms: Option<i64>,
    /// When a counter, histogram or summary began at zero.
    pub(crate) created: Option<SystemTime>,
}

/// Value of an [`OtherMetric`].
#[derive(Clone, Debug)]
pub(crate) enum OtherValue<'a> {
    /// Counter, gauge, or value of unknown type.
    Number {
        value: f64,
        /// Counters only.
        exemplar: Option<OtherExemplar<'a>>,
    },
    Histogram {
        /// Ascending. The bucket `+Inf` may be absent.
        buckets: Vec<OtherBucket<'a>>,
        count: u64,
        sum: f64,
    },
    Summary {
        /// Quantile, and the value below which that share of observations is.
        quantiles: Vec<(f64, f64)>,
        count: u64,
        sum: f64,
    },
}

/// Bucket of a histogram.
#[derive(Clone, Debug)]
pub(crate) struct OtherBucket<'a> {
    pub(crate) upper_bound: f64,
    pub(crate) cumulative_count: u64,
    pub(crate) exemplar: Option<OtherExemplar<'a>>,
}

/// Exemplar of a counter or bucket.
#[derive(Clone, Debug)]
pub(crate) struct OtherExemplar<'a> {
    pub(crate) labels: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    pub(crate) value: f64,
    pub(crate) at: Option<SystemTime>,
}

impl From<OtherFamily<'_>> for proto::MetricFamily {
    fn from(family: OtherFamily<'_>) -> Self {
        let mut message = Self::default();
        message.set_name(family.name.into_owned());
        message.set_help(family.help.into_owned());
        message.set_field_type(family.kind);
        let metrics = family.metrics.iter();
        message.set_metric(
            metrics
                .map(|metric| self::metric(metric, family.kind))
                .collect(),
        );
        message
    }
}

/// Converts a metric. The messages have no exemplars, and no values of unknown type, which
/// become gauges.
fn metric(metric: &OtherMetric<'_>, kind: MetricType) -> proto::Metric {
    let pair = |(name, value): &(Cow<'_, str>, Cow<'_, str>)| {
        let mut pair = proto::LabelPair::default();
        pair.set_name(name.clone().into_owned());
        pair.set_value(value.clone().into_owned());
        pair
    };
    let mut message = proto::Metric::from_label(metric.labels.iter().map(pair).collect());
    match &metric.value {
        OtherValue::Number { value, .. } if kind == MetricType::COUNTER => {
            let mut counter = proto::Counter::default();
            counter.set_value(*value);
            message.set_counter(counter);
        }
        OtherValue::Number { value, .. } => {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(*value);
            message.set_gauge(gauge);
        }
        OtherValue::Histogram {
            buckets,
            count,
            sum,
        } => {
            let bucket = |bucket: &OtherBucket<'_>| {
                let mut message = proto::Bucket::default();
                message.set_upper_bound(bucket.upper_bound);
                message.set_cumulative_count(bucket.cumulative_count);
                message
            };
            let mut histogram = proto::Histogram::default();
            histogram.set_bucket(buckets.iter().map(bucket).collect());
            histogram.set_sample_count(*count);
            histogram.set_sample_sum(*sum);
            message.set_histogram(histogram);
        }
        OtherValue::Summary {
            quantiles,
            count,
            sum,
        } => {
            let quantile = |(quantile, value): &(f64, f64)| {
                let mut message = proto::Quantile::default();
                message.set_quantile(*quantile);
                message.set_value(*value);
                message
            };
            let mut summary = proto::Summary::default();
            summary.set_quantile(quantiles.iter().map(quantile).collect());
            summary.set_sample_count(*count);
            summary.set_sample_sum(*sum);
            message.set_summary(summary);
        }
    }
    message
}
