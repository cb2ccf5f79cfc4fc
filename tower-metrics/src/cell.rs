//! Cell with a single writer.

use crate::sync::atomic::{AtomicU64, Ordering};

/// Single-writer cell: one thread at a time writes it, any thread reads it.
#[derive(Debug, Default)]
pub(crate) struct Cell(AtomicU64);

impl Cell {
    /// Adds with wrap-around, so that adding a two's complement subtracts.
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(n),
            Ordering::Relaxed,
        );
    }

    /// Adds to a sum, which saturates: a sum that wraps around would be a
    /// counter that decreases.
    #[cfg(feature = "prometheus")]
    #[inline]
    pub(crate) fn add_to_sum(&self, n: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).saturating_add(n),
            Ordering::Relaxed,
        );
    }

    /// Adds with a release store. Everything that happens before it, on this
    /// thread or on one that the request was on earlier, is visible to a thread
    /// that reads the value with [`get_acquire`](Self::get_acquire): a scrape
    /// that sees the end of a request also sees its beginning.
    #[inline]
    pub(crate) fn add_release(&self, n: u64) {
        self.0.store(
            self.0.load(Ordering::Relaxed).wrapping_add(n),
            Ordering::Release,
        );
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Synchronizes with [`add_release`](Self::add_release).
    pub(crate) fn get_acquire(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
