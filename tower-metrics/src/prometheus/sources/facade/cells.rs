//! Values that the handles of the facade update.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use metrics::{CounterFn, GaugeFn, HistogramFn};

use crate::prometheus::other::{OtherBucket, OtherValue};

/// Value of a series.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Counter(Arc<CounterCell>),
    Gauge(Arc<GaugeCell>),
    Histogram(Arc<HistogramCell>),
}

impl Cell {
    pub(super) fn read(&self) -> OtherValue<'static> {
        let value = match self {
            Self::Counter(cell) => cell.0.load(Relaxed) as f64,
            Self::Gauge(cell) => cell.0.get(),
            Self::Histogram(cell) => return cell.read(),
        };
        OtherValue::Number {
            value,
            exemplar: None,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct CounterCell(AtomicU64);

impl CounterFn for CounterCell {
    /// Saturates, so that a counter never falls.
    fn increment(&self, value: u64) {
        let before = self.0.fetch_add(value, Relaxed);
        if before.checked_add(value).is_none() {
            self.0.store(u64::MAX, Relaxed);
        }
    }

    fn absolute(&self, value: u64) {
        self.0.fetch_max(value, Relaxed);
    }
}

#[derive(Debug, Default)]
pub(super) struct GaugeCell(AtomicF64);

impl GaugeFn for GaugeCell {
    fn increment(&self, value: f64) {
        self.0.add(value);
    }

    fn decrement(&self, value: f64) {
        self.0.add(-value);
    }

    fn set(&self, value: f64) {
        self.0.0.store(value.to_bits(), Relaxed);
    }
}

/// Histogram with classic buckets.
#[derive(Debug)]
pub(super) struct HistogramCell {
    bounds: Arc<[f64]>,
    /// One more than there are bounds: values above the last one.
    buckets: Box<[AtomicU64]>,
    sum: AtomicF64,
}

impl HistogramCell {
    pub(super) fn new(bounds: &Arc<[f64]>) -> Self {
        Self {
            bounds: bounds.clone(),
            buckets: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicF64::default(),
        }
    }

    fn read(&self) -> OtherValue<'static> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let mut count = 0;
        let buckets = bounds.zip(&self.buckets).map(|(bound, in_bucket)| {
            count += in_bucket.load(Relaxed);
            OtherBucket {
                upper_bound: bound,
                cumulative_count: count,
                exemplar: None,
            }
        });
        let buckets = buckets.collect();
        // The count is that of the buckets, so that it never contradicts them.
        OtherValue::Histogram {
            buckets,
            count,
            sum: self.sum.get(),
        }
    }
}

impl HistogramFn for HistogramCell {
    fn record(&self, value: f64) {
        self.record_many(value, 1);
    }

    fn record_many(&self, value: f64, count: usize) {
        // A sum that is not finite stays so for ever.
        if !value.is_finite() || count == 0 {
            return;
        }
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.buckets[bucket].fetch_add(count as u64, Relaxed);
        self.sum.add(value * count as f64);
    }
}

/// Floating-point number that threads add to.
#[derive(Debug, Default)]
struct AtomicF64(AtomicU64);

impl AtomicF64 {
    fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }

    fn add(&self, value: f64) {
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // The closure never returns `None`.
        let _ = self.0.fetch_update(Relaxed, Relaxed, add);
    }
}
