//! Per-thread lookup of the values of connections.
//!
//! A connection may be read on one thread and written on another. Every operation adds
//! to the cells of the thread on which it runs, so that each cell has a single writer.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use super::cells::{ConnectionSeries, DurationCells, Histogram, ThreadConnections};
use crate::error_type::ErrorType;
use crate::slots::Slot;
use crate::thread_slot::{self, Cache};

thread_local! {
    /// Values of the recorder that this thread used last. Used only if they are of the
    /// thread's slot.
    static CURRENT: Cell<Option<&'static ThreadConnections>> = const { Cell::new(None) };
    static CACHE: Cache<Values> = RefCell::default();
}

/// A slot's values of all recorders.
#[derive(Default)]
struct Values {
    /// One for each recorder.
    threads: Vec<&'static ThreadConnections>,
    /// Cells of histograms with their index and error type.
    durations: Vec<(usize, ErrorType, &'static DurationCells)>,
}

impl Values {
    fn thread(
        &mut self,
        slot: Slot,
        series: &'static ConnectionSeries,
    ) -> &'static ThreadConnections {
        let known = self.threads.iter().find(|one| one.index == series.index);
        known.copied().unwrap_or_else(|| {
            let thread = series.thread(slot);
            self.threads.push(thread);
            thread
        })
    }

    fn cells(
        &mut self,
        slot: Slot,
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
        let cells = histogram.cells(slot, error_type);
        self.durations.push((histogram.index, error_type, cells));
        cells
    }
}

/// Compares the addresses first: `memcmp` of two empty strings, whose address is invalid,
/// takes more than 100 ns on processors with AVX-512.
fn is_same(a: ErrorType, b: ErrorType) -> bool {
    std::ptr::eq(a.as_str(), b.as_str()) || a == b
}

/// Calls `f` with this thread's values.
#[inline]
pub(super) fn with_thread(
    series: &'static ConnectionSeries,
    f: impl Fn(&'static ThreadConnections),
) {
    match CURRENT.get() {
        Some(thread) if thread.index == series.index && thread.slot == thread_slot::current() => {
            f(thread);
        }
        _ => find_thread(series, f),
    }
}

#[cold]
fn find_thread(series: &'static ConnectionSeries, f: impl Fn(&'static ThreadConnections)) {
    let find = |slot, cached: &mut Values| cached.thread(slot, series);
    thread_slot::with_cache(&CACHE, find, |thread| {
        CURRENT.set(Some(thread));
        f(thread);
    });
}

/// Records a duration in this thread's cells.
pub(super) fn record(histogram: &'static Histogram, error_type: ErrorType, duration: Duration) {
    let find = |slot, cached: &mut Values| cached.cells(slot, histogram, error_type);
    thread_slot::with_cache(&CACHE, find, |cells| histogram.record(cells, duration));
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::ConnectionNames;
    use super::*;

    #[test]
    fn an_exiting_thread_does_not_write_to_the_slot_of_another() {
        let series = ConnectionSeries::new(&ConnectionNames::new(str::to_owned)).unwrap();
        let series: &ConnectionSeries = Box::leak(Box::new(series));
        thread_slot::tests::check_exiting_thread(move || {
            let slot = Cell::new(None);
            with_thread(series, |thread| slot.set(Some(thread.slot)));
            slot.get().unwrap()
        });
    }
}
