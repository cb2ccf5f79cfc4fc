//! Error budgets: burn rates, and which alerts are firing.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::clock::WallClock;
use super::number::Number;
use super::slug::slug;
use super::store::Store;
use crate::burn_rate::{BurnRateAlert, RequestCounts};
use crate::selector::Selector;
use crate::slo::{Indicator, Slo};

/// Window of the error ratio that the page shows.
const ERROR_RATIO_WINDOW: Duration = Duration::from_secs(900);

/// Requests of an objective over time.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) slo: Slo,
    pub(super) alerts: Vec<BurnRateAlert>,
    /// When each alert began to fire, in monotonic time.
    firing_since: Vec<Option<f64>>,
    /// Cumulative counts by monotonic time.
    counts: VecDeque<(f64, RequestCounts)>,
    step: f64,
    longest: f64,
}

/// Current state of an objective.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct ObjectiveStatus {
    id: String,
    /// Ratio of bad requests in the last 15 minutes, or since the start.
    errors: Number,
    alerts: Vec<AlertStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct AlertStatus {
    /// Burn rates in the two windows.
    long: Number,
    short: Number,
    /// When the alert began to fire, in Unix seconds.
    since: Option<f64>,
}

impl Budget {
    pub(super) fn new(slo: Slo, alerts: Vec<BurnRateAlert>) -> Self {
        let seconds = |pick: fn(&BurnRateAlert) -> Duration| {
            alerts.iter().map(move |b| pick(b).as_secs_f64())
        };
        let shortest = seconds(|alert| alert.short).fold(f64::INFINITY, f64::min);
        let longest = seconds(|alert| alert.long).fold(ERROR_RATIO_WINDOW.as_secs_f64(), f64::max);
        Self {
            firing_since: vec![None; alerts.len()],
            counts: VecDeque::new(),
            // At least 30 samples in the shortest window.
            step: (shortest / 30.0).max(1.0),
            longest,
            slo,
            alerts,
        }
    }

    /// Adds the counts of the current snapshot, taken at `now` of the monotonic
    /// clock, and evaluates the alerts. Skips a snapshot that lacks a family of
    /// the objective, because its counters would appear to be reset.
    pub(super) fn update(&mut self, store: &Store, now: f64) {
        let (Indicator::Bad { bad: part, total } | Indicator::Good { good: part, total }) =
            &self.slo.indicator;
        if store.is_stale(&part.metric) || store.is_stale(&total.metric) {
            return;
        }
        let sum = |selector: &Selector| -> f64 {
            let series = store.select(selector);
            let totals = series.map(|series| series.total(selector.part));
            totals.filter(|total| total.is_finite()).sum()
        };
        let (part, total) = (sum(part), sum(total));
        let bad = match &self.slo.indicator {
            Indicator::Bad { .. } => part,
            Indicator::Good { .. } => total - part,
        };
        // The last entry is the current one. It becomes permanent once a step
        // has passed since the entry before it.
        let before = self.counts.len().checked_sub(2);
        let before = before.map(|at| self.counts[at].0);
        if before.is_some_and(|before| now - before < self.step * 0.9) {
            self.counts.pop_back();
        }
        self.counts.push_back((now, RequestCounts { bad, total }));
        while self.counts.len() > 2 && now - self.counts[1].0 >= self.longest {
            self.counts.pop_front();
        }
        for (alert, since) in self.alerts.iter().zip(&mut self.firing_since) {
            let fires = alert.fires(&self.slo, |window| tally(&self.counts, window));
            *since = fires.then(|| since.unwrap_or(now));
        }
    }

    /// Returns the burn rate in `window`, NaN without requests.
    pub(super) fn rate(&self, window: Duration) -> f64 {
        let counts = tally(&self.counts, window).unwrap_or_default();
        counts.bad / counts.total / self.slo.error_budget()
    }

    pub(super) fn status(&self, clock: &WallClock) -> ObjectiveStatus {
        let counts = tally(&self.counts, ERROR_RATIO_WINDOW).unwrap_or_default();
        let alerts = self.alerts.iter().zip(&self.firing_since);
        let alerts = alerts.map(|(alert, since)| AlertStatus {
            long: Number(self.rate(alert.long)),
            short: Number(self.rate(alert.short)),
            since: since.map(|since| clock.wall(since)),
        });
        ObjectiveStatus {
            id: slug(&self.slo.name),
            errors: Number(counts.bad / counts.total),
            alerts: alerts.collect(),
        }
    }
}

/// Returns the increase within `window`, or within what is known of it.
fn tally(counts: &VecDeque<(f64, RequestCounts)>, window: Duration) -> Option<RequestCounts> {
    let (now, last) = counts.back()?;
    let since = now - window.as_secs_f64();
    let at = counts.partition_point(|(time, _)| *time <= since);
    let (_, first) = counts.get(at.saturating_sub(1))?;
    let increase = |pick: fn(&RequestCounts) -> f64| (pick(last) - pick(first)).max(0.0);
    Some(RequestCounts {
        bad: increase(|tally| tally.bad),
        total: increase(|tally| tally.total),
    })
}

#[cfg(test)]
mod tests {
    use prometheus::{IntCounterVec, Opts, Registry};

    use super::super::source::MetricsSource;
    use super::*;

    #[test]
    fn an_alert_fires_during_an_outage_and_resolves_after_it() {
        let registry = Registry::new();
        let options = Opts::new("hits_total", "Hits.");
        let counter = IntCounterVec::new(options, &["status"]).unwrap();
        registry.register(Box::new(counter.clone())).unwrap();
        let indicator = Indicator::Bad {
            bad: Selector::new("hits_total").with("status", ["500"]),
            total: Selector::new("hits_total"),
        };
        let slo = Slo::new("availability", "are answered", 0.999, indicator);
        let mut store = Store::new(&[slo.bad_ratio()], 5.0, 900.0);
        let mut budget = Budget::new(
            slo,
            BurnRateAlert::DEFAULTS
                .map(|burn| burn.scaled(1.0 / 60.0))
                .to_vec(),
        );
        let mut source = MetricsSource::from(registry);
        let mut firing = Vec::new();
        for second in 0..120 {
            counter.with_label_values(&["200"]).inc_by(50);
            if (30..50).contains(&second) {
                counter.with_label_values(&["500"]).inc_by(10);
            }
            source.read(&mut store, f64::from(second)).unwrap();
            budget.update(&store, f64::from(second));
            if budget.firing_since[0].is_some() {
                firing.push(second);
            }
        }
        let (first, last) = (firing[0], firing[firing.len() - 1]);
        assert!((30..40).contains(&first), "firing at {first}");
        assert!((50..57).contains(&last), "resolved after {last}");
        assert_eq!(usize::try_from(last - first + 1).unwrap(), firing.len());
    }
}
