//! Per-thread lookup of the values of connections.
//!
//! A connection may be read on one thread and written on another. Every operation adds
//! to the cells of the thread on which it runs, so that each cell has a single writer.

use std::cell::{Cell, RefCell};
use std::sync::LazyLock;
use std::time::Duration;

use super::cells::{ConnectionSeries, DurationCells, Histogram, ThreadConnections};
use crate::error_type::ErrorType;
use crate::slots::{Lease, Slots};

static SLOTS: LazyLock<Slots> = LazyLock::new(Slots::new);

thread_local! {
    /// Values of the recorder that this thread used last. `None` before the first use, and
    /// again while its thread-locals are destroyed.
    static CURRENT: Cell<Option<&'static ThreadConnections>> = const { Cell::new(None) };
    static LOCAL: RefCell<Local> = RefCell::new(Local::new());
}

/// A thread's lease and what it caches.
struct Local {
    lease: Lease<'static>,
    /// One for each recorder.
    threads: Vec<&'static ThreadConnections>,
    /// Cells of histograms with their index and error type.
    durations: Vec<(usize, ErrorType, &'static DurationCells)>,
}

impl Local {
    fn new() -> Self {
        Self {
            lease: SLOTS.lease(),
            threads: Vec::new(),
            durations: Vec::new(),
        }
    }

    fn thread(&mut self, series: &'static ConnectionSeries) -> &'static ThreadConnections {
        let known = self.threads.iter().find(|one| one.index == series.index);
        let thread = known.copied().unwrap_or_else(|| {
            let thread = series.thread(self.lease.slot());
            self.threads.push(thread);
            thread
        });
        CURRENT.set(Some(thread));
        thread
    }

    fn cells(
        &mut self,
        histogram: &'static Histogram,
        error_type: ErrorType,
    ) -> &'static DurationCells {
        let known = self
            .durations
            .iter()
            .find(|(index, of, _)| *index == histogram.index && is_same(*of, error_type));
        if let Some((_, _, cells)) = known {
            return cells;
        }
        let cells = histogram.cells(self.lease.slot(), error_type);
        self.durations.push((histogram.index, error_type, cells));
        cells
    }
}

/// Compares the addresses first: `memcmp` of two empty strings, whose address is invalid,
/// takes more than 100 ns on processors with AVX-512.
fn is_same(a: ErrorType, b: ErrorType) -> bool {
    std::ptr::eq(a.as_str(), b.as_str()) || a == b
}

impl Drop for Local {
    fn drop(&mut self) {
        CURRENT.set(None);
    }
}

/// Calls `f` with this thread's values.
#[inline]
pub(super) fn with_thread(
    series: &'static ConnectionSeries,
    f: impl Fn(&'static ThreadConnections),
) {
    match CURRENT.get() {
        Some(thread) if thread.index == series.index => f(thread),
        _ => find_thread(series, f),
    }
}

#[cold]
fn find_thread(series: &'static ConnectionSeries, f: impl Fn(&'static ThreadConnections)) {
    match LOCAL.try_with(|local| local.borrow_mut().thread(series)) {
        Ok(thread) => f(thread),
        // The thread is exiting and has returned its slot. A connection that is dropped
        // with the thread's other locals takes a temporary lease.
        Err(_) => {
            let lease = SLOTS.lease();
            f(series.thread(lease.slot()));
        }
    }
}

/// Records a duration in this thread's cells.
pub(super) fn record(histogram: &'static Histogram, error_type: ErrorType, duration: Duration) {
    match LOCAL.try_with(|local| local.borrow_mut().cells(histogram, error_type)) {
        Ok(cells) => histogram.record(cells, duration),
        Err(_) => {
            let lease = SLOTS.lease();
            histogram.record(histogram.cells(lease.slot(), error_type), duration);
        }
    }
}
