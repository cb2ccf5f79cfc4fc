//! Number of requests in flight of a series.
//!
//! Each of the first threads has its own counts, which it writes without a locked
//! instruction. Further threads share atomic counts.

use std::cell;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cell::Cell;
use crate::slots::{Lease, Slot, Slots};

static SLOTS: LazyLock<Slots> = LazyLock::new(Slots::new);

/// Slot of a thread without a lease.
const NO_SLOT: Slot = Slot::MAX;

/// Number of slots with their own counts.
const FIRST_THREADS: usize = 16;

thread_local! {
    /// This thread's slot: `NO_SLOT` before its first request, and again while its
    /// thread-locals are destroyed.
    static SLOT: cell::Cell<Slot> = const { cell::Cell::new(NO_SLOT) };
    static LEASE: ThreadLease = ThreadLease::new();
}

struct ThreadLease(Lease<'static>);

impl ThreadLease {
    fn new() -> Self {
        let lease = SLOTS.lease();
        SLOT.set(lease.slot());
        Self(lease)
    }
}

impl Drop for ThreadLease {
    fn drop(&mut self) {
        SLOT.set(NO_SLOT);
    }
}

/// Number of requests in flight: those that have begun less those that have ended.
///
/// Takes 1,088 bytes: 64 for each of the first 16 threads, and 64 for all others.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    first: [ThreadCounts; FIRST_THREADS],
    others: SharedCounts,
}

/// Counts of the leaseholder of one slot. A request may begin on one thread and end on
/// another. The alignment prevents false sharing.
#[derive(Debug, Default)]
#[repr(align(64))]
struct ThreadCounts {
    begun: Cell,
    ended: Cell,
}

#[derive(Debug, Default)]
#[repr(align(64))]
struct SharedCounts {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl InFlight {
    #[inline]
    pub(super) fn begin(&self) {
        // `NO_SLOT` is not one of the first slots.
        match self.first.get(SLOT.get() as usize) {
            Some(thread) => thread.begun.add(1),
            None => self.begin_elsewhere(),
        }
    }

    #[inline]
    pub(super) fn end(&self) {
        match self.first.get(SLOT.get() as usize) {
            Some(thread) => thread.ended.add_release(1),
            None => self.end_elsewhere(),
        }
    }

    #[inline(never)]
    fn begin_elsewhere(&self) {
        match self.leased() {
            Some(thread) => thread.begun.add(1),
            None => _ = self.others.begun.fetch_add(1, Ordering::Relaxed),
        }
    }

    #[inline(never)]
    fn end_elsewhere(&self) {
        match self.leased() {
            Some(thread) => thread.ended.add_release(1),
            None => _ = self.others.ended.fetch_add(1, Ordering::Release),
        }
    }

    /// Takes the lease of this thread, unless it has one, and returns its counts. Returns
    /// `None` if the slot is beyond the first, or if the thread is exiting and has returned
    /// its slot.
    fn leased(&self) -> Option<&ThreadCounts> {
        let slot = LEASE.try_with(|lease| lease.0.slot()).ok()?;
        self.first.get(slot as usize)
    }

    /// Returns the number of requests in flight, which is never negative.
    pub(super) fn get(&self) -> i64 {
        // In this order: a reader that sees the end of a request also sees its beginning.
        let ended = self.first.iter().map(|thread| thread.ended.get_acquire());
        let ended = ended.fold(self.others.ended.load(Ordering::Acquire), u64::wrapping_add);
        let begun = self.first.iter().map(|thread| thread.begun.get());
        let begun = begun.fold(self.others.begun.load(Ordering::Relaxed), u64::wrapping_add);
        begun.wrapping_sub(ended) as i64
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn requests_of_more_threads_than_have_their_own_counts_are_counted() {
        let in_flight = InFlight::default();
        let threads = 2 * FIRST_THREADS;
        let begun = Barrier::new(threads + 1);
        let ended = Barrier::new(threads + 1);
        thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    in_flight.begin();
                    in_flight.begin();
                    begun.wait();
                    in_flight.end();
                    ended.wait();
                });
            }
            begun.wait();
            ended.wait();
            assert_eq!(in_flight.get(), threads as i64);
        });
        assert_eq!(in_flight.get(), threads as i64);
        assert!(in_flight.others.begun.load(Ordering::Relaxed) > 0);
        for _ in 0..threads {
            in_flight.end();
        }
        assert_eq!(in_flight.get(), 0);
    }

    #[test]
    fn a_request_that_ends_while_its_thread_exits_is_counted() {
        struct Request;
        static IN_FLIGHT: LazyLock<InFlight> = LazyLock::new(InFlight::default);
        thread_local!(static REQUEST: cell::RefCell<Option<Request>> = const { cell::RefCell::new(None) });
        impl Drop for Request {
            fn drop(&mut self) {
                IN_FLIGHT.end();
            }
        }

        let thread = thread::spawn(|| {
            // Accessed first before the thread's lease, so that it is destroyed after it.
            REQUEST.with_borrow_mut(|request| {
                IN_FLIGHT.begin();
                *request = Some(Request);
            });
        });
        thread.join().unwrap();
        assert_eq!(IN_FLIGHT.get(), 0);
    }
}
