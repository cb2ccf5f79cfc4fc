//! Who may write to which cells.
//!
//! Every thread that records leases a slot and hands it back when it ends. A
//! slot's cells are written by its leaseholder alone, so adding to one is a
//! load and a store: no locked instruction, and no cache line that two cores
//! fight over. The next leaseholder goes on with the cells as they are. The
//! mutex through which the slot passes makes the last holder's writes visible
//! to the next one, so nothing is lost.

use super::sync::{Mutex, PoisonError};

/// A place among the writers. Small numbers, used again when they come free.
pub(crate) type Slot = u32;

#[derive(Debug)]
pub(crate) struct Slots {
    inner: Mutex<Free>,
}

#[derive(Debug)]
struct Free {
    returned: Vec<Slot>,
    next: Slot,
}

impl Slots {
    pub(crate) fn new() -> Self {
        Self {
            inner: Mutex::new(Free {
                returned: Vec::new(),
                next: 0,
            }),
        }
    }

    pub(crate) fn lease(&self) -> Lease<'_> {
        let mut free = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = free.returned.pop().unwrap_or_else(|| {
            free.next += 1;
            free.next - 1
        });
        Lease { slots: self, slot }
    }
}

/// The right to write to a slot's cells.
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
            .inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        free.returned.push(self.slot);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_is_leased_again() {
        let slots = Slots::new();
        let (first, second) = (slots.lease(), slots.lease());
        assert_ne!(first.slot(), second.slot());
        let returned = first.slot();
        drop(first);
        assert_eq!(slots.lease().slot(), returned);
    }
}

/// `RUSTFLAGS="--cfg loom" cargo test -p tower-metrics --lib --no-default-features loom`
#[cfg(all(test, loom))]
mod loom_tests {
    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::prometheus::cells::Cell;

    #[test]
    fn a_slot_that_is_handed_on_loses_nothing() {
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
