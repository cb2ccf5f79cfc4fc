//! Objectives, and when their error budget burns too fast.

use std::time::Duration;

use crate::check::{self, filled, label, rule};
use crate::error::Error;
use crate::expr::{Expr, Selector};
use crate::panel::{Panel, Row, Tone, Unit};

/// A service level objective: of the requests that count, this share is good.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Slo {
    /// Its name, the value of the label `slo`: `availability`.
    pub name: String,
    /// What is promised, as the end of "the share of requests that …": `are answered without an
    /// error`.
    pub promise: String,
    /// The share that is good, above 0 and below 1: 0.999.
    pub objective: f64,
    /// How requests are told apart.
    pub indicator: Indicator,
    /// What must have happened within the long window before an alert fires.
    pub floor: Floor,
}

/// How the requests that break an objective are counted. The counters of one are of one metric
/// family, so that a restart resets both.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Indicator {
    /// The bad ones are a selection.
    Bad {
        /// Requests that break the objective.
        bad: Selector,
        /// Requests that count.
        total: Selector,
    },
    /// The good ones are a selection; the others are bad.
    Good {
        /// Requests that keep the objective.
        good: Selector,
        /// Requests that count.
        total: Selector,
    },
}

/// With little traffic a single failure exceeds every burn rate. Below the floor no alert fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// Requests within the long window.
    pub requests: u32,
    /// Bad requests within the long window.
    pub bad: u32,
}

impl Default for Floor {
    /// 20 requests, 3 of them bad: a full outage of a quiet service is still told.
    fn default() -> Self {
        Self {
            requests: 20,
            bad: 3,
        }
    }
}

/// How urgent an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Severity {
    /// The budget goes within days: work for the next working day.
    Ticket,
    /// The budget goes within hours: someone is woken now.
    Page,
}

/// A pair of windows, and the burn rate that both must exceed. At a burn rate of 1 the budget lasts
/// exactly the 30 days of the objective.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Burn {
    /// How urgent.
    pub severity: Severity,
    /// The window that says it matters.
    pub long: Duration,
    /// The window that says it still goes on.
    pub short: Duration,
    /// How many times faster than the objective allows.
    pub rate: f64,
}

/// The objective's period.
pub const PERIOD: Duration = Duration::from_secs(30 * 24 * 3600);

/// The windows and burn rates of the SRE workbook ("Alerting on SLOs", multiwindow, multi-burn-rate)
/// for 30 days: 2 % of the budget in an hour, 5 % in six, 10 % in a day, 10 % in three.
pub const BURNS: [Burn; 4] = [
    Burn::hours(Severity::Page, 1, 14.4),
    Burn::hours(Severity::Page, 6, 6.0),
    Burn::hours(Severity::Ticket, 24, 3.0),
    Burn::hours(Severity::Ticket, 72, 1.0),
];

impl Burn {
    const fn hours(severity: Severity, hours: u64, rate: f64) -> Self {
        Self {
            severity,
            long: Duration::from_secs(hours * 3600),
            // A twelfth of the long one.
            short: Duration::from_secs(hours * 300),
            rate,
        }
    }

    /// The same with both windows times `factor`, for a demonstration that cannot wait for hours.
    #[must_use]
    pub fn scaled(mut self, factor: f64) -> Self {
        self.long = self.long.mul_f64(factor);
        self.short = self.short.mul_f64(factor);
        self
    }

    /// Whether the objective burns at this rate. `tally` says what happened within a window up to
    /// now; `None` where nothing is known of it.
    pub fn fires(&self, slo: &Slo, mut tally: impl FnMut(Duration) -> Option<Tally>) -> bool {
        let limit = self.rate * slo.budget();
        let burns = |t: &Tally| t.total > 0.0 && t.bad / t.total > limit;
        let Some(long) = tally(self.long) else {
            return false;
        };
        burns(&long)
            && long.total >= f64::from(slo.floor.requests)
            && long.bad >= f64::from(slo.floor.bad)
            && tally(self.short).is_some_and(|short| burns(&short))
    }
}

/// The requests of a window, for [`Burn::fires`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Those that break the objective.
    pub bad: f64,
    /// All that count.
    pub total: f64,
}

impl Slo {
    /// An objective with the default [`Floor`]. `promise` ends "the share of requests that …".
    pub fn new(
        name: impl Into<String>,
        promise: impl Into<String>,
        objective: f64,
        indicator: Indicator,
    ) -> Self {
        Self {
            name: name.into(),
            promise: promise.into(),
            objective,
            indicator,
            floor: Floor::default(),
        }
    }

    /// With another floor.
    #[must_use]
    pub fn floor(mut self, floor: Floor) -> Self {
        self.floor = floor;
        self
    }

    /// The share of requests that may be bad: 0.001 for an objective of 99.9 %.
    #[must_use]
    pub fn budget(&self) -> f64 {
        // Twelve decimals take the rounding error of the subtraction away.
        ((1.0 - self.objective) * 1e12).round() / 1e12
    }

    /// The requests that count, per second.
    #[must_use]
    pub fn total(&self) -> Expr {
        self.indicator.total().clone().rate().sum()
    }

    /// The requests that break the objective, per second. 0, not nothing, where none does.
    #[must_use]
    pub fn bad(&self) -> Expr {
        match &self.indicator {
            Indicator::Bad { bad, .. } => bad.clone().rate().sum().or_zero(self.total()),
            Indicator::Good { good, .. } => {
                let good = good.clone().rate().sum().or_zero(self.total());
                self.total().minus(good)
            }
        }
    }

    /// The share of requests that break the objective. No value without requests.
    #[must_use]
    pub fn bad_ratio(&self) -> Expr {
        self.bad().ratio(self.total())
    }

    /// How fast the budget burns: 1 is exactly as fast as the objective allows.
    #[must_use]
    pub fn burn_rate(&self) -> Expr {
        self.bad_ratio().times(1.0 / self.budget())
    }

    /// The share of requests that kept the objective, over the whole range shown. No value without
    /// requests.
    #[must_use]
    pub fn kept(&self) -> Expr {
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

    /// Checks the objective, as each rendering does first.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn check(&self) -> Result<(), Error> {
        let place = format!("objective {:?}", self.name);
        label(&place, &self.name)?;
        filled(&place, "promise", &self.promise)?;
        let inside = self.objective > 0.0 && self.objective < 1.0;
        rule(
            &place,
            "objective",
            &self.objective.to_string(),
            inside,
            "a share above 0 and below 1, as 0.999",
        )?;
        check::free_expr(&place, &self.bad_ratio())
    }
}

/// A row that shows how objectives fare: the share of good requests in the range shown, and how
/// fast each budget burns.
#[must_use]
pub fn objectives(slos: &[Slo]) -> Row {
    let burn = Panel::lines("Burn rate", Unit::Count)
        .help(
            "How fast each objective's error budget burns. At 1 it lasts exactly 30 days; at 14.4 \
             a fiftieth of it is gone within the hour, and someone is called.",
        )
        .size(18, 8)
        .decimals(1)
        .threshold(1.0, Tone::Warn)
        .threshold(BURNS[0].rate, Tone::Bad);
    let burn = (slos.iter()).fold(burn, |panel, slo| panel.series(&slo.name, slo.burn_rate()));
    let kept = Panel::stat("Kept in this range", Unit::Ratio)
        .help("Share of the requests that kept each objective, over the range shown.")
        .size(6, 8)
        .decimals(3);
    let kept = (slos.iter()).fold(kept, |panel, slo| {
        let name = format!(
            "{}, promised {} %",
            slo.name,
            (slo.objective * 1e8).round() / 1e6
        );
        panel.series(name, slo.kept())
    });
    Row::new("Objectives").panel(kept).panel(burn)
}

impl Indicator {
    /// The requests that count.
    #[must_use]
    pub fn total(&self) -> &Selector {
        match self {
            Self::Bad { total, .. } | Self::Good { total, .. } => total,
        }
    }
}
