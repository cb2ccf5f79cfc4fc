//! Expressions: what a panel, an objective or an alert computes.

use crate::selector::Selector;

/// Aggregation operator of [`Expr::Aggregate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Aggregation {
    /// Sum of the values.
    Sum,
    /// Largest value.
    Max,
    /// Smallest value.
    Min,
    /// Arithmetic mean of the values.
    Mean,
}

/// Expression that evaluates to a set of values with labels.
///
/// An expression has no time window. The evaluator supplies one: `$__rate_interval` in Grafana,
/// five minutes in a recording rule, a few seconds on the live page.
///
/// ```
/// use tower_metrics_dashboard::Selector;
///
/// let errors = Selector::new("http_requests_total").with_prefix("code", "5");
/// let all = Selector::new("http_requests_total");
/// let error_ratio = errors.rate().sum_by(["route"]).ratio(all.rate().sum_by(["route"]));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Expr {
    /// Latest value of each series.
    Value(Selector),
    /// Increase per second of each counter over the evaluator's window. A counter reset is not a
    /// decrease.
    Rate(Selector),
    /// Increase of each counter over the displayed time range (`${__range}` in Grafana).
    Increase(Selector),
    /// Aggregates values that agree on the labels `by`; all values where `by` is empty.
    Aggregate {
        /// Operator.
        op: Aggregation,
        /// Labels to keep.
        by: Vec<String>,
        /// Values to aggregate.
        of: Box<Expr>,
    },
    /// Quantile of the observations in the evaluator's window, interpolated linearly within its
    /// bucket, for each value of the labels `by`. Groups without observations have no value.
    Quantile {
        /// Quantile, above 0 and below 1.
        q: f64,
        /// Histogram, with [`Part::Value`](crate::Part::Value).
        of: Selector,
        /// Labels to keep.
        by: Vec<String>,
    },
    /// `numerator / denominator` for each label set of the denominator: 0 where the numerator has
    /// no value, no value where the denominator is zero. Never NaN.
    Ratio {
        /// Numerator.
        numerator: Box<Expr>,
        /// Denominator, with the same labels.
        denominator: Box<Expr>,
    },
    /// `of`, and 0 for each label set that only `like` has, so that zero is not displayed as
    /// missing data.
    OrZero {
        /// Values.
        of: Box<Expr>,
        /// Expression that defines which label sets exist.
        like: Box<Expr>,
    },
    /// `left - right` for each label set that both have.
    Minus {
        /// Minuend.
        left: Box<Expr>,
        /// Subtrahend.
        right: Box<Expr>,
    },
    /// Each value multiplied by a constant.
    Times {
        /// Values.
        of: Box<Expr>,
        /// Finite factor.
        factor: f64,
    },
    /// The `k` largest values.
    TopK {
        /// Number of values, at least 1.
        k: usize,
        /// Values.
        of: Box<Expr>,
    },
    /// Seconds elapsed since each value, which is a Unix time in seconds.
    Since(Box<Expr>),
}

/// Expressions over the selected series.
impl Selector {
    /// Returns the current value: [`Expr::Value`].
    #[must_use]
    pub fn value(self) -> Expr {
        Expr::Value(self)
    }

    /// Returns the increase per second: [`Expr::Rate`].
    #[must_use]
    pub fn rate(self) -> Expr {
        Expr::Rate(self)
    }

    /// Returns the increase over the displayed time range: [`Expr::Increase`].
    #[must_use]
    pub fn increase(self) -> Expr {
        Expr::Increase(self)
    }

    /// Returns a quantile over all series of the histogram: [`Expr::Quantile`]. `q` is above 0 and
    /// below 1.
    #[must_use]
    pub fn quantile(self, q: f64) -> Expr {
        self.quantile_by(q, [""; 0])
    }

    /// Returns a quantile for each value of the labels `by`: [`Expr::Quantile`].
    #[must_use]
    pub fn quantile_by<L: Into<String>>(self, q: f64, by: impl IntoIterator<Item = L>) -> Expr {
        Expr::Quantile {
            q,
            of: self,
            by: by.into_iter().map(Into::into).collect(),
        }
    }

    /// Returns the mean observation of the histogram: the rate of its sum divided by the rate of
    /// its count.
    #[must_use]
    pub fn mean(self) -> Expr {
        let sum = self.clone().sum().rate().sum();
        sum.ratio(self.count().rate().sum())
    }
}

impl Expr {
    /// Aggregates the values that agree on the labels `by`.
    #[must_use]
    pub fn aggregate<L: Into<String>>(
        self,
        op: Aggregation,
        by: impl IntoIterator<Item = L>,
    ) -> Self {
        Self::Aggregate {
            op,
            by: by.into_iter().map(Into::into).collect(),
            of: Box::new(self),
        }
    }

    /// Returns the sum of all values.
    #[must_use]
    pub fn sum(self) -> Self {
        self.aggregate(Aggregation::Sum, [""; 0])
    }

    /// Returns a sum for each value of the labels `by`.
    #[must_use]
    pub fn sum_by<L: Into<String>>(self, by: impl IntoIterator<Item = L>) -> Self {
        self.aggregate(Aggregation::Sum, by)
    }

    /// Returns the largest value.
    #[must_use]
    pub fn max(self) -> Self {
        self.aggregate(Aggregation::Max, [""; 0])
    }

    /// Returns the largest value for each value of the labels `by`.
    #[must_use]
    pub fn max_by<L: Into<String>>(self, by: impl IntoIterator<Item = L>) -> Self {
        self.aggregate(Aggregation::Max, by)
    }

    /// Divides by `denominator`: [`Expr::Ratio`].
    #[must_use]
    pub fn ratio(self, denominator: Self) -> Self {
        Self::Ratio {
            numerator: Box::new(self),
            denominator: Box::new(denominator),
        }
    }

    /// Adds a 0 for each label set that only `like` has: [`Expr::OrZero`].
    #[must_use]
    pub fn or_zero(self, like: Self) -> Self {
        Self::OrZero {
            of: Box::new(self),
            like: Box::new(like),
        }
    }

    /// Subtracts `right`: [`Expr::Minus`].
    #[must_use]
    pub fn minus(self, right: Self) -> Self {
        Self::Minus {
            left: Box::new(self),
            right: Box::new(right),
        }
    }

    /// Multiplies each value by `factor`, which must be finite.
    #[must_use]
    pub fn times(self, factor: f64) -> Self {
        Self::Times {
            of: Box::new(self),
            factor,
        }
    }

    /// Converts a rate per second to a rate per minute.
    #[must_use]
    pub fn per_minute(self) -> Self {
        self.times(60.0)
    }

    /// Keeps the `k` largest values; `k` is at least 1.
    #[must_use]
    pub fn top(self, k: usize) -> Self {
        Self::TopK {
            k,
            of: Box::new(self),
        }
    }

    /// Returns the seconds since each value, a Unix time: [`Expr::Since`].
    #[must_use]
    pub fn since(self) -> Self {
        Self::Since(Box::new(self))
    }

    /// Returns the labels of the result, or `None` if the result has the labels of the raw series.
    #[must_use]
    pub fn labels(&self) -> Option<&[String]> {
        match self {
            Self::Value(_) | Self::Rate(_) | Self::Increase(_) => None,
            Self::Aggregate { by, .. } | Self::Quantile { by, .. } => Some(by),
            Self::Ratio {
                denominator: of, ..
            }
            | Self::OrZero { of, .. }
            | Self::Minus { left: of, .. }
            | Self::Times { of, .. }
            | Self::TopK { of, .. }
            | Self::Since(of) => of.labels(),
        }
    }

    /// Calls `visit` with every selector of the expression.
    pub fn selectors<'a>(&'a self, visit: &mut dyn FnMut(&'a Selector)) {
        match self {
            Self::Value(of) | Self::Rate(of) | Self::Increase(of) | Self::Quantile { of, .. } => {
                visit(of);
            }
            Self::Aggregate { of, .. }
            | Self::Times { of, .. }
            | Self::TopK { of, .. }
            | Self::Since(of) => of.selectors(visit),
            Self::Ratio {
                numerator: a,
                denominator: b,
            }
            | Self::OrZero { of: a, like: b }
            | Self::Minus { left: a, right: b } => {
                a.selectors(visit);
                b.selectors(visit);
            }
        }
    }

    /// Returns whether the value covers the whole displayed time range, so that its history is
    /// meaningless.
    #[must_use]
    pub(crate) fn covers_range(&self) -> bool {
        match self {
            Self::Increase(_) => true,
            Self::Value(_) | Self::Rate(_) | Self::Quantile { .. } => false,
            Self::Aggregate { of, .. }
            | Self::Times { of, .. }
            | Self::TopK { of, .. }
            | Self::Since(of) => of.covers_range(),
            Self::Ratio {
                numerator: a,
                denominator: b,
            }
            | Self::OrZero { of: a, like: b }
            | Self::Minus { left: a, right: b } => a.covers_range() || b.covers_range(),
        }
    }
}
