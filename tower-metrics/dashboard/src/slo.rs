//! Service level objectives.

use crate::error::Error;
use crate::expr::Expr;
use crate::period::Period;
use crate::selector::Selector;
use crate::validate::{check, check_expr, check_filled, check_label};

/// Service level objective: the ratio of requests that must be good over a [`Period`], 30 days by
/// default.
///
/// [`RedBuilder`](crate::RedBuilder) creates the usual two, availability and latency. Create others
/// from any counters:
///
/// ```
/// use tower_metrics_dashboard::{Indicator, Selector, Slo};
///
/// let jobs = Selector::new("jobs_total");
/// let indicator = Indicator::Bad {
///     bad: jobs.clone().with("result", ["failed"]),
///     total: jobs,
/// };
/// let slo = Slo::new("jobs", "complete", 0.99, indicator);
/// assert_eq!(slo.error_budget(), 0.01);
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Slo {
    /// Name and value of the label `slo`, such as `availability`.
    pub name: String,
    /// Condition that a good request meets, as a verb phrase that completes "99.9% of requests …",
    /// such as `succeed`.
    pub condition: String,
    /// Ratio of requests that must be good, above 0 and below 1, such as 0.999.
    pub objective: f64,
    /// Rolling window over which the objective must be met.
    pub period: Period,
    /// Counters of good or bad requests, and of all requests.
    pub indicator: Indicator,
    /// Traffic below which no alert fires.
    pub minimum_events: MinimumEvents,
    /// Diagnosis and mitigation for the runbook, in Markdown.
    pub runbook: String,
}

/// Service level indicator: which requests count, and which of them are good or bad.
///
/// Both selectors must be of the same metric family, so that a restart resets both.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Indicator {
    /// Selects the bad requests. All others are good.
    Bad {
        /// Requests that violate the objective.
        bad: Selector,
        /// All requests that count.
        total: Selector,
    },
    /// Selects the good requests. All others are bad.
    Good {
        /// Requests that meet the objective.
        good: Selector,
        /// All requests that count.
        total: Selector,
    },
}

/// Traffic within an alert's long window below which the alert does not fire.
///
/// With little traffic, a single failed request exceeds every burn rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinimumEvents {
    /// Minimum number of requests.
    pub requests: u32,
    /// Minimum number of bad requests.
    pub bad_requests: u32,
}

impl Default for MinimumEvents {
    /// 20 requests, of which 3 are bad: low enough to report a full outage of a quiet service.
    fn default() -> Self {
        Self {
            requests: 20,
            bad_requests: 3,
        }
    }
}

const DEFAULT_RUNBOOK: &str = "\
    **Diagnosis.** Compare the start of the burn with releases, configuration changes, load and the \
    state of dependencies.\n\n\
    **Mitigation.** Roll back the change that caused it, or restore the dependency.";

impl Slo {
    /// Creates an objective over 30 days with the default [`MinimumEvents`].
    ///
    /// `condition` completes "99.9% of requests …". `objective` is above 0 and below 1.
    pub fn new(
        name: impl Into<String>,
        condition: impl Into<String>,
        objective: f64,
        indicator: Indicator,
    ) -> Self {
        Self {
            name: name.into(),
            condition: condition.into(),
            objective,
            period: Period::default(),
            indicator,
            minimum_events: MinimumEvents::default(),
            runbook: DEFAULT_RUNBOOK.to_owned(),
        }
    }

    /// Sets the rolling window over which the objective must be met. Defaults to 30 days.
    ///
    /// Prometheus must retain its data for at least this long.
    #[must_use]
    pub fn period(mut self, period: Period) -> Self {
        self.period = period;
        self
    }

    /// Sets the traffic below which no alert fires. Defaults to 20 requests, of which 3 are bad.
    #[must_use]
    pub fn minimum_events(mut self, minimum: MinimumEvents) -> Self {
        self.minimum_events = minimum;
        self
    }

    /// Sets the diagnosis and mitigation for the runbook, in Markdown. Defaults to general advice.
    #[must_use]
    pub fn runbook(mut self, runbook: impl Into<String>) -> Self {
        self.runbook = runbook.into();
        self
    }

    /// Returns the ratio of requests that may be bad: 0.001 for an objective of 99.9%.
    #[must_use]
    pub fn error_budget(&self) -> f64 {
        // Rounding to 12 decimals removes the error of the subtraction.
        ((1.0 - self.objective) * 1e12).round() / 1e12
    }

    /// Returns the rate of all requests that count.
    #[must_use]
    pub fn total_rate(&self) -> Expr {
        self.indicator.total().clone().rate().sum()
    }

    /// Returns the rate of bad requests: 0, not absent, if there are none.
    #[must_use]
    pub fn bad_rate(&self) -> Expr {
        match &self.indicator {
            Indicator::Bad { bad, .. } => bad.clone().rate().sum().or_zero(self.total_rate()),
            Indicator::Good { good, .. } => {
                let good = good.clone().rate().sum().or_zero(self.total_rate());
                self.total_rate().minus(good)
            }
        }
    }

    /// Returns the ratio of bad requests. Has no value without requests.
    #[must_use]
    pub fn bad_ratio(&self) -> Expr {
        self.bad_rate().ratio(self.total_rate())
    }

    /// Returns the burn rate: at 1, the error budget lasts exactly the [period](Self::period).
    #[must_use]
    pub fn burn_rate(&self) -> Expr {
        self.bad_ratio().times(1.0 / self.error_budget())
    }

    /// Returns the ratio of good requests over the displayed time range. Has no value without
    /// requests.
    #[must_use]
    pub fn compliance(&self) -> Expr {
        let total = || self.indicator.total().clone().increase().sum();
        let good = match &self.indicator {
            Indicator::Good { good, .. } => good.clone().increase().sum(),
            Indicator::Bad { bad, .. } => {
                let bad = bad.clone().increase().sum().or_zero(total());
                total().minus(bad)
            }
        };
        good.ratio(total())
    }

    /// Validates the objective. Rendering does so first.
    ///
    /// # Errors
    ///
    /// Returns the first problem: a name that is not a valid label name, an empty condition, an
    /// objective that leaves no error budget or is not above 0, or an invalid selector.
    pub fn validate(&self) -> Result<(), Error> {
        let context = format!("objective {:?}", self.name);
        check_label(&context, &self.name)?;
        check_filled(&context, "condition", &self.condition)?;
        check(
            &context,
            "objective",
            &self.objective.to_string(),
            // The second condition excludes an error budget that rounds to zero.
            self.objective > 0.0 && self.error_budget() > 0.0,
            "a ratio above 0 and below 1 with at most 12 decimals, such as 0.999",
        )?;
        check_expr(&context, &self.bad_ratio())
    }
}

impl Indicator {
    /// Returns the requests that count.
    #[must_use]
    pub fn total(&self) -> &Selector {
        match self {
            Self::Bad { total, .. } | Self::Good { total, .. } => total,
        }
    }
}
