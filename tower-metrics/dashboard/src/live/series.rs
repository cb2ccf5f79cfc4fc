//! The registry's series over the evaluator's window, with restarts taken out.

use std::collections::{BTreeSet, HashMap, VecDeque};

use prometheus::proto::{Metric, MetricFamily, MetricType};

use crate::expr::Expr;
use crate::selector::{Part, Selector};
use tower_metrics::prometheus::{counter_value, gauge_value};

/// Label names and values, sorted by name.
pub(super) type Labels = Vec<(String, String)>;

/// The value of a label; empty where it is absent.
pub(super) fn label<'a>(labels: &'a [(String, String)], name: &str) -> &'a str {
    labels
        .iter()
        .find(|(known, _)| known == name)
        .map_or("", |(_, value)| value)
}

/// Every series that the expressions speak of.
#[derive(Debug)]
pub(super) struct Store {
    /// The families to keep, and whether their rise over the whole history is asked for.
    wanted: HashMap<String, bool>,
    families: HashMap<String, Family>,
    recent: Clock,
    long: Clock,
}

/// When the snapshots of a ring were taken, in seconds of a clock that never jumps.
#[derive(Debug)]
struct Clock {
    times: VecDeque<f64>,
    window: f64,
    step: f64,
}

#[derive(Debug)]
struct Family {
    kind: MetricType,
    series: Vec<Series>,
}

#[derive(Debug)]
pub(super) struct Series {
    pub(super) labels: Labels,
    /// Of a histogram, the finite bounds, rising.
    pub(super) bounds: Vec<f64>,
    /// What the registry said last: a histogram's cumulative buckets, its count, its sum; or the
    /// one value.
    raw: Vec<f64>,
    /// The same as if there had never been a restart.
    totals: Vec<f64>,
    /// Earlier totals. The last of each stands for the last time of its clock.
    recent: VecDeque<Vec<f64>>,
    long: VecDeque<Vec<f64>>,
}

impl Clock {
    fn new(window: f64, step: f64) -> Self {
        Self {
            times: VecDeque::new(),
            window,
            step,
        }
    }

    /// Whether a snapshot is due at `now`; if so, notes it.
    fn due(&mut self, now: f64) -> bool {
        // A tick may come a little early.
        let due = self
            .times
            .back()
            .is_none_or(|last| now - last >= self.step * 0.9);
        if due {
            self.times.push_back(now);
            while self.times.len() > 2 && now - self.times[1] >= self.window {
                self.times.pop_front();
            }
        }
        due
    }
}

impl Store {
    /// Keeps the families of `expressions`. Rates are over `window` seconds, increases over
    /// `history`.
    pub(super) fn new<'a>(
        expressions: impl IntoIterator<Item = &'a Expr>,
        window: f64,
        history: f64,
    ) -> Self {
        let mut wanted = HashMap::new();
        for expr in expressions {
            let mut long = BTreeSet::new();
            find_increases(expr, &mut long);
            expr.selectors(&mut |selector| {
                *wanted.entry(selector.metric.clone()).or_insert(false) |=
                    long.contains(selector.metric.as_str());
            });
        }
        Self {
            wanted,
            families: HashMap::new(),
            recent: Clock::new(window, 0.0),
            long: Clock::new(history, history / 90.0),
        }
    }

    /// Takes what the registry says `now`, in seconds of a clock that never jumps.
    pub(super) fn take(&mut self, now: f64, gathered: &[MetricFamily]) {
        self.recent.due(now);
        let long_due = self.long.due(now);
        for family in gathered {
            let Some(&long) = self.wanted.get(family.name()) else {
                continue;
            };
            let known = self
                .families
                .entry(family.name().to_owned())
                .or_insert_with(|| Family {
                    kind: family.get_field_type(),
                    series: Vec::new(),
                });
            let mut before: Vec<Option<Series>> = known.series.drain(..).map(Some).collect();
            let mut at = 0;
            for metric in family.get_metric() {
                let mut series =
                    reuse(&mut before, &mut at, metric).unwrap_or_else(|| Series::new(metric));
                series.update(known.kind, metric);
                series.remember(&self.recent, (long && long_due).then_some(&self.long));
                known.series.push(series);
            }
        }
        // A family that is gone has no values; its series would come back as new ones.
        let present: BTreeSet<&str> = gathered.iter().map(MetricFamily::name).collect();
        self.families
            .retain(|name, _| present.contains(name.as_str()));
    }

    /// The series that a selector picks.
    pub(super) fn select<'a>(&'a self, selector: &'a Selector) -> impl Iterator<Item = &'a Series> {
        self.families
            .get(&selector.metric)
            .into_iter()
            .flat_map(|family| &family.series)
            .filter(|series| {
                let accepts =
                    |m: &crate::selector::Matcher| m.matches(label(&series.labels, &m.label));
                selector.matchers.iter().all(accepts)
            })
    }

    /// Seconds between the snapshots that a rate compares; `None` before the second one.
    pub(super) fn elapsed(&self) -> Option<f64> {
        let (first, last) = (self.recent.times.front()?, self.recent.times.back()?);
        (last > first).then_some(last - first)
    }
}

/// The series of before with these labels. Registries keep their order, so it is nearly always the
/// next one.
fn reuse(before: &mut [Option<Series>], at: &mut usize, metric: &Metric) -> Option<Series> {
    let same = |series: &Option<Series>| series.as_ref().is_some_and(|s| s.is(metric));
    let found = *at + before.get(*at..)?.iter().position(same)?;
    *at = found + 1;
    before[found].take()
}

fn find_increases<'a>(expr: &'a Expr, found: &mut BTreeSet<&'a str>) {
    match expr {
        Expr::Increase(selector) => {
            found.insert(&selector.metric);
        }
        Expr::Value(_) | Expr::Rate(_) | Expr::Quantile { .. } => {}
        Expr::Aggregate { of, .. }
        | Expr::Times { of, .. }
        | Expr::TopK { of, .. }
        | Expr::Since(of) => {
            find_increases(of, found);
        }
        Expr::Ratio {
            numerator: a,
            denominator: b,
        }
        | Expr::OrZero { of: a, like: b }
        | Expr::Minus { left: a, right: b } => {
            find_increases(a, found);
            find_increases(b, found);
        }
    }
}

impl Series {
    fn new(metric: &Metric) -> Self {
        let pairs = metric.get_label().iter();
        let mut labels: Labels = pairs
            .map(|pair| (pair.name().to_owned(), pair.value().to_owned()))
            .collect();
        labels.sort();
        Self {
            labels,
            bounds: Vec::new(),
            raw: Vec::new(),
            totals: Vec::new(),
            recent: VecDeque::new(),
            long: VecDeque::new(),
        }
    }

    fn is(&self, metric: &Metric) -> bool {
        let pairs = metric.get_label();
        pairs.len() == self.labels.len()
            && pairs
                .iter()
                .all(|pair| label(&self.labels, pair.name()) == pair.value())
    }

    fn update(&mut self, kind: MetricType, metric: &Metric) {
        let raw = match kind {
            MetricType::COUNTER => vec![counter_value(metric)],
            MetricType::GAUGE => vec![gauge_value(metric)],
            MetricType::HISTOGRAM => {
                let histogram = metric.get_histogram();
                let finite = || {
                    let buckets = histogram.get_bucket().iter();
                    buckets.filter(|bucket| bucket.upper_bound().is_finite())
                };
                if !finite()
                    .map(|bucket| bucket.upper_bound())
                    .eq(self.bounds.iter().copied())
                {
                    self.bounds = finite().map(|bucket| bucket.upper_bound()).collect();
                    self.raw.clear();
                    self.recent.clear();
                    self.long.clear();
                }
                let counts = finite().map(|bucket| bucket.cumulative_count() as f64);
                counts
                    .chain([
                        histogram.get_sample_count() as f64,
                        histogram.get_sample_sum(),
                    ])
                    .collect()
            }
            _ => vec![f64::NAN],
        };
        if kind == MetricType::GAUGE || self.raw.len() != raw.len() {
            self.totals.clone_from(&raw);
        } else {
            // A histogram restarts as a whole: its count tells. A sum may fall by itself.
            let told_by = raw.len().saturating_sub(2);
            let restarted = raw[told_by] < self.raw[told_by];
            for ((total, now), before) in self.totals.iter_mut().zip(&raw).zip(&self.raw) {
                *total += if restarted { *now } else { now - before };
            }
        }
        self.raw = raw;
    }

    fn remember(&mut self, recent: &Clock, long: Option<&Clock>) {
        remember(&mut self.recent, &self.totals, recent);
        if let Some(long) = long {
            remember(&mut self.long, &self.totals, long);
        }
    }

    /// The value as the registry has it.
    pub(super) fn value(&self, part: Part) -> f64 {
        self.at(&self.raw, part)
    }

    /// The rise over the window, of one figure.
    pub(super) fn rise(&self, store: &Store, part: Part) -> f64 {
        let before = older(&self.recent, &store.recent);
        self.at(&self.totals, part) - before.map_or(0.0, |old| self.at(old, part))
    }

    /// The rise over the history, of one figure.
    pub(super) fn long_rise(&self, store: &Store, part: Part) -> f64 {
        let before = older(&self.long, &store.long);
        self.at(&self.totals, part) - before.map_or(0.0, |old| self.at(old, part))
    }

    /// What has been counted since the first look, restarts taken out.
    pub(super) fn total(&self, part: Part) -> f64 {
        self.at(&self.totals, part)
    }

    /// The rise over the window of each cumulative bucket; the last is of all observations.
    pub(super) fn bucket_rises(&self, store: &Store) -> Vec<f64> {
        let before = older(&self.recent, &store.recent);
        let count = self.bounds.len() + 1;
        let totals = self.totals.iter().take(count).enumerate();
        totals
            .map(|(index, total)| total - before.map_or(0.0, |old| old[index]))
            .collect()
    }

    /// The rise since the snapshot before, of each cumulative bucket.
    pub(super) fn bucket_steps(&self, store: &Store) -> Vec<f64> {
        let before = match self.recent.len() {
            0 | 1 if store.recent.times.len() > 1 => None,
            0 | 1 => Some(&self.totals),
            length => Some(&self.recent[length - 2]),
        };
        let count = self.bounds.len() + 1;
        let totals = self.totals.iter().take(count).enumerate();
        totals
            .map(|(index, total)| total - before.map_or(0.0, |old| old[index]))
            .collect()
    }

    fn at(&self, values: &[f64], part: Part) -> f64 {
        let index = match part {
            Part::Value => 0,
            Part::Count => self.bounds.len(),
            Part::Sum => self.bounds.len() + 1,
            Part::Bucket(bound) => match self.bounds.iter().position(|known| *known == bound) {
                Some(index) => index,
                None => return f64::NAN,
            },
        };
        values.get(index).copied().unwrap_or(f64::NAN)
    }
}

fn remember(ring: &mut VecDeque<Vec<f64>>, totals: &[f64], clock: &Clock) {
    ring.push_back(totals.to_vec());
    while ring.len() > clock.times.len() {
        ring.pop_front();
    }
}

/// The totals at the start of the clock's window. A series that has appeared since then began at
/// zero, for its counts are of this process: `None`.
fn older<'a>(ring: &'a VecDeque<Vec<f64>>, clock: &Clock) -> Option<&'a Vec<f64>> {
    (ring.len() >= clock.times.len()).then(|| ring.front())?
}
