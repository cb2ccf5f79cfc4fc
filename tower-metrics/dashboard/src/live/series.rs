//! In-memory series over the evaluator's windows, corrected for counter resets.
//!
//! # Memory
//! A series takes about 250 bytes, 32 bytes per label, and 8 bytes for each value
//! that an expression names in each snapshot that the expression looks back on: those
//! of the rate window, and 90 of the history for an increase. The count of a
//! histogram is one value, a quantile or a heatmap takes one per bucket. Label
//! names and values are shared between series.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::expr::Expr;
use crate::selector::{Matcher, Part, Selector};

/// Label names and values, sorted by name.
pub(super) type Labels = Vec<(Arc<str>, Arc<str>)>;

/// Calls its argument with the name and value of each label.
pub(super) type ForEachLabel<'a> = dyn Fn(&mut dyn FnMut(&str, &str)) + 'a;

/// Seconds for which a series is kept after it disappears from the registry, so
/// that it continues where it was if it reappears.
const ABSENT: f64 = 60.0;
/// Snapshots kept of the history.
const HISTORY_SNAPSHOTS: f64 = 90.0;

/// Returns the value of a label, empty if it is absent.
pub(super) fn label<'a>(labels: &'a [(Arc<str>, Arc<str>)], name: &str) -> &'a str {
    labels
        .iter()
        .find(|(known, _)| **known == *name)
        .map_or("", |(_, value)| value)
}

/// Current value of a series.
#[derive(Clone, Copy, Debug)]
pub(super) enum Sample<'a> {
    Gauge(f64),
    Counter(f64),
    Histogram {
        /// Finite bounds, ascending.
        bounds: &'a [f64],
        /// Observations up to each bound.
        cumulative: &'a [f64],
        count: f64,
        sum: f64,
    },
}

/// The series that the expressions of a page select.
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

/// Parts of a family's series that expressions use.
#[derive(Debug, Default)]
struct Wanted {
    current: Vec<Part>,
    window: Vec<Part>,
    history: Vec<Part>,
}

/// Monotonic times of the snapshots within a window.
#[derive(Debug)]
struct Times {
    times: VecDeque<f64>,
    window: f64,
    step: f64,
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

/// Which values of a series are kept. The values of a histogram are its
/// cumulative buckets, its count and its sum; other series have one.
#[derive(Debug, Default)]
struct Layout {
    bounds: Vec<f64>,
    /// Indices of the kept values, ascending.
    kept: Vec<usize>,
    /// Positions in `kept`, ascending.
    window: Vec<usize>,
    history: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct Series {
    pub(super) labels: Labels,
    key: u64,
    layout: Arc<Layout>,
    /// Latest kept values.
    raw: Box<[f64]>,
    /// The same without resets.
    totals: Box<[f64]>,
    window: Ring,
    history: Ring,
    seen: f64,
}

/// Earlier totals, aligned with the end of the [`Times`] of its window.
#[derive(Debug)]
struct Ring {
    values: VecDeque<f64>,
    entries: usize,
    /// Whether the series was zero before the first entry, because the process
    /// has been observed for longer than that.
    from_zero: bool,
}

impl Times {
    fn new(window: f64, step: f64) -> Self {
        Self {
            times: VecDeque::new(),
            window,
            step,
        }
    }

    /// Adds a snapshot if one is due.
    fn push(&mut self, now: f64) -> bool {
        // Timers may fire slightly early.
        let last = self.times.back();
        let due = last.is_none_or(|last| now - last >= self.step - 0.5);
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
        let series = &mut family.series[at];
        if !Arc::ptr_eq(&series.layout, &layout) {
            // Counts between other bounds are not comparable.
            series.reset(layout);
        } else if series.seen != self.previous && series.window.entries > 0 {
            // When it was counted during the absence is unknown.
            series.window.clear();
        }
        series.update(sample);
        series.seen = self.now;
        series
            .window
            .push(&series.layout.window, &series.totals, &self.window);
    }

    /// Ends the snapshot. Absent series are forgotten after a while, unless the
    /// snapshot is not `complete`.
    pub(super) fn finish(&mut self, complete: bool) {
        let mut removed = false;
        for family in self.families.values_mut() {
            if self.history_due {
                for series in &mut family.series {
                    let (columns, totals) = (&series.layout.history, &series.totals);
                    series.history.push(columns, totals, &self.history);
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
        let times = &self.window.times;
        let first = if series.window.from_zero {
            0
        } else {
            times.len().saturating_sub(series.window.entries)
        };
        let (first, last) = (times.get(first)?, times.back()?);
        (last > first).then_some(last - first)
    }

    #[cfg(test)]
    pub(super) fn kept_values(&self) -> usize {
        let series = self.families.values().flat_map(|family| &family.series);
        let kept = |s: &Series| 2 * s.raw.len() + s.window.values.len() + s.history.values.len();
        series.map(kept).sum()
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

impl<'a> Sample<'a> {
    fn bounds(&self) -> &'a [f64] {
        match self {
            Self::Histogram { bounds, .. } => bounds,
            Self::Gauge(_) | Self::Counter(_) => &[],
        }
    }

    fn is_histogram(&self) -> bool {
        matches!(self, Self::Histogram { .. })
    }

    fn value(&self, index: usize) -> f64 {
        match self {
            Self::Gauge(value) | Self::Counter(value) => *value,
            Self::Histogram {
                cumulative,
                count,
                sum,
                ..
            } => match index.checked_sub(cumulative.len()) {
                None => cumulative[index],
                Some(0) => *count,
                Some(_) => *sum,
            },
        }
    }
}

impl Layout {
    fn new(wanted: &Wanted, sample: &Sample<'_>) -> Self {
        let mut layout = Self {
            bounds: sample.bounds().to_vec(),
            ..Self::default()
        };
        let indices = |parts: &[Part]| -> Vec<usize> {
            let mut indices = Vec::new();
            for part in parts {
                match part {
                    Part::Value if sample.is_histogram() => {
                        indices.extend(0..=layout.bounds.len());
                    }
                    part => indices.extend(layout.index(*part)),
                }
            }
            indices.sort_unstable();
            indices.dedup();
            indices
        };
        let (window, history) = (indices(&wanted.window), indices(&wanted.history));
        let mut kept = [indices(&wanted.current), window.clone(), history.clone()].concat();
        // The count of a histogram reveals its resets.
        kept.push(layout.bounds.len());
        kept.sort_unstable();
        kept.dedup();
        let positions = |indices: Vec<usize>| {
            let position = |index| kept.binary_search(&index).ok();
            indices.into_iter().filter_map(position).collect()
        };
        layout.window = positions(window);
        layout.history = positions(history);
        layout.kept = kept;
        layout
    }

    /// Returns the index of a part among all values of a series.
    fn index(&self, part: Part) -> Option<usize> {
        match part {
            Part::Value => Some(0),
            Part::Count => Some(self.bounds.len()),
            Part::Sum => Some(self.bounds.len() + 1),
            Part::Bucket(bound) => self.bounds.iter().position(|known| *known == bound),
        }
    }

    fn position(&self, part: Part) -> Option<usize> {
        self.kept.binary_search(&self.index(part)?).ok()
    }
}

impl Ring {
    fn new(from_zero: bool) -> Self {
        Self {
            values: VecDeque::new(),
            entries: 0,
            from_zero,
        }
    }

    fn clear(&mut self) {
        *self = Self::new(false);
    }

    fn push(&mut self, columns: &[usize], totals: &[f64], times: &Times) {
        if self.values.capacity() == 0 && times.step == 0.0 {
            // One snapshot a second, and the one before the window.
            let entries = times.window as usize + 3;
            self.values.reserve_exact(entries * columns.len());
        }
        self.values
            .extend(columns.iter().map(|column| totals[*column]));
        self.entries += 1;
        while self.entries > times.times.len() {
            self.values.drain(..columns.len());
            self.entries -= 1;
        }
        self.from_zero &= self.entries < times.times.len();
    }

    /// Returns the value at the start of the window.
    fn first(&self, column: usize) -> f64 {
        if self.from_zero {
            0.0
        } else {
            self.values.get(column).copied().unwrap_or(f64::NAN)
        }
    }
}

impl Series {
    fn new(labels: Labels, key: u64, layout: Arc<Layout>, from_zero: bool) -> Self {
        Self {
            labels,
            key,
            layout,
            raw: Box::default(),
            totals: Box::default(),
            window: Ring::new(from_zero),
            history: Ring::new(from_zero),
            seen: f64::NEG_INFINITY,
        }
    }

    /// Starts over with other bounds.
    fn reset(&mut self, layout: Arc<Layout>) {
        let labels = std::mem::take(&mut self.labels);
        *self = Self::new(labels, self.key, layout, false);
    }

    fn update(&mut self, sample: &Sample<'_>) {
        let layout = &self.layout;
        let raw: Box<[f64]> = layout.kept.iter().map(|at| sample.value(*at)).collect();
        if matches!(sample, Sample::Gauge(_)) || self.raw.is_empty() {
            self.totals.clone_from(&raw);
        } else {
            // A sum may decrease without a reset, a count may not.
            let count = layout.position(Part::Count).unwrap_or(0);
            let reset = raw[count] < self.raw[count];
            for ((total, now), before) in self.totals.iter_mut().zip(&raw).zip(&self.raw) {
                *total += if reset { *now } else { now - before };
            }
        }
        self.raw = raw;
    }

    /// Finite bounds of a histogram, ascending.
    pub(super) fn bounds(&self) -> &[f64] {
        &self.layout.bounds
    }

    /// Returns the current value.
    pub(super) fn value(&self, part: Part) -> f64 {
        let position = self.layout.position(part);
        position.map_or(f64::NAN, |position| self.raw[position])
    }

    /// Returns the increase over the rate window.
    pub(super) fn window_increase(&self, part: Part) -> f64 {
        self.increase(&self.window, &self.layout.window, part)
    }

    /// Returns the increase over the history.
    pub(super) fn history_increase(&self, part: Part) -> f64 {
        self.increase(&self.history, &self.layout.history, part)
    }

    /// Returns the value without resets.
    pub(super) fn total(&self, part: Part) -> f64 {
        let position = self.layout.position(part);
        position.map_or(f64::NAN, |position| self.totals[position])
    }

    fn increase(&self, ring: &Ring, columns: &[usize], part: Part) -> f64 {
        let Some(position) = self.layout.position(part) else {
            return f64::NAN;
        };
        let column = columns.binary_search(&position);
        column.map_or(f64::NAN, |column| {
            self.totals[position] - ring.first(column)
        })
    }

    /// Returns the increase over the rate window of each cumulative bucket, and
    /// of all observations last.
    pub(super) fn bucket_increases(&self) -> Vec<f64> {
        self.buckets(|column| self.window.first(column))
    }

    /// Returns the increase since the previous snapshot of each cumulative
    /// bucket, and of all observations last.
    pub(super) fn bucket_steps(&self) -> Vec<f64> {
        let width = self.layout.window.len();
        match self.window.entries {
            0 | 1 => self.bucket_increases(),
            entries => self.buckets(|column| self.window.values[(entries - 2) * width + column]),
        }
    }

    fn buckets(&self, before: impl Fn(usize) -> f64) -> Vec<f64> {
        let count = self.layout.bounds.len() + 1;
        let columns = self.layout.window.iter().enumerate();
        let buckets = columns.take_while(|(_, position)| self.layout.kept[**position] < count);
        buckets
            .map(|(column, position)| self.totals[*position] - before(column))
            .collect()
    }
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
    fn a_series_that_disappears_is_forgotten_after_a_minute() {
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
