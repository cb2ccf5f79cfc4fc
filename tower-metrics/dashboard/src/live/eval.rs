//! Evaluates expressions over the [`Store`], with the results that PromQL has.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::sample::{Labels, label};
use super::series::Series;
use super::store::Store;
use crate::expr::{Aggregation, Expr};
use crate::selector::Selector;

/// A value with its labels.
pub(super) type LabeledValue = (Labels, f64);

type Visit<'a> = dyn FnMut(&[(Arc<str>, Arc<str>)], f64) + 'a;

/// The store at the time of its current snapshot.
#[derive(Clone, Copy, Debug)]
pub(super) struct Eval<'a> {
    pub(super) store: &'a Store,
    /// Unix seconds.
    pub(super) now: f64,
}

impl Eval<'_> {
    /// Returns all values of the expression.
    pub(super) fn samples(&self, expr: &Expr) -> Vec<LabeledValue> {
        let mut samples = Vec::new();
        self.each(expr, &mut |labels, value| {
            samples.push((labels.to_vec(), value))
        });
        samples
    }

    fn each(&self, expr: &Expr, visit: &mut Visit<'_>) {
        match expr {
            Expr::Value(selector) => {
                for series in self.store.select(selector) {
                    visit(&series.labels, series.value(selector.part));
                }
            }
            Expr::Rate(selector) => {
                for series in self.store.select(selector) {
                    if let Some(elapsed) = self.store.elapsed(series) {
                        let increase = series.window_increase(selector.part);
                        visit(&series.labels, increase / elapsed);
                    }
                }
            }
            Expr::Increase(selector) => {
                for series in self.store.select(selector) {
                    visit(&series.labels, series.history_increase(selector.part));
                }
            }
            Expr::Aggregate { op, by, of } => {
                for (labels, value) in self.aggregate(*op, by, of) {
                    visit(&labels, value);
                }
            }
            Expr::Quantile { q, of, by } => {
                for (labels, value) in self.quantiles(*q, of, by) {
                    visit(&labels, value);
                }
            }
            Expr::Ratio {
                numerator: part,
                denominator: whole,
            } => {
                let parts = self.by_labels(part);
                self.each(whole, &mut |labels, whole| {
                    if whole != 0.0 {
                        visit(labels, parts.get(labels).copied().unwrap_or(0.0) / whole);
                    }
                });
            }
            Expr::OrZero { of, like } => {
                let mut values = self.by_labels(of);
                self.each(like, &mut |labels, _| {
                    values.entry(labels.to_vec()).or_insert(0.0);
                });
                for (labels, value) in values {
                    visit(&labels, value);
                }
            }
            Expr::Minus { left, right } => {
                let rights = self.by_labels(right);
                self.each(left, &mut |labels, value| {
                    if let Some(right) = rights.get(labels) {
                        visit(labels, value - right);
                    }
                });
            }
            Expr::Times { of, factor } => {
                self.each(of, &mut |labels, value| visit(labels, value * factor));
            }
            Expr::TopK { k: n, of } => {
                let mut samples = self.samples(of);
                samples.sort_by(|(_, a), (_, b)| b.total_cmp(a));
                for (labels, value) in samples.iter().take(*n) {
                    visit(labels, *value);
                }
            }
            Expr::Since(of) => {
                self.each(of, &mut |labels, value| visit(labels, self.now - value));
            }
        }
    }

    fn by_labels(&self, expr: &Expr) -> BTreeMap<Labels, f64> {
        self.samples(expr).into_iter().collect()
    }

    fn aggregate(&self, op: Aggregation, by: &[String], of: &Expr) -> Vec<LabeledValue> {
        let mut groups: BTreeMap<String, (Labels, f64, f64)> = BTreeMap::new();
        let mut key = String::new();
        self.each(of, &mut |labels, value| {
            group_key(&mut key, labels, by);
            match groups.get_mut(&key) {
                Some((_, all, count)) => {
                    *all = match op {
                        Aggregation::Sum | Aggregation::Mean => *all + value,
                        Aggregation::Max => all.max(value),
                        Aggregation::Min => all.min(value),
                    };
                    *count += 1.0;
                }
                None => {
                    groups.insert(key.clone(), (kept(labels, by), value, 1.0));
                }
            }
        });
        let mean = op == Aggregation::Mean;
        let folded = |(labels, all, count)| (labels, if mean { all / count } else { all });
        groups.into_values().map(folded).collect()
    }

    fn quantiles(&self, q: f64, of: &Selector, by: &[String]) -> Vec<LabeledValue> {
        let mut groups: BTreeMap<String, (Labels, Buckets)> = BTreeMap::new();
        let mut key = String::new();
        for series in self.store.select(of) {
            group_key(&mut key, &series.labels, by);
            let increases = series.bucket_increases();
            match groups.get_mut(&key) {
                Some((_, buckets)) => buckets.add(series.bounds(), &increases),
                None => {
                    let buckets = Buckets::new(series.bounds().to_vec(), increases);
                    groups.insert(key.clone(), (kept(&series.labels, by), buckets));
                }
            }
        }
        let quantile = |(labels, buckets): (Labels, Buckets)| Some((labels, buckets.quantile(q)?));
        groups.into_values().filter_map(quantile).collect()
    }

    /// Returns the observations since the previous snapshot, added up over all series.
    pub(super) fn steps(&self, of: &Selector) -> Option<Buckets> {
        let mut series = self.store.select(of);
        let steps = Series::bucket_steps;
        let first = series.next()?;
        let mut buckets = Buckets::new(first.bounds().to_vec(), steps(first));
        for other in series {
            buckets.add(other.bounds(), &steps(other));
        }
        Some(buckets)
    }
}

fn group_key(key: &mut String, labels: &[(Arc<str>, Arc<str>)], by: &[String]) {
    key.clear();
    for name in by {
        key.push_str(label(labels, name));
        // The unit separator does not occur in label values.
        key.push('\u{1f}');
    }
}

fn kept(labels: &[(Arc<str>, Arc<str>)], by: &[String]) -> Labels {
    let named = labels
        .iter()
        .filter(|(name, _)| by.iter().any(|by| **by == **name));
    named.cloned().collect()
}

/// Cumulative counts of a histogram: one for each finite bound, and one of all observations.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Buckets {
    pub(super) bounds: Vec<f64>,
    cumulative: Vec<f64>,
}

impl Buckets {
    /// Creates a histogram. `cumulative` has one element more than `bounds`.
    pub(super) fn new(bounds: Vec<f64>, cumulative: Vec<f64>) -> Self {
        Self { bounds, cumulative }
    }

    /// Adds another histogram. If the bounds differ, a missing bucket counts as the next lower one,
    /// so that counts stay monotonic and no observation appears lower than it is.
    pub(super) fn add(&mut self, bounds: &[f64], cumulative: &[f64]) {
        if self.bounds == bounds {
            for (mine, more) in self.cumulative.iter_mut().zip(cumulative) {
                *mine += more;
            }
            return;
        }
        let mut union = [self.bounds.as_slice(), bounds].concat();
        union.sort_by(f64::total_cmp);
        union.dedup();
        let up_to = |bounds: &[f64], counts: &[f64], bound: f64| {
            let below = bounds.partition_point(|known| *known <= bound);
            below.checked_sub(1).map_or(0.0, |at| counts[at])
        };
        let mut sum: Vec<f64> = union
            .iter()
            .map(|b| up_to(&self.bounds, &self.cumulative, *b) + up_to(bounds, cumulative, *b))
            .collect();
        sum.push(self.total() + cumulative.last().copied().unwrap_or(0.0));
        *self = Self::new(union, sum);
    }

    pub(super) fn total(&self) -> f64 {
        self.cumulative.last().copied().unwrap_or(0.0)
    }

    /// Returns a quantile as `histogram_quantile` of PromQL does: interpolated linearly within its
    /// bucket, from 0 in the first one, and the highest finite bound if it lies above. `None` without
    /// observations.
    pub(super) fn quantile(&self, q: f64) -> Option<f64> {
        let total = self.total();
        let highest = self.bounds.last()?;
        if total.is_nan() || total <= 0.0 {
            return None;
        }
        let rank = q * total;
        let at = self.cumulative.partition_point(|count| *count < rank);
        let Some(&upper) = self.bounds.get(at) else {
            return Some(*highest);
        };
        if at == 0 && upper <= 0.0 {
            return Some(upper);
        }
        let (lower, below) = match at.checked_sub(1) {
            Some(before) => (self.bounds[before], self.cumulative[before]),
            None => (0.0, 0.0),
        };
        let within = self.cumulative[at] - below;
        Some(lower + (upper - lower) * (rank - below) / within)
    }

    /// Returns the count of each bucket. The last one has no upper bound.
    pub(super) fn each(&self) -> Vec<f64> {
        let mut below = 0.0;
        let counts = self.cumulative.iter().map(|count| {
            let within = count - below;
            below = *count;
            within
        });
        counts.collect()
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

    use super::super::source::MetricsSource;
    use super::*;

    /// A registry, and a store with a snapshot of it every second.
    struct Scene {
        registry: Registry,
        source: MetricsSource,
        store: Store,
        now: f64,
    }

    impl Scene {
        fn new(expressions: &[Expr]) -> Self {
            let registry = Registry::new();
            Self {
                source: registry.clone().into(),
                registry,
                store: Store::new(expressions, 5.0, 900.0),
                now: 0.0,
            }
        }

        fn second(&mut self) {
            self.source.read(&mut self.store, self.now).unwrap();
            self.now += 1.0;
        }

        fn counter(&self) -> IntCounterVec {
            let counter = IntCounterVec::new(Opts::new("hits_total", "Hits."), &["route"]).unwrap();
            self.registry.register(Box::new(counter.clone())).unwrap();
            counter
        }

        fn histogram(&self) -> HistogramVec {
            let options = HistogramOpts::new("took_seconds", "Took.").buckets(vec![0.1, 0.2, 0.4]);
            let histogram = HistogramVec::new(options, &["route"]).unwrap();
            self.registry.register(Box::new(histogram.clone())).unwrap();
            histogram
        }

        fn values(&self, expr: &Expr) -> Vec<f64> {
            let eval = Eval {
                store: &self.store,
                now: 1000.0,
            };
            eval.samples(expr)
                .into_iter()
                .map(|(_, value)| value)
                .collect()
        }
    }

    fn hits() -> Selector {
        Selector::new("hits_total")
    }

    #[test]
    fn a_rate_is_the_increase_per_second_over_the_window() {
        let expr = hits().rate().sum();
        let mut scene = Scene::new(std::slice::from_ref(&expr));
        let counter = scene.counter();
        counter.with_label_values(&["/"]).inc_by(1000);
        scene.second();
        assert_eq!(
            scene.values(&expr),
            [] as [f64; 0],
            "one snapshot has no rate"
        );
        for _ in 0..20 {
            counter.with_label_values(&["/"]).inc_by(30);
            scene.second();
        }
        assert_eq!(scene.values(&expr), [30.0]);
    }

    #[test]
    fn a_counter_reset_is_not_a_decrease() {
        let expr = hits().rate().sum();
        let mut scene = Scene::new(std::slice::from_ref(&expr));
        let counter = scene.counter();
        counter.with_label_values(&["/"]).inc_by(1000);
        scene.second();
        counter.with_label_values(&["/"]).inc_by(10);
        scene.second();
        counter.with_label_values(&["/"]).reset();
        counter.with_label_values(&["/"]).inc_by(20);
        scene.second();
        assert_eq!(scene.values(&expr), [15.0]);
    }

    #[test]
    fn a_series_that_appears_later_started_at_zero() {
        let (rate, rise) = (hits().rate().sum(), hits().increase().sum());
        let mut scene = Scene::new(&[rate.clone(), rise.clone()]);
        let counter = scene.counter();
        scene.second();
        counter.with_label_values(&["/new"]).inc_by(7);
        scene.second();
        assert_eq!(scene.values(&rate), [7.0]);
        assert_eq!(scene.values(&rise), [7.0]);
    }

    #[test]
    fn a_ratio_is_absent_without_a_denominator_and_zero_without_a_numerator() {
        let bad = hits().with("route", ["/bad"]).rate().sum();
        let ratio = bad.or_zero(hits().rate().sum()).ratio(hits().rate().sum());
        let mut scene = Scene::new(std::slice::from_ref(&ratio));
        let counter = scene.counter();
        counter.with_label_values(&["/"]).inc();
        scene.second();
        scene.second();
        assert_eq!(scene.values(&ratio), [] as [f64; 0]);
        counter.with_label_values(&["/"]).inc_by(3);
        scene.second();
        assert_eq!(scene.values(&ratio), [0.0]);
        counter.with_label_values(&["/bad"]).inc();
        scene.second();
        assert_eq!(scene.values(&ratio), [0.25]);
    }

    #[test]
    fn quantiles_are_interpolated_within_a_bucket() {
        let of = |q| Selector::new("took_seconds").quantile(q);
        let mut scene = Scene::new(&[of(0.5)]);
        let histogram = scene.histogram();
        histogram.with_label_values(&["/"]).observe(0.05);
        scene.second();
        (0..4).for_each(|_| histogram.with_label_values(&["/"]).observe(0.05));
        (0..4).for_each(|_| histogram.with_label_values(&["/b"]).observe(0.15));
        (0..2).for_each(|_| histogram.with_label_values(&["/b"]).observe(9.0));
        scene.second();
        let near = |q: f64, wanted: f64| {
            let value = scene.values(&of(q))[0];
            assert!((value - wanted).abs() < 1e-9, "{q}: {value}, not {wanted}");
        };
        near(0.2, 0.05);
        near(0.6, 0.15);
        near(0.99, 0.4);
        let steps = {
            let eval = Eval {
                store: &scene.store,
                now: 0.0,
            };
            eval.steps(&Selector::new("took_seconds")).unwrap().each()
        };
        assert_eq!(steps, [4.0, 4.0, 0.0, 2.0]);
    }

    #[test]
    fn histograms_with_different_bounds_add_up_monotonically() {
        let mut sum = Buckets::new(vec![0.1, 0.4], vec![1.0, 2.0, 3.0]);
        sum.add(&[0.2, 0.4], &[5.0, 6.0, 6.0]);
        assert_eq!(
            sum,
            Buckets::new(vec![0.1, 0.2, 0.4], vec![1.0, 6.0, 8.0, 9.0])
        );
    }

    proptest::proptest! {
        #[test]
        fn quantiles_lie_within_the_bounds_and_increase_with_the_rank(
            counts in proptest::collection::vec(0_u32..50, 4),
            low in 0.01_f64..0.99,
            more in 0.0_f64..0.5,
        ) {
            let mut below = 0.0;
            let cumulative = counts.iter().map(|count| { below += f64::from(*count); below });
            let buckets = Buckets::new(vec![0.1, 0.2, 0.4], cumulative.collect());
            let high = (low + more).min(0.999);
            match (buckets.quantile(low), buckets.quantile(high)) {
                (Some(low), Some(high)) => {
                    proptest::prop_assert!((0.0..=0.4).contains(&low) && low <= high + 1e-12);
                }
                (low, high) => proptest::prop_assert!(below == 0.0 && low.is_none() && high.is_none()),
            }
        }
    }
}
