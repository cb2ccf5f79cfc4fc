//! Age of the oldest request in flight, so that a request that never ends is visible.
//!
//! Durations are recorded when requests end. Meanwhile, the state of each request has a
//! [`StartCell`], which other threads can read. One relaxed store writes the series and
//! the start of a request when it begins, and a second one clears the cell when its
//! duration ends. A reader walks through the cells of the process and takes the earliest
//! start of each series.
//!
//! # Protocol
//!
//! The series and the start are one word, so that a reader sees a request, no request,
//! or the next one, but never the start of one with the series of another. Nothing else
//! is read through the cell, which is why relaxed loads and stores suffice. The stores of
//! a request that moves to another thread are ordered by whatever moves it.
//!
//! # Memory
//!
//! State is pooled. A cell is registered when state is allocated, not when a request
//! begins, so that the hot path takes no lock. The cells of freed state are kept for
//! reuse: a process has as many cells of 64 bytes, and references of 16 bytes to them, as
//! it had requests in flight at its peak plus 128 per thread.

use std::ops::DerefMut;
use std::sync::OnceLock;
use std::time::Duration;

use crate::clock::{Instant, ticks_duration};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, PoisonError};

/// Oldest request in flight of one series of a layer, which
/// [`Recorder::watch_oldest_request`](crate::Recorder::watch_oldest_request) receives.
#[derive(Clone, Copy, Debug)]
pub struct OldestRequest(SeriesNumber);

impl OldestRequest {
    /// Returns the age of the oldest request, or `None` if no request is in flight.
    ///
    /// It has a resolution of about a millisecond. A request is no longer part of it once
    /// its [duration](crate::CompletedRequest::duration) is known: an event stream or an
    /// upgrade has an age until its response head.
    ///
    /// Reads a cache line for each request that is in flight in the process, in any
    /// layer.
    pub fn age(&self) -> Option<Duration> {
        let mut oldest = OldestRequests::default();
        oldest.read();
        oldest.age(*self)
    }
}

/// Number of a series, unique in the process. Counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeriesNumber(u32);

/// Bits of a word for the start.
const START_BITS: u32 = 40;
const MAX_START: u64 = (1 << START_BITS) - 1;
const MAX_SERIES: u32 = (1 << (u64::BITS - START_BITS)) - 1;

impl SeriesNumber {
    /// Returns the next number, or `None` after 16 million, more series than a process
    /// can hold.
    pub(crate) fn next() -> Option<Self> {
        static LAST: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let next = |last| (last < MAX_SERIES).then_some(last + 1);
        let last = LAST.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        last.ok().map(|last| Self(last + 1))
    }

    pub(crate) fn oldest_request(self) -> OldestRequest {
        OldestRequest(self)
    }
}

/// Series and start of a request in flight, in 24 and 40 bits, or 0.
///
/// The alignment prevents false sharing between the threads of two requests.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Word(AtomicU64);

/// Cell of a request's state. Returns to [`Cells`] on drop.
#[derive(Debug)]
pub(crate) struct StartCell {
    word: &'static Word,
    cells: &'static Cells,
}

impl StartCell {
    #[cold]
    pub(crate) fn register() -> Self {
        Cells::of_process().lease()
    }

    /// Makes a request visible that began at `start`.
    #[inline(always)]
    pub(crate) fn begin(&self, series: SeriesNumber, start: Instant) {
        self.set(series, start.ticks());
    }

    #[inline(always)]
    fn set(&self, series: SeriesNumber, ticks: u64) {
        let word = u64::from(series.0) << START_BITS | ticks & MAX_START;
        self.word.0.store(word, Ordering::Relaxed);
    }

    /// Hides the request.
    #[inline(always)]
    pub(crate) fn clear(&self) {
        self.word.0.store(0, Ordering::Relaxed);
    }
}

impl Drop for StartCell {
    fn drop(&mut self) {
        self.clear();
        let free = &mut self.cells.lock().free;
        free.push(self.word);
    }
}

/// Cells of a process.
#[derive(Debug, Default)]
struct Cells(Mutex<Registered>);

#[derive(Debug, Default)]
struct Registered {
    all: Vec<&'static Word>,
    free: Vec<&'static Word>,
}

impl Cells {
    fn of_process() -> &'static Self {
        static CELLS: OnceLock<Cells> = OnceLock::new();
        CELLS.get_or_init(Self::default)
    }

    fn lock(&self) -> impl DerefMut<Target = Registered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lease(&'static self) -> StartCell {
        let mut registered = self.lock();
        let word = registered.free.pop().unwrap_or_else(|| {
            let word: &Word = Box::leak(Box::default());
            registered.all.push(word);
            word
        });
        StartCell { word, cells: self }
    }
}

/// Reading of all cells. Reuses its memory for the next one.
#[derive(Debug, Default)]
pub(crate) struct OldestRequests {
    now: u64,
    words: Vec<&'static Word>,
    /// Earliest start of each series, by its number.
    starts: Vec<u64>,
}

/// Start of a series without requests in flight.
const NONE: u64 = u64::MAX;

impl OldestRequests {
    pub(crate) fn read(&mut self) {
        self.read_cells(Cells::of_process());
        self.now = Instant::now().ticks();
    }

    fn read_cells(&mut self, cells: &Cells) {
        // Copied, so that threads do not wait for the walk.
        self.words.clone_from(&cells.lock().all);
        self.starts.clear();
        for word in &self.words {
            let word = word.0.load(Ordering::Relaxed);
            let series = (word >> START_BITS) as usize;
            if series >= self.starts.len() {
                self.starts.resize(series + 1, NONE);
            }
            self.starts[series] = self.starts[series].min(word & MAX_START);
        }
    }

    /// Returns the age of the oldest request of a series.
    pub(crate) fn age(&self, OldestRequest(series): OldestRequest) -> Option<Duration> {
        let start = self.starts.get(series.0 as usize);
        let start = start.copied().filter(|start| *start != NONE)?;
        Some(ticks_duration(self.now).saturating_sub(ticks_duration(start)))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_start_of_each_series_is_read() {
        let cells: &Cells = Box::leak(Box::default());
        let (one, other) = (SeriesNumber(1), SeriesNumber(MAX_SERIES));
        let mut leased: Vec<_> = [(one, 7), (other, 3), (one, MAX_START)]
            .map(|(series, start)| {
                let cell = cells.lease();
                cell.set(series, start);
                cell
            })
            .into();
        let mut reading = OldestRequests::default();
        let mut read = || {
            reading.read_cells(cells);
            [one, other].map(|series| reading.starts[series.0 as usize])
        };
        assert_eq!(read(), [7, 3]);
        leased[0].clear();
        assert_eq!(read(), [MAX_START, 3]);
        leased.truncate(1);
        leased[0].set(other, 8);
        leased.push(cells.lease());
        leased[1].set(one, 9);
        assert_eq!(read(), [9, 8]);
        assert_eq!(cells.lock().all.len(), 3);
    }
}

/// `RUSTFLAGS="--cfg loom" cargo test -p tower-metrics --lib --no-default-features --features prometheus loom`
#[cfg(all(test, loom))]
mod loom_tests {
    use loom::thread;

    use super::*;

    /// Two requests, one after the other, have the same cell on different threads.
    #[test]
    fn a_reader_sees_the_start_of_a_series_or_nothing() {
        loom::model(|| {
            let cells: &Cells = Box::leak(Box::default());
            let first = cells.lease();
            let threads = [
                thread::spawn(move || {
                    first.set(SeriesNumber(1), 10);
                    drop(first);
                }),
                thread::spawn(move || {
                    let second = cells.lease();
                    second.set(SeriesNumber(2), 20);
                    second.clear();
                }),
            ];
            let mut reading = OldestRequests::default();
            reading.read_cells(cells);
            for (series, start) in [(1, 10), (2, 20)] {
                let read = *reading.starts.get(series).unwrap_or(&NONE);
                assert!(read == start || read == NONE, "{series} started at {read}");
            }
            for thread in threads {
                thread.join().unwrap();
            }
            reading.read_cells(cells);
            assert!(reading.starts[1..].iter().all(|start| *start == NONE));
        });
    }
}
