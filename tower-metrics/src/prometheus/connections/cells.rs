//! Series of connections and their values, as recorded by each thread.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::ConnectionNames;
use crate::bounds::{DURATION_BOUNDS, duration_bounds};
use crate::cell::Cell;
use crate::connections::{CONNECTION_BOUNDS, Rejection};
use crate::error::BuildError;
use crate::error_type::ErrorType;
use crate::prometheus::series::BySlot;
use crate::slots::Slot;

/// Maximum number of error types of a histogram. Their number is bounded by the
/// program; further ones are recorded as `_OTHER`.
const MAX_ERROR_TYPES: usize = 64;

/// Error types that are exposed from the start, so that `increase()` sees the first one.
const INITIAL_ERROR_TYPES: [ErrorType; 4] = [
    ErrorType::NONE,
    ErrorType::new("reset"),
    ErrorType::TIMEOUT,
    ErrorType::new("aborted"),
];

/// Indices are unique in the process, so that one cache per thread serves all recorders.
static NEXT_INDEX: AtomicUsize = AtomicUsize::new(0);

/// Series of the connections of one recorder. Lives as long as the process.
#[derive(Debug)]
pub(crate) struct ConnectionSeries {
    /// Index in every thread's cache.
    pub(super) index: usize,
    threads: BySlot<ThreadConnections>,
    pub(super) durations: Histogram,
    pub(super) handshakes: Histogram,
    rejected: [AtomicU64; Rejection::ALL.len()],
}

/// Values of connections as recorded by the leaseholder of one slot.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct ThreadConnections {
    /// [`ConnectionSeries::index`].
    pub(super) index: usize,
    pub(super) slot: Slot,
    /// Number of connections that have been opened.
    pub(super) opened: Cell,
    /// Bytes.
    pub(super) received: Cell,
    /// Bytes.
    pub(super) transmitted: Cell,
}

impl ConnectionSeries {
    pub(super) fn new(names: &ConnectionNames) -> Result<Self, BuildError> {
        let series = Self {
            index: NEXT_INDEX.fetch_add(1, Ordering::Relaxed),
            threads: BySlot::new(),
            durations: Histogram::new(&names.duration, &CONNECTION_BOUNDS)?,
            handshakes: Histogram::new(&names.tls_handshake, &DURATION_BOUNDS)?,
            rejected: Default::default(),
        };
        for error_type in INITIAL_ERROR_TYPES {
            series.durations.of(error_type);
        }
        Ok(series)
    }

    /// Returns the values of a slot.
    #[cold]
    pub(super) fn thread(&self, slot: Slot) -> &'static ThreadConnections {
        self.threads.get(slot, || ThreadConnections {
            index: self.index,
            slot,
            opened: Cell::default(),
            received: Cell::default(),
            transmitted: Cell::default(),
        })
    }

    pub(super) fn reject(&self, reason: Rejection) {
        self.rejected[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn rejected(&self, reason: Rejection) -> u64 {
        self.rejected[reason as usize].load(Ordering::Relaxed)
    }

    /// Returns the sum of a cell over all threads.
    pub(super) fn sum(&self, cell: impl Fn(&ThreadConnections) -> &Cell) -> u64 {
        let mut sum = 0u64;
        self.threads
            .for_each(|thread| sum = sum.wrapping_add(cell(thread).get()));
        sum
    }
}

/// Histogram of durations with the label `error_type`.
#[derive(Debug)]
pub(super) struct Histogram {
    /// Index in every thread's cache.
    pub(super) index: usize,
    /// In nanoseconds.
    upper: Box<[u64]>,
    /// In seconds.
    pub(super) bounds: Box<[f64]>,
    series: Mutex<Vec<&'static DurationSeries>>,
}

/// Series of a histogram.
#[derive(Debug)]
struct DurationSeries {
    error_type: ErrorType,
    cells: BySlot<DurationCells>,
}

/// Values of a histogram's series as recorded by one thread.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct DurationCells {
    /// Nanoseconds.
    sum: Cell,
    buckets: Box<[Cell]>,
}

/// Reading of one series.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) error_type: ErrorType,
    /// Not cumulative; the last bucket has no upper bound.
    pub(super) buckets: Vec<u64>,
    /// Nanoseconds.
    pub(super) sum: u64,
}

impl Histogram {
    fn new(name: &str, seconds: &[f64]) -> Result<Self, BuildError> {
        let bounds = duration_bounds(name, seconds, &[])?;
        Ok(Self {
            index: NEXT_INDEX.fetch_add(1, Ordering::Relaxed),
            upper: bounds.iter().map(|(upper, _)| *upper).collect(),
            bounds: bounds.iter().map(|(_, bound)| *bound).collect(),
            series: Mutex::default(),
        })
    }

    fn of(&self, error_type: ErrorType) -> &'static DurationSeries {
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let find = |all: &[&'static DurationSeries], wanted| {
            all.iter().copied().find(|one| one.error_type == wanted)
        };
        if let Some(found) = find(&all, error_type) {
            return found;
        }
        let error_type = if all.len() < MAX_ERROR_TYPES {
            error_type
        } else {
            ErrorType::new("_OTHER")
        };
        if let Some(found) = find(&all, error_type) {
            return found;
        }
        let series: &DurationSeries = Box::leak(Box::new(DurationSeries {
            error_type,
            cells: BySlot::new(),
        }));
        all.push(series);
        series
    }

    /// Returns a slot's cells for an error type.
    #[cold]
    pub(super) fn cells(&self, slot: Slot, error_type: ErrorType) -> &'static DurationCells {
        self.of(error_type).cells.get(slot, || DurationCells {
            sum: Cell::default(),
            buckets: (0..=self.upper.len()).map(|_| Cell::default()).collect(),
        })
    }

    pub(super) fn record(&self, cells: &DurationCells, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = self.upper.iter().position(|upper| nanoseconds <= *upper);
        cells.sum.add_to_sum(nanoseconds);
        // Release: a scrape that sees the end of a connection sees its beginning and its
        // bytes.
        cells.buckets[bucket.unwrap_or(self.upper.len())].add_release(1);
    }

    /// Reads all series.
    pub(super) fn read(&self) -> Vec<Reading> {
        let all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let read = |series: &&DurationSeries| {
            let mut reading = Reading {
                error_type: series.error_type,
                buckets: vec![0; self.upper.len() + 1],
                sum: 0,
            };
            series.cells.for_each(|cells| {
                for (total, cell) in reading.buckets.iter_mut().zip(&cells.buckets) {
                    *total = total.wrapping_add(cell.get_acquire());
                }
                reading.sum = reading.sum.saturating_add(cells.sum.get());
            });
            reading
        };
        all.iter().map(read).collect()
    }
}

impl Reading {
    /// Returns the number of observations.
    pub(super) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}
