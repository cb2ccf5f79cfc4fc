//! Number of requests in flight of a series.
//!
//! Each of the first threads has its own counts, which it writes without a locked
//! instruction. Further threads share atomic counts.

use crate::cell::Cell;
use crate::slots::Slot;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::thread_slot;

/// Number of slots with their own counts. One in a model, which is explored completely.
const FIRST_THREADS: usize = if cfg!(loom) { 1 } else { 16 };

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
        // A thread without a slot is not one of the first ones.
        match self.first.get(thread_slot::current() as usize) {
            Some(thread) => thread.begun.add(1),
            None => self.begin_elsewhere(),
        }
    }

    #[inline]
    pub(super) fn end(&self) {
        match self.first.get(thread_slot::current() as usize) {
            Some(thread) => thread.ended.add_release(1),
            None => self.end_elsewhere(),
        }
    }

    #[inline(never)]
    fn begin_elsewhere(&self) {
        thread_slot::with(|slot| self.begin_in(slot));
    }

    #[inline(never)]
    fn end_elsewhere(&self) {
        thread_slot::with(|slot| self.end_in(slot));
    }

    fn begin_in(&self, slot: Slot) {
        match self.first.get(slot as usize) {
            Some(thread) => thread.begun.add(1),
            None => _ = self.others.begun.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn end_in(&self, slot: Slot) {
        match self.first.get(slot as usize) {
            Some(thread) => thread.ended.add_release(1),
            None => _ = self.others.ended.fetch_add(1, Ordering::Release),
        }
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

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cell;
    use std::sync::{Barrier, LazyLock};
    use std::thread;

    use super::*;

    #[test]
    fn the_memory_of_the_counts_is_as_documented() {
        assert_eq!(size_of::<InFlight>(), 1088);
    }

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

/// `RUSTFLAGS="--cfg loom" cargo test -p tower-metrics --lib --no-default-features --features opentelemetry loom`
///
/// Slot 0 has its own counts, and further slots share theirs.
#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::slots::Slots;

    #[test]
    fn a_reader_that_sees_the_end_of_a_request_sees_its_beginning() {
        for (begins, ends) in [(0, 1), (1, 0), (1, 2)] {
            loom::model(move || {
                let in_flight = Arc::new(InFlight::default());
                let beginner = {
                    let in_flight = Arc::clone(&in_flight);
                    thread::spawn(move || in_flight.begin_in(begins))
                };
                let reader = {
                    let in_flight = Arc::clone(&in_flight);
                    thread::spawn(move || {
                        let read = in_flight.get();
                        assert!((0..=1).contains(&read), "{read} in flight");
                    })
                };
                // The request has moved to this thread.
                beginner.join().unwrap();
                in_flight.end_in(ends);
                reader.join().unwrap();
                assert_eq!(in_flight.get(), 0);
            });
        }
    }

    #[test]
    fn consecutive_and_concurrent_leaseholders_lose_no_counts() {
        let counts: [(fn(&InFlight, Slot), i64); 2] =
            [(InFlight::begin_in, 3), (InFlight::end_in, -3)];
        for (count, counted) in counts {
            loom::model(move || {
                let slots = Arc::new(Slots::new());
                let in_flight = Arc::new(InFlight::default());
                let threads: Vec<_> = (0..2)
                    .map(|_| {
                        let (slots, in_flight) = (Arc::clone(&slots), Arc::clone(&in_flight));
                        thread::spawn(move || count(&in_flight, slots.lease().slot()))
                    })
                    .collect();
                count(&in_flight, slots.lease().slot());
                for thread in threads {
                    thread.join().unwrap();
                }
                assert_eq!(in_flight.get(), counted);
            });
        }
    }
}
