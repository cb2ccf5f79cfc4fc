//! What a panel computes: selectors and the few operations over them.

/// A metric with label matchers: a set of series.
///
/// The metric is named as its family is (`http_server_request_duration_seconds`); [`Part`] says
/// which of a histogram's series are meant.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Selector {
    /// The family's name.
    pub metric: String,
    /// Which series of the family.
    pub part: Part,
    /// All of them must hold.
    pub matchers: Vec<Matcher>,
}

/// Which series of a family a selector takes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Part {
    /// The value of a counter or gauge; for a histogram, its buckets
    /// (what [`Expr::Quantile`] and heatmaps read).
    Value,
    /// A histogram's number of observations.
    Count,
    /// A histogram's sum of observations.
    Sum,
    /// A histogram's observations up to this bound, which must be one of its bucket bounds.
    UpTo(f64),
}

/// A condition on one label. A label that is absent has the empty value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Matcher {
    /// The label's name.
    pub label: String,
    /// True where the pattern must *not* match.
    pub negated: bool,
    /// What its value is compared with.
    pub pattern: Pattern,
}

/// What a label's value is compared with.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Pattern {
    /// One of these values, literally.
    AnyOf(Vec<String>),
    /// Values that begin so: `5` for a status of 500 and above.
    StartsWith(String),
    /// The values picked in the dashboard's [`Variable`](crate::Variable) of this name. Where there
    /// is nothing to pick from (rules, a page without variables), every value.
    Variable(String),
}

impl Matcher {
    /// Whether a label's value satisfies the condition. A variable is satisfied by every value.
    #[must_use]
    pub fn accepts(&self, value: &str) -> bool {
        match &self.pattern {
            Pattern::AnyOf(values) => values.iter().any(|v| v == value) != self.negated,
            Pattern::StartsWith(prefix) => value.starts_with(prefix.as_str()) != self.negated,
            Pattern::Variable(_) => true,
        }
    }
}

impl Selector {
    /// Every series of a counter or gauge, or every bucket of a histogram.
    pub fn new(metric: impl Into<String>) -> Self {
        Self {
            metric: metric.into(),
            part: Part::Value,
            matchers: Vec::new(),
        }
    }

    /// The histogram's number of observations.
    #[must_use]
    pub fn count(mut self) -> Self {
        self.part = Part::Count;
        self
    }

    /// The histogram's sum of observations.
    #[must_use]
    pub fn total(mut self) -> Self {
        self.part = Part::Sum;
        self
    }

    /// The histogram's observations up to `bound`, one of its bucket bounds.
    #[must_use]
    pub fn up_to(mut self, bound: f64) -> Self {
        self.part = Part::UpTo(bound);
        self
    }

    /// Only series whose `label` is one of `values`.
    #[must_use]
    pub fn with<V: Into<String>>(
        self,
        label: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        self.matching(label, false, Pattern::AnyOf(values))
    }

    /// Only series whose `label` is none of `values`. The empty value stands for an absent label.
    #[must_use]
    pub fn without<V: Into<String>>(
        self,
        label: impl Into<String>,
        values: impl IntoIterator<Item = V>,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        self.matching(label, true, Pattern::AnyOf(values))
    }

    /// Only series whose `label` begins with `prefix`.
    #[must_use]
    pub fn starting(self, label: impl Into<String>, prefix: impl Into<String>) -> Self {
        self.matching(label, false, Pattern::StartsWith(prefix.into()))
    }

    /// Only series whose `label` does not begin with `prefix`.
    #[must_use]
    pub fn not_starting(self, label: impl Into<String>, prefix: impl Into<String>) -> Self {
        self.matching(label, true, Pattern::StartsWith(prefix.into()))
    }

    /// Only series whose `label` is picked in the dashboard's variable.
    #[must_use]
    pub fn picked(self, label: impl Into<String>, variable: impl Into<String>) -> Self {
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

    /// The name of the series as Prometheus stores them: `…_count`, `…_sum`, `…_bucket`, or the
    /// family's own for [`Part::Value`].
    #[must_use]
    pub fn series_name(&self) -> String {
        let suffix = match self.part {
            Part::Value => "",
            Part::Count => "_count",
            Part::Sum => "_sum",
            Part::UpTo(_) => "_bucket",
        };
        format!("{}{suffix}", self.metric)
    }

    /// The value as it is now: [`Expr::Value`].
    #[must_use]
    pub fn value(self) -> Expr {
        Expr::Value(self)
    }

    /// Its rise per second: [`Expr::Rate`].
    #[must_use]
    pub fn rate(self) -> Expr {
        Expr::Rate(self)
    }

    /// Its rise over the range shown: [`Expr::Increase`].
    #[must_use]
    pub fn increase(self) -> Expr {
        Expr::Increase(self)
    }

    /// A quantile of the histogram: [`Expr::Quantile`].
    #[must_use]
    pub fn quantile<L: Into<String>>(self, q: f64, by: impl IntoIterator<Item = L>) -> Expr {
        Expr::Quantile {
            q,
            of: self,
            by: by.into_iter().map(Into::into).collect(),
        }
    }

    /// The histogram's mean: the rate of its sum by the rate of its count.
    #[must_use]
    pub fn mean<L: Into<String>>(self, by: impl IntoIterator<Item = L>) -> Expr {
        let by: Vec<String> = by.into_iter().map(Into::into).collect();
        let sum = self.clone().total().rate().sum_by(by.clone());
        sum.ratio(self.count().rate().sum_by(by))
    }
}

/// How [`Expr::Fold`] makes one value of many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fold {
    /// Their sum.
    Sum,
    /// The largest.
    Max,
    /// The smallest.
    Min,
    /// Their mean.
    Mean,
}

/// An expression: it evaluates to a set of values, each with its labels.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Expr {
    /// The series' latest values.
    Value(Selector),
    /// The counters' rise per second, over the evaluator's short window. Restarts are no fall.
    Rate(Selector),
    /// The counters' rise over the whole range that is shown (`$__range` in Grafana).
    Increase(Selector),
    /// The values that share the labels `by`, folded into one. No labels: all of them.
    Fold {
        /// How.
        fold: Fold,
        /// The labels that remain.
        by: Vec<String>,
        /// What is folded.
        of: Box<Expr>,
    },
    /// The quantile of the observations that fell into the evaluator's window, interpolated within
    /// its bucket, in groups that share the labels `by`. No value for a group without observations.
    Quantile {
        /// Above 0 and below 1.
        q: f64,
        /// A histogram, with [`Part::Value`].
        of: Selector,
        /// The labels that remain.
        by: Vec<String>,
    },
    /// `part / whole`, label set by label set. 0 where `part` has no value; no value where `whole`
    /// is zero or absent: never NaN.
    Ratio {
        /// The numerator.
        part: Box<Expr>,
        /// The denominator, with the same labels.
        whole: Box<Expr>,
    },
    /// `of`, and 0 for each label set that only `like` has: a figure that is zero is not a figure
    /// that is missing.
    OrZero {
        /// What is shown.
        of: Box<Expr>,
        /// What tells that there is something to count.
        like: Box<Expr>,
    },
    /// `left - right`, label set by label set; no value where either is absent.
    Minus {
        /// The minuend.
        left: Box<Expr>,
        /// The subtrahend.
        right: Box<Expr>,
    },
    /// Each value times a constant: 60 for a rate per minute.
    Times {
        /// What is scaled.
        of: Box<Expr>,
        /// By what; finite.
        factor: f64,
    },
    /// The `n` largest values.
    Top {
        /// How many; at least 1.
        n: usize,
        /// Of which.
        of: Box<Expr>,
    },
    /// Seconds from each value, a Unix time, to now.
    Since(Box<Expr>),
}

impl Expr {
    /// Folds the values that share `by`.
    #[must_use]
    pub fn fold<L: Into<String>>(self, fold: Fold, by: impl IntoIterator<Item = L>) -> Self {
        Self::Fold {
            fold,
            by: by.into_iter().map(Into::into).collect(),
            of: Box::new(self),
        }
    }

    /// The sum of all values.
    #[must_use]
    pub fn sum(self) -> Self {
        self.fold(Fold::Sum, [""; 0])
    }

    /// The sum of the values that share `by`.
    #[must_use]
    pub fn sum_by<L: Into<String>>(self, by: impl IntoIterator<Item = L>) -> Self {
        self.fold(Fold::Sum, by)
    }

    /// The largest of the values that share `by`.
    #[must_use]
    pub fn max_by<L: Into<String>>(self, by: impl IntoIterator<Item = L>) -> Self {
        self.fold(Fold::Max, by)
    }

    /// `self / whole`; see [`Expr::Ratio`].
    #[must_use]
    pub fn ratio(self, whole: Self) -> Self {
        Self::Ratio {
            part: Box::new(self),
            whole: Box::new(whole),
        }
    }

    /// 0 where only `like` has a value; see [`Expr::OrZero`].
    #[must_use]
    pub fn or_zero(self, like: Self) -> Self {
        Self::OrZero {
            of: Box::new(self),
            like: Box::new(like),
        }
    }

    /// `self - right`.
    #[must_use]
    pub fn minus(self, right: Self) -> Self {
        Self::Minus {
            left: Box::new(self),
            right: Box::new(right),
        }
    }

    /// Each value times `factor`.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self::Times {
            of: Box::new(self),
            factor,
        }
    }

    /// Per minute instead of per second.
    #[must_use]
    pub fn per_minute(self) -> Self {
        self.times(60.0)
    }

    /// The `n` largest.
    #[must_use]
    pub fn top(self, n: usize) -> Self {
        Self::Top {
            n,
            of: Box::new(self),
        }
    }

    /// Seconds since the Unix time that each value is.
    #[must_use]
    pub fn since(self) -> Self {
        Self::Since(Box::new(self))
    }

    /// The labels that each value has, where the expression says so; `None` for the raw series of
    /// a selector, which have all their own.
    #[must_use]
    pub fn labels(&self) -> Option<&[String]> {
        match self {
            Self::Value(_) | Self::Rate(_) | Self::Increase(_) => None,
            Self::Fold { by, .. } | Self::Quantile { by, .. } => Some(by),
            Self::Ratio { whole: of, .. }
            | Self::OrZero { of, .. }
            | Self::Minus { left: of, .. }
            | Self::Times { of, .. }
            | Self::Top { of, .. }
            | Self::Since(of) => of.labels(),
        }
    }

    /// Calls `visit` with every selector in the expression.
    pub fn selectors<'a>(&'a self, visit: &mut dyn FnMut(&'a Selector)) {
        match self {
            Self::Value(of) | Self::Rate(of) | Self::Increase(of) | Self::Quantile { of, .. } => {
                visit(of);
            }
            Self::Fold { of, .. }
            | Self::Times { of, .. }
            | Self::Top { of, .. }
            | Self::Since(of) => of.selectors(visit),
            Self::Ratio { part: a, whole: b }
            | Self::OrZero { of: a, like: b }
            | Self::Minus { left: a, right: b } => {
                a.selectors(visit);
                b.selectors(visit);
            }
        }
    }
}
