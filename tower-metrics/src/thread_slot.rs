//! Slot of the current thread, which all recorders of the process share.
//!
//! A thread leases one slot when it first records something and returns it when it exits.
//! Recorders keep their own values for each slot and share the lease.
//!
//! # Guarantees
//!
//! - While a thread has a slot, no other thread has it. [`current`] returns the slot until the
//!   thread returns it, and a number that is no slot afterwards.
//! - An exiting thread that has returned its slot, and records because another thread-local
//!   holds a request or a connection, takes a temporary lease.
//! - The writes of a leaseholder happen before those of the next one, see
//!   [`slots`](crate::slots).
//!
//! A thread-local that refers to a slot's values may be destroyed before or after the lease,
//! depending on the platform. Such references are used only after their slot has been compared
//! with that of [`current`] or [`with`].
//!
//! # Memory
//!
//! A process has as many slots as it had threads that recorded something at the same time,
//! whichever recorders they used. A slot takes 4 bytes, once it has been returned, and what the
//! recorders keep for it. Vectors may have twice that capacity.

use std::cell::Cell;
#[cfg(feature = "prometheus")]
use std::cell::RefCell;
use std::sync::LazyLock;
#[cfg(feature = "prometheus")]
use std::thread::LocalKey;

use crate::slots::{Lease, Slot, Slots};

static SLOTS: LazyLock<Slots> = LazyLock::new(Slots::new);

/// Slot of a thread without a lease.
const NO_SLOT: Slot = Slot::MAX;

thread_local! {
    /// `NO_SLOT` before the thread's first request, and again after it has returned its slot.
    static SLOT: Cell<Slot> = const { Cell::new(NO_SLOT) };
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
        // Before the field is dropped, which returns the slot.
        SLOT.set(NO_SLOT);
    }
}

/// Returns this thread's slot, or a number that is greater than every slot if the thread has
/// none.
///
/// Takes no lease, which spares the hot path the check whether the thread-local of the lease is
/// initialized.
#[inline(always)]
pub(crate) fn current() -> Slot {
    SLOT.get()
}

/// Calls `f` with a slot whose values no other thread writes until `f` returns.
///
/// This is the thread's slot, which it leases on first use. An exiting thread that has returned
/// its slot takes a temporary lease.
#[inline]
pub(crate) fn with<T>(f: impl FnOnce(Slot) -> T) -> T {
    match LEASE.try_with(|lease| lease.0.slot()) {
        Ok(slot) => f(slot),
        Err(_) => {
            let lease = SLOTS.lease();
            f(lease.slot())
        }
    }
}

/// Thread-local cache of references to the values of one slot. Initially empty, and therefore
/// of slot 0 as much as of any other.
#[cfg(feature = "prometheus")]
pub(crate) type Cache<T> = RefCell<(Slot, T)>;

/// Calls `f` with what `find` finds in the cache for a slot, as [`with`] does. Empties the cache
/// first if it is of another slot.
#[cfg(feature = "prometheus")]
pub(crate) fn with_cache<T: Default, V: 'static, R>(
    cache: &'static LocalKey<Cache<T>>,
    find: impl Fn(Slot, &mut T) -> &'static V,
    f: impl FnOnce(&'static V) -> R,
) -> R {
    with(|slot| {
        let find = |cache: &mut (Slot, T)| {
            if cache.0 != slot {
                *cache = (slot, T::default());
            }
            find(slot, &mut cache.1)
        };
        let found = cache.try_with(|cache| find(&mut cache.borrow_mut()));
        // Fails if the thread is exiting and has destroyed its cache.
        f(found.unwrap_or_else(|_| find(&mut Default::default())))
    })
}

#[cfg(all(test, not(loom)))]
pub(crate) mod tests {
    use std::any::Any;
    use std::cell::RefCell;
    use std::sync::{Arc, Barrier, mpsc};
    use std::thread;

    use super::*;

    /// Sends what a thread observes while its thread-locals are destroyed.
    struct OnExit(mpsc::Sender<[Slot; 4]>);

    impl Drop for OnExit {
        fn drop(&mut self) {
            let leased = LEASE.try_with(|lease| lease.0.slot()).unwrap_or(NO_SLOT);
            let observed = with(|outer| [leased, current(), outer, with(|inner| inner)]);
            self.0.send(observed).unwrap();
        }
    }

    thread_local! {
        static EARLY: RefCell<Option<OnExit>> = const { RefCell::new(None) };
        static LATE: RefCell<Option<OnExit>> = const { RefCell::new(None) };
    }

    #[test]
    fn a_thread_keeps_its_slot_and_shares_it_with_no_other() {
        let own = with(|slot| slot);
        for _ in 0..3 {
            assert_eq!([current(), with(|slot| slot)], [own; 2]);
            thread::spawn(move || {
                assert_eq!(current(), NO_SLOT);
                let slot = with(|slot| slot);
                assert_eq!(current(), slot);
                assert_ne!(slot, own);
            })
            .join()
            .unwrap();
        }
    }

    #[test]
    fn an_exiting_thread_has_either_its_slot_or_temporary_leases() {
        let (sender, receiver) = mpsc::channel();
        let slot = thread::spawn(move || {
            // Initialized before and after the lease, because the order of destruction
            // depends on the platform.
            EARLY.set(Some(OnExit(sender.clone())));
            let slot = with(|slot| slot);
            LATE.set(Some(OnExit(sender)));
            slot
        })
        .join()
        .unwrap();
        let observed: Vec<_> = receiver.iter().collect();
        assert_eq!(observed.len(), 2);
        for [leased, current, outer, inner] in observed {
            assert_eq!(leased, current);
            if leased == NO_SLOT {
                assert_ne!(outer, inner, "a nested lease is another one");
            } else {
                assert_eq!([leased, outer, inner], [slot; 3]);
            }
        }
    }

    /// Checks that a recorder whose thread is exiting does not write to a slot that it has
    /// returned and another thread has leased. `record` returns the slot that it writes to.
    pub(crate) fn check_exiting_thread(record: impl Fn() -> Slot + Copy + Send + 'static) {
        struct OnDrop<F: FnMut()>(F);
        impl<F: FnMut()> Drop for OnDrop<F> {
            fn drop(&mut self) {
                (self.0)();
            }
        }
        thread_local! {
            static ON_EXIT: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
        }
        let (sender, receiver) = mpsc::channel();
        let barrier = Arc::new(Barrier::new(2));
        let other = Arc::clone(&barrier);
        let on_exit = OnDrop(move || {
            // Returned at once, so that the other thread gets the slot, unless another test does.
            record();
            barrier.wait();
            barrier.wait();
            sender.send(record()).unwrap();
        });
        thread::scope(|scope| {
            scope.spawn(move || {
                other.wait();
                let slot = record();
                other.wait();
                assert_ne!(receiver.recv().unwrap(), slot);
            });
            scope.spawn(move || {
                // Initialized before the lease, and destroyed after it on most platforms. The
                // caches are initialized while the thread is exiting.
                ON_EXIT.set(Some(Box::new(on_exit)));
                with(|_| ());
            });
        });
    }
}
