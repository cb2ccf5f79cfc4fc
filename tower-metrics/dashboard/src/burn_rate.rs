//! Multiwindow, multi-burn-rate alerts.

use std::time::Duration;

use crate::period::Period;
use crate::slo::Slo;

/// Urgency of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Severity {
    /// Needs attention on the next working day. Rendered as `severity="warning"`.
    Ticket,
    /// Needs attention now. Rendered as `severity="critical"`.
    Page,
}

/// Burn rate that triggers an alert when both a long and a short window exceed it.
///
/// The long window shows that the loss is significant, the short one that it is ongoing. At a burn
/// rate of 1 the error budget lasts exactly the period of the objective.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BurnRateAlert {
    /// Urgency.
    pub severity: Severity,
    /// Long window.
    pub long: Duration,
    /// Short window.
    pub short: Duration,
    /// Burn rate to exceed, as a multiple of the rate that spends exactly the error budget.
    pub rate: f64,
}

/// Number of requests within a window, for [`BurnRateAlert::fires`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RequestCounts {
    /// Requests that violate the objective.
    pub bad: f64,
    /// All requests that count.
    pub total: f64,
}

impl BurnRateAlert {
    /// The windows and burn rates that the SRE workbook recommends ("Alerting on SLOs") for a period
    /// of 30 days: they detect the loss of 2% of the error budget in an hour, 5% in six hours, 10%
    /// in a day and 10% in three days.
    pub const DEFAULTS: [Self; 4] = Self::for_period(Period::Days30);

    /// Returns the windows and burn rates for objectives over `period`.
    ///
    /// The windows are those of [`DEFAULTS`](Self::DEFAULTS), and so are the shares of the error
    /// budget whose loss they detect, from which the burn rates follow: 13.44 in an hour for 28
    /// days, and 43.2 for 90 days. A week has larger shares, as in Sloth: 8% in an hour, 12.5% in
    /// six hours, 20% in a day and 42% in three days. A smaller share would alert on failures that
    /// the budget allows.
    #[must_use]
    pub const fn for_period(period: Period) -> [Self; 4] {
        let shares = match period {
            Period::Days7 => [0.08, 0.125, 0.2, 0.42],
            _ => [0.02, 0.05, 0.1, 0.1],
        };
        [
            Self::detecting(Severity::Page, 1, shares[0], period),
            Self::detecting(Severity::Page, 6, shares[1], period),
            Self::detecting(Severity::Ticket, 24, shares[2], period),
            Self::detecting(Severity::Ticket, 72, shares[3], period),
        ]
    }

    /// Detects the loss of this share of the error budget within `hours`.
    const fn detecting(severity: Severity, hours: u64, share: f64, period: Period) -> Self {
        // Rounded to 1/10,000, which removes the errors of the multiplication.
        let rate = share * (period.days() * 24) as f64 / hours as f64;
        let rate = (rate * 10_000.0 + 0.5) as u64 as f64 / 10_000.0;
        Self {
            severity,
            long: Duration::from_secs(hours * 3600),
            // The workbook recommends a twelfth of the long window.
            short: Duration::from_secs(hours * 300),
            rate,
        }
    }

    /// Multiplies both windows by `factor`, for demonstrations that cannot wait for hours.
    ///
    /// # Panics
    ///
    /// Panics if `factor` is negative or not finite.
    #[must_use]
    pub fn scaled(mut self, factor: f64) -> Self {
        self.long = self.long.mul_f64(factor);
        self.short = self.short.mul_f64(factor);
        self
    }

    /// Returns whether the alert fires for `slo`. `counts` returns the requests within a window
    /// that ends now, or `None` if they are unknown.
    ///
    /// ```
    /// use tower_metrics_dashboard::{BurnRateAlert, Indicator, RequestCounts, Selector, Slo};
    ///
    /// let jobs = Selector::new("jobs_total");
    /// let indicator = Indicator::Bad {
    ///     bad: jobs.clone().with("result", ["failed"]),
    ///     total: jobs,
    /// };
    /// let slo = Slo::new("jobs", "complete", 0.99, indicator);
    /// let [page, ..] = BurnRateAlert::DEFAULTS;
    ///
    /// let outage = RequestCounts { bad: 50.0, total: 100.0 };
    /// assert!(page.fires(&slo, |_window| Some(outage)));
    ///
    /// let healthy = RequestCounts { bad: 1.0, total: 100.0 };
    /// assert!(!page.fires(&slo, |_window| Some(healthy)));
    /// ```
    pub fn fires(
        &self,
        slo: &Slo,
        mut counts: impl FnMut(Duration) -> Option<RequestCounts>,
    ) -> bool {
        let limit = self.rate * slo.error_budget();
        let exceeds = |c: &RequestCounts| c.total > 0.0 && c.bad / c.total > limit;
        let Some(long) = counts(self.long) else {
            return false;
        };
        exceeds(&long)
            && long.total >= f64::from(slo.minimum_events.requests)
            && long.bad >= f64::from(slo.minimum_events.bad_requests)
            && counts(self.short).is_some_and(|short| exceeds(&short))
    }
}
