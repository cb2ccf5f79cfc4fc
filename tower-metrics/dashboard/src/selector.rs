//! Series selectors: a metric with label matchers.

/// Set of series: a metric with label matchers.
///
/// The metric is the name of the family (`http_server_request_duration_seconds`). [`Part`] picks
/// the series of a histogram.
///
/// ```
/// use tower_metrics_dashboard::Selector;
///
/// let purchases = Selector::new("http_server_request_duration_seconds")
///     .count()
///     .with("http_request_method", ["POST"])
///     .with_prefix("http_response_status_code", "5");
/// assert_eq!(purchases.series_name(), "http_server_request_duration_seconds_count");
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Selector {
    /// Name of the metric family.
    pub metric: String,
    /// Series of the family to select.
    pub part: Part,
    /// If `true`, the family is a native histogram: its series have no suffixes, and functions such
    /// as `histogram_count` read their parts. The live page, Cloud Monitoring and Managed Service
    /// for Prometheus use the classic series nevertheless.
    pub native: bool,
    /// Conditions on labels. A series must satisfy all of them.
    pub matchers: Vec<Matcher>,
}

/// Series of a metric family.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Part {
    /// Value of a counter or gauge; all buckets of a histogram, which quantiles and heatmaps read.
    Value,
    /// Number of observations of a histogram (`_count`).
    Count,
    /// Sum of the observations of a histogram (`_sum`).
    Sum,
    /// Number of observations up to and including this bucket bound.
    Bucket(f64),
}

/// Condition on one label. An absent label has the empty value, as in PromQL.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Matcher {
    /// Name of the label.
    pub label: String,
    /// If `true`, selects the series that do *not* match the pattern.
    pub negated: bool,
    /// Pattern for the label's value.
    pub pattern: Pattern,
}

/// Pattern for the value of a label.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Pattern {
    /// Any of these values, compared literally.
    AnyOf(Vec<String>),
    /// Values with this prefix, such as `5` for the 5xx status codes.
    Prefix(String),
    /// Values selected in the dashboard's [`Variable`](crate::Variable) of this name. Matches every
    /// value where variables do not exist, as in rules and on the live page.
    Variable(String),
}

impl Matcher {
    /// Returns whether `value` satisfies the condition. Every value satisfies a variable.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        match &self.pattern {
            Pattern::AnyOf(values) => values.iter().any(|v| v == value) != self.negated,
            Pattern::Prefix(prefix) => value.starts_with(prefix.as_str()) != self.negated,
            Pattern::Variable(_) => true,
        }
    }
}

impl Selector {
    /// Selects every series of a counter or gauge, or every bucket of a histogram.
    pub fn new(metric: impl Into<String>) -> Self {
        Self {
            metric: metric.into(),
            part: Part::Value,
            native: false,
            matchers: Vec::new(),
        }
    }

    /// Selects the number of observations of a histogram.
    #[must_use]
    pub fn count(mut self) -> Self {
        self.part = Part::Count;
        self
    }

    /// Selects the sum of the observations of a histogram.
    #[must_use]
    pub fn sum(mut self) -> Self {
        self.part = Part::Sum;
        self
    }

    /// Selects the number of observations up to `bound`, which must be one of the histogram's
    /// bucket bounds.
    #[must_use]
    pub fn bucket(mut self, bound: f64) -> Self {
        self.part = Part::Bucket(bound);
        self
    }

    /// Sets whether the family is a [native](Self::native) histogram. Defaults to `false`.
    ///
    /// The observations up to a [bucket](Self::bucket) bound are then estimated by
    /// `histogram_fraction`, which interpolates within the native bucket that contains the bound.
    #[must_use]
    pub fn native(mut self, native: bool) -> Self {
        self.native = native;
        self
    }

    /// Selects only series whose `label` has one of `values`.
    #[must_use]
    pub fn with<V: Into<String>>(
        self,
        label: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        self.matching(label, false, Pattern::AnyOf(values))
    }

    /// Selects only series whose `label` has none of `values`. The empty value represents an
    /// absent label.
    #[must_use]
    pub fn without<V: Into<String>>(
        self,
        label: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        self.matching(label, true, Pattern::AnyOf(values))
    }

    /// Selects only series whose `label` starts with `prefix`.
    #[must_use]
    pub fn with_prefix(self, label: impl Into<String>, prefix: impl Into<String>) -> Self {
        self.matching(label, false, Pattern::Prefix(prefix.into()))
    }

    /// Selects only series whose `label` does not start with `prefix`.
    #[must_use]
    pub fn without_prefix(self, label: impl Into<String>, prefix: impl Into<String>) -> Self {
        self.matching(label, true, Pattern::Prefix(prefix.into()))
    }

    /// Selects only series whose `label` has a value that is selected in the dashboard's variable.
    #[must_use]
    pub fn with_variable(self, label: impl Into<String>, variable: impl Into<String>) -> Self {
        self.matching(label, false, Pattern::Variable(variable.into()))
    }

    fn matching(mut self, label: impl Into<String>, negated: bool, pattern: Pattern) -> Self {
        self.matchers.push(Matcher {
            label: label.into(),
            negated,
            pattern,
        });
        self
    }

    /// Returns the name under which Prometheus stores the series: the family's with `_count`,
    /// `_sum` or `_bucket`, or without a suffix for [`Part::Value`].
    #[must_use]
    pub fn series_name(&self) -> String {
        let suffix = match self.part {
            Part::Value => "",
            Part::Count => "_count",
            Part::Sum => "_sum",
            Part::Bucket(_) => "_bucket",
        };
        format!("{}{suffix}", self.metric)
    }
}
