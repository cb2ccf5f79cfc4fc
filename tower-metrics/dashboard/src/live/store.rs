//! Store of the series that the expressions of a page select.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::layout::{Layout, Wanted};
use super::ring::Times;
use super::sample::{ForEachLabel, Labels, Sample, label};
use super::series::Series;
use crate::expr::Expr;
use crate::selector::{Matcher, Part, Selector};

/// Seconds for which a series is kept after it disappears from the registry, so
/// that it continues where it was if it reappears.
const ABSENT: f64 = 60.0;
/// Snapshots kept of the history.
const HISTORY_SNAPSHOTS: f64 = 90.0;

/// Store of the series that the expressions of a page select.
#[derive(Debug)]
pub(super) struct Store {
    wanted: HashMap<String, Wanted>,
    families: HashMap<String, Family>,
    strings: HashSet<Arc<str>>,
    window: Times,
    history: Times,
    history_due: bool,
    /// Time of the current snapshot.
    now: f64,
    previous: f64,
}

#[derive(Debug, Default)]
struct Family {
    /// One for each set of bounds.
    layouts: Vec<Arc<Layout>>,
    series: Vec<Series>,
    index: HashMap<u64, usize>,
    /// Time of the last snapshot that had the family.
    seen: f64,
}

impl Store {
    /// Keeps what `expressions` need. Rates are over `window` seconds, increases
    /// over `history` seconds.
    pub(super) fn new<'a>(
        expressions: impl IntoIterator<Item = &'a Expr>,
        window: f64,
        history: f64,
    ) -> Self {
        let mut wanted = HashMap::new();
        for expr in expressions {
            find_wanted(expr, &mut wanted);
        }
        Self {
            wanted,
            families: HashMap::new(),
            strings: HashSet::new(),
            window: Times::new(window, 0.0),
            history: Times::new(history, history / HISTORY_SNAPSHOTS),
            history_due: false,
            now: f64::NEG_INFINITY,
            previous: f64::NEG_INFINITY,
        }
    }

    /// Returns whether an expression selects series of this family.
    pub(super) fn wants(&self, family: &str) -> bool {
        self.wanted.contains_key(family)
    }

    /// Begins a snapshot at `now`, in seconds of the monotonic clock.
    pub(super) fn begin(&mut self, now: f64) {
        self.previous = self.now;
        self.now = now;
        self.window.push(now);
        self.history_due = self.history.push(now);
    }

    /// Adds the current value of a series to the snapshot. Without an `id`, the
    /// labels identify the series within its family.
    pub(super) fn record(
        &mut self,
        family: &str,
        id: Option<u64>,
        labels: &ForEachLabel<'_>,
        sample: &Sample<'_>,
    ) {
        let Some(wanted) = self.wanted.get(family) else {
            return;
        };
        if !self.families.contains_key(family) {
            self.families.insert(family.to_owned(), Family::default());
        }
        let Some(family) = self.families.get_mut(family) else {
            return;
        };
        family.seen = self.now;
        let layout = family.layout(wanted, sample);
        let key = id.unwrap_or_else(|| hash(labels));
        let at = *family.index.entry(key).or_insert_with(|| {
            let mut all = Labels::new();
            labels(&mut |name, value| {
                all.push((
                    intern(&mut self.strings, name),
                    intern(&mut self.strings, value),
                ));
            });
            all.sort_unstable();
            let first = self.previous == f64::NEG_INFINITY;
            let series = Series::new(all, key, layout.clone(), !first);
            family.series.push(series);
            family.series.len() - 1
        });
        let was_absent = family.series[at].seen != self.previous;
        let series = &mut family.series[at];
        series.record(layout, sample, was_absent, &self.window);
        series.seen = self.now;
    }

    /// Ends the snapshot. Absent series are forgotten after a while, unless the
    /// snapshot is not `complete`.
    pub(super) fn finish(&mut self, complete: bool) {
        let mut removed = false;
        for family in self.families.values_mut() {
            if self.history_due {
                for series in &mut family.series {
                    series.record_history(&self.history);
                }
            }
            let before = family.series.len();
            if complete {
                family
                    .series
                    .retain(|series| self.now - series.seen <= ABSENT);
            }
            if family.series.len() < before {
                removed = true;
                let keys = family.series.iter().map(|series| series.key);
                family.index = keys.zip(0..).collect();
            }
        }
        if removed {
            self.strings.retain(|text| Arc::strong_count(text) > 1);
        }
    }

    /// Returns the series of the current snapshot that match a selector.
    pub(super) fn select<'a>(&'a self, selector: &'a Selector) -> impl Iterator<Item = &'a Series> {
        let family = self.families.get(&selector.metric).into_iter();
        family
            .flat_map(|family| &family.series)
            .filter(|series| series.seen == self.now)
            .filter(|series| {
                let accepts = |m: &Matcher| m.matches(label(&series.labels, &m.label));
                selector.matchers.iter().all(accepts)
            })
    }

    /// Returns whether a family that is known is absent from the current
    /// snapshot.
    pub(super) fn is_stale(&self, metric: &str) -> bool {
        let family = self.families.get(metric);
        family.is_some_and(|family| family.seen != self.now)
    }

    /// Returns the seconds between the snapshots that a rate of the series
    /// compares. `None` before the second one.
    pub(super) fn elapsed(&self, series: &Series) -> Option<f64> {
        series.window.elapsed(&self.window)
    }

    #[cfg(test)]
    pub(super) fn kept_values(&self) -> usize {
        let series = self.families.values().flat_map(|family| &family.series);
        series.map(Series::kept_values).sum()
    }
}

impl Family {
    fn layout(&mut self, wanted: &Wanted, sample: &Sample<'_>) -> Arc<Layout> {
        let same = |layout: &&Arc<Layout>| layout.bounds == sample.bounds();
        if let Some(layout) = self.layouts.iter().find(same) {
            return layout.clone();
        }
        self.layouts.retain(|layout| Arc::strong_count(layout) > 1);
        let layout = Arc::new(Layout::new(wanted, sample));
        self.layouts.push(layout.clone());
        layout
    }
}

fn find_wanted(expr: &Expr, wanted: &mut HashMap<String, Wanted>) {
    let mut of = |selector: &Selector, list: fn(&mut Wanted) -> &mut Vec<Part>| {
        let parts = list(wanted.entry(selector.metric.clone()).or_default());
        if !parts.contains(&selector.part) {
            parts.push(selector.part);
        }
    };
    match expr {
        Expr::Value(selector) => of(selector, |wanted| &mut wanted.current),
        Expr::Rate(selector) | Expr::Quantile { of: selector, .. } => {
            of(selector, |wanted| &mut wanted.window);
        }
        Expr::Increase(selector) => of(selector, |wanted| &mut wanted.history),
        Expr::Aggregate { of, .. }
        | Expr::Times { of, .. }
        | Expr::TopK { of, .. }
        | Expr::Since(of) => {
            find_wanted(of, wanted);
        }
        Expr::Ratio {
            numerator: a,
            denominator: b,
        }
        | Expr::OrZero { of: a, like: b }
        | Expr::Minus { left: a, right: b } => {
            find_wanted(a, wanted);
            find_wanted(b, wanted);
        }
    }
}

fn intern(strings: &mut HashSet<Arc<str>>, text: &str) -> Arc<str> {
    if let Some(known) = strings.get(text) {
        return known.clone();
    }
    let new: Arc<str> = text.into();
    strings.insert(new.clone());
    new
}

/// Hashes labels independent of their order.
fn hash(labels: &ForEachLabel<'_>) -> u64 {
    let mut sum = 0u64;
    labels(&mut |name, value| {
        let mut hasher = DefaultHasher::new();
        (name, value).hash(&mut hasher);
        sum = sum.wrapping_add(hasher.finish());
    });
    sum
}

#[cfg(test)]
mod tests {
    use prometheus::{HistogramOpts, HistogramVec, Registry};

    use super::super::source::MetricsSource;
    use super::*;

    /// Observes a histogram with 10 bounds and 100 label sets for 20
    /// minutes. Returns the values that are kept per series.
    fn kept_values(expr: &Expr) -> f64 {
        let registry = Registry::new();
        let bounds = (1..=10).map(f64::from).collect();
        let options = HistogramOpts::new("took_seconds", "Took.").buckets(bounds);
        let histogram = HistogramVec::new(options, &["route"]).unwrap();
        for route in 0..100 {
            histogram
                .with_label_values(&[format!("/{route}")])
                .observe(0.5);
        }
        registry.register(Box::new(histogram)).unwrap();
        let mut source = MetricsSource::from(registry);
        let mut store = Store::new([expr], 5.0, 900.0);
        for second in 0..1_200 {
            source.read(&mut store, f64::from(second)).unwrap();
        }
        store.kept_values() as f64 / 100.0
    }

    #[test]
    fn only_values_that_an_expression_names_are_kept() {
        let took = || Selector::new("took_seconds");
        // Twice the count of the current snapshot, and the snapshots of the window.
        assert_eq!(kept_values(&took().count().rate()), 2.0 + 6.0);
        assert_eq!(kept_values(&took().count().increase()), 2.0 + 91.0);
        assert_eq!(kept_values(&took().quantile(0.5)), 11.0 * (2.0 + 6.0));
    }

    #[test]
    fn a_series_that_disappears_is_dropped_after_a_minute() {
        let expr = Selector::new("took_seconds").count().rate();
        let mut store = Store::new([&expr], 5.0, 900.0);
        let labels = |add: &mut dyn FnMut(&str, &str)| add("route", "/concerts");
        for second in 0..100 {
            store.begin(f64::from(second));
            if second < 10 {
                let sample = Sample::Counter(f64::from(second));
                store.record("took_seconds", None, &labels, &sample);
            }
            store.finish(true);
            let kept = store.kept_values() > 0;
            assert_eq!(kept, second <= 9 + 60, "{second}");
            assert_eq!(store.strings.is_empty(), !kept, "{second}");
        }
    }
}
