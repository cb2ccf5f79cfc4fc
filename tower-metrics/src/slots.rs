//! Per-thread slot leases. Guarantees a single writer per cell.
//!
//! Every thread that records requests leases a slot, its
//! [`thread_slot`](crate::thread_slot), and returns it when the thread exits. Only
//! the leaseholder writes to a slot's cells, so adding to a cell is a plain load and
//! store, without a locked instruction or contention for a cache line. The next leaseholder continues with the same cells. The
//! mutex that guards the free slots establishes the happens-before relation
//! between two leaseholders, so no write is lost.

use crate::sync::{Mutex, PoisonError};

/// Index of a writer. Returned slots are leased again, so that indices stay small.
pub(crate) type Slot = u32;

#[derive(Debug)]
pub(crate) struct Slots {
    free: Mutex<FreeList>,
}

#[derive(Debug)]
struct FreeList {
    returned: Vec<Slot>,
    next: Slot,
}

impl Slots {
    pub(crate) fn new() -> Self {
        Self {
            free: Mutex::new(FreeList {
                returned: Vec::new(),
                next: 0,
            }),
        }
    }

    pub(crate) fn lease(&self) -> Lease<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = free.returned.pop().unwrap_or_else(|| {
            free.next += 1;
            free.next - 1
        });
        Lease { slots: self, slot }
    }
}

/// Exclusive right to write to a slot's cells. Returns the slot on drop.
#[derive(Debug)]
pub(crate) struct Lease<'a> {
    slots: &'a Slots,
    slot: Slot,
}

impl Lease<'_> {
    #[inline]
    pub(crate) fn slot(&self) -> Slot {
        self.slot
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let mut free = self
            .slots
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        free.returned.push(self.slot);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_returned_slot_is_leased_again() {
        let slots = Slots::new();
        let (first, second) = (slots.lease(), slots.lease());
        assert_ne!(first.slot(), second.slot());
        let returned = first.slot();
        drop(first);
        assert_eq!(slots.lease().slot(), returned);
    }
}

/// `RUSTFLAGS="--cfg loom" cargo test -p tower-metrics --lib --no-default-features --features prometheus loom`
#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::cell::Cell;

    #[test]
    fn consecutive_leases_of_a_slot_lose_no_writes() {
        loom::model(|| {
            let slots = Arc::new(Slots::new());
            let cells: Arc<[Cell; 3]> = Arc::default();
            let threads: Vec<_> = (0..2)
                .map(|_| {
                    let (slots, cells) = (Arc::clone(&slots), Arc::clone(&cells));
                    thread::spawn(move || {
                        let lease = slots.lease();
                        cells[lease.slot() as usize].add(1);
                    })
                })
                .collect();
            let lease = slots.lease();
            cells[lease.slot() as usize].add(1);
            drop(lease);
            for thread in threads {
                thread.join().unwrap();
            }
            let counted: u64 = cells.iter().map(Cell::get).sum();
            assert_eq!(counted, 3);
        });
    }
}
