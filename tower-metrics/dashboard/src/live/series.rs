//! A series over the windows of the evaluator, corrected for counter resets.

use std::sync::Arc;

use super::layout::Layout;
use super::ring::{Ring, Times};
use super::sample::{Labels, Sample};
use crate::selector::Part;

#[derive(Debug)]
pub(super) struct Series {
    pub(super) labels: Labels,
    pub(super) key: u64,
    layout: Arc<Layout>,
    /// Latest kept values.
    raw: Box<[f64]>,
    /// The kept values, corrected for counter resets.
    totals: Box<[f64]>,
    pub(super) window: Ring,
    pub(super) history: Ring,
    pub(super) seen: f64,
}

impl Series {
    pub(super) fn new(labels: Labels, key: u64, layout: Arc<Layout>, from_zero: bool) -> Self {
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

    /// Records the current value. `was_absent` if the previous snapshot lacked
    /// the series.
    pub(super) fn record(
        &mut self,
        layout: Arc<Layout>,
        sample: &Sample<'_>,
        was_absent: bool,
        window: &Times,
    ) {
        if !Arc::ptr_eq(&self.layout, &layout) {
            // Counts between other bounds are not comparable.
            self.reset(layout);
        } else if was_absent && !self.raw.is_empty() {
            // When an increase happened during the absence is unknown.
            self.window.clear();
        }
        self.update(sample);
        self.window.push(&self.layout.window, &self.totals, window);
    }

    /// Records a snapshot of the history.
    pub(super) fn record_history(&mut self, history: &Times) {
        self.history
            .push(&self.layout.history, &self.totals, history);
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
        self.buckets(|column| {
            let previous = self.window.previous(column, width);
            previous.unwrap_or_else(|| self.window.first(column))
        })
    }

    fn buckets(&self, before: impl Fn(usize) -> f64) -> Vec<f64> {
        let count = self.layout.bounds.len() + 1;
        let columns = self.layout.window.iter().enumerate();
        let buckets = columns.take_while(|(_, position)| self.layout.kept[**position] < count);
        buckets
            .map(|(column, position)| self.totals[*position] - before(column))
            .collect()
    }

    #[cfg(test)]
    pub(super) fn kept_values(&self) -> usize {
        2 * self.raw.len() + self.window.values.len() + self.history.values.len()
    }
}
