//! Objectives: how fast their budgets burn, and which of their alerts are lit.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::series::Store;
use super::wire::Figure;
use crate::burn_rate::{BurnRateAlert, RequestCounts};
use crate::selector::Selector;
use crate::slo::{Indicator, Slo};

/// One objective's counts over time.
#[derive(Debug)]
pub(super) struct Budget {
    pub(super) slo: Slo,
    pub(super) burns: Vec<BurnRateAlert>,
    lit: Vec<Option<f64>>,
    /// Time, and what had been counted by then.
    counted: VecDeque<(f64, RequestCounts)>,
    step: f64,
    longest: f64,
}

/// How an objective stands.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Standing {
    id: String,
    /// The share of bad requests over the longest time known, at most 15 minutes.
    errors: Figure,
    alerts: Vec<Alert>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct Alert {
    /// Burn rates within the two windows.
    long: Figure,
    short: Figure,
    /// Since when it is lit, in Unix seconds.
    since: Option<f64>,
}

impl Budget {
    pub(super) fn new(slo: Slo, burns: Vec<BurnRateAlert>) -> Self {
        let seconds =
            |pick: fn(&BurnRateAlert) -> Duration| burns.iter().map(move |b| pick(b).as_secs_f64());
        let shortest = seconds(|burn| burn.short).fold(f64::INFINITY, f64::min);
        let longest = seconds(|burn| burn.long).fold(900.0, f64::max);
        Self {
            lit: vec![None; burns.len()],
            counted: VecDeque::new(),
            // Fine enough for the shortest window, and bounded for the longest.
            step: (shortest / 30.0).max(1.0),
            longest,
            slo,
            burns,
        }
    }

    /// Counts what has happened by `now`, a time that never jumps.
    pub(super) fn take(&mut self, store: &Store, now: f64) {
        let sum = |selector: &Selector| -> f64 {
            let series = store.select(selector);
            let totals = series.map(|series| series.total(selector.part));
            totals.filter(|total| total.is_finite()).sum()
        };
        let counts = match &self.slo.indicator {
            Indicator::Bad { bad, total } => RequestCounts {
                bad: sum(bad),
                total: sum(total),
            },
            Indicator::Good { good, total } => {
                let total = sum(total);
                RequestCounts {
                    bad: total - sum(good),
                    total,
                }
            }
        };
        // The last entry is always now; the one before it stays only where a step has passed.
        let before = self
            .counted
            .len()
            .checked_sub(2)
            .map(|at| self.counted[at].0);
        if before.is_some_and(|before| now - before < self.step * 0.9) {
            self.counted.pop_back();
        }
        self.counted.push_back((now, counts));
        while self.counted.len() > 2 && now - self.counted[1].0 >= self.longest {
            self.counted.pop_front();
        }
    }

    /// The burn rate within `window`; no value without requests.
    pub(super) fn rate(&self, window: Duration) -> f64 {
        let counts = tally(&self.counted, window).unwrap_or_default();
        counts.bad / counts.total / self.slo.error_budget()
    }

    /// How it stands at `wall`, in Unix seconds.
    pub(super) fn standing(&mut self, wall: f64) -> Standing {
        for (burn, lit) in self.burns.iter().zip(&mut self.lit) {
            let fires = burn.fires(&self.slo, |window| tally(&self.counted, window));
            *lit = fires.then(|| lit.unwrap_or(wall));
        }
        let all = tally(&self.counted, Duration::from_secs(900)).unwrap_or_default();
        let alerts = self.burns.iter().zip(&self.lit).map(|(burn, since)| Alert {
            long: Figure(self.rate(burn.long)),
            short: Figure(self.rate(burn.short)),
            since: *since,
        });
        Standing {
            id: super::page::slug(&self.slo.name),
            errors: Figure(all.bad / all.total),
            alerts: alerts.collect(),
        }
    }
}

/// What happened within `window` up to now; within what is known of it where that is less.
fn tally(counted: &VecDeque<(f64, RequestCounts)>, window: Duration) -> Option<RequestCounts> {
    let (now, last) = counted.back()?;
    let since = now - window.as_secs_f64();
    let at = counted.partition_point(|(time, _)| *time <= since);
    let (_, first) = counted.get(at.saturating_sub(1))?;
    let rise = |pick: fn(&RequestCounts) -> f64| (pick(last) - pick(first)).max(0.0);
    Some(RequestCounts {
        bad: rise(|tally| tally.bad),
        total: rise(|tally| tally.total),
    })
}

#[cfg(test)]
mod tests {
    use prometheus::{IntCounterVec, Opts, Registry};

    use super::*;
    use crate::slo::MinimumEvents;

    #[test]
    fn an_outage_lights_the_page_and_its_end_puts_it_out() {
        let registry = Registry::new();
        let options = Opts::new("hits_total", "Hits.");
        let counter = IntCounterVec::new(options, &["status"]).unwrap();
        registry.register(Box::new(counter.clone())).unwrap();
        let slo = Slo {
            name: "availability".into(),
            condition: "are answered".into(),
            objective: 0.999,
            indicator: Indicator::Bad {
                bad: Selector::new("hits_total").with("status", ["500"]),
                total: Selector::new("hits_total"),
            },
            minimum_events: MinimumEvents::default(),
        };
        let mut store = Store::new(&[slo.bad_ratio()], 5.0, 900.0);
        let mut budget = Budget::new(
            slo,
            BurnRateAlert::DEFAULTS
                .map(|burn| burn.scaled(1.0 / 60.0))
                .to_vec(),
        );
        let mut lit = Vec::new();
        for second in 0..120 {
            counter.with_label_values(&["200"]).inc_by(50);
            if (30..50).contains(&second) {
                counter.with_label_values(&["500"]).inc_by(10);
            }
            store.take(f64::from(second), &registry.gather());
            budget.take(&store, f64::from(second));
            if budget.standing(f64::from(second)).alerts[0].since.is_some() {
                lit.push(second);
            }
        }
        let (first, last) = (lit[0], lit[lit.len() - 1]);
        assert!((30..40).contains(&first), "lit at {first}");
        assert!((50..57).contains(&last), "out after {last}");
        assert_eq!(usize::try_from(last - first + 1).unwrap(), lit.len());
    }
}
