//! Per-thread pool of boxes, so that a request does not allocate in steady state.

use std::any::Any;
use std::cell::{Cell, RefCell};

/// Maximum number of boxes that a thread keeps.
///
/// A thread whose requests all end on another thread finds its pool empty and
/// allocates.
const MAX: usize = 128;

/// Stack of boxes.
///
/// The top is separate: one exchange takes or returns a box while the thread has few
/// requests in flight, where a `Vec` compares and stores its length and checks for
/// growth.
struct Pool {
    top: Cell<Option<Box<dyn Any>>>,
    below: RefCell<Vec<Box<dyn Any>>>,
}

thread_local! {
    static POOL: Pool = const {
        Pool {
            top: Cell::new(None),
            below: RefCell::new(Vec::new()),
        }
    };
}

/// Takes a box of type `T` from the pool. Its contents are as they were when it was
/// returned.
#[inline(always)]
pub(crate) fn take<T: 'static>() -> Option<Box<T>> {
    let top = POOL.try_with(|pool| pool.top.take());
    match top.ok().flatten().map(|top| top.downcast()) {
        Some(Ok(top)) => Some(top),
        Some(Err(other)) => take_below(Some(other)),
        None => take_below(None),
    }
}

/// Takes the topmost box of type `T` below the top. `top` has another type, because a
/// layer with another type of recorder runs on the same thread, and goes back.
#[inline(never)]
fn take_below<T: 'static>(top: Option<Box<dyn Any>>) -> Option<Box<T>> {
    let taken = POOL.try_with(|pool| {
        pool.top.set(top);
        let mut below = pool.below.borrow_mut();
        let found = below.iter().rposition(|pooled| pooled.is::<T>());
        below.swap_remove(found?).downcast().ok()
    });
    taken.ok().flatten()
}

/// Returns a box to the pool.
#[inline(always)]
pub(crate) fn put<T: 'static>(item: Box<T>) {
    // Fails during thread shutdown, where the box is freed instead.
    let previous = POOL.try_with(|pool| pool.top.replace(Some(item)));
    if let Ok(Some(previous)) = previous {
        put_below(previous);
    }
}

/// Keeps the previous top. In a full pool, it replaces a box of another type if its type
/// has less than half of the pool, so that the recorder that fills the pool first does
/// not starve the others.
#[inline(never)]
fn put_below(item: Box<dyn Any>) {
    let _ = POOL.try_with(|pool| {
        let mut below = pool.below.borrow_mut();
        if below.len() < MAX - 1 {
            return below.push(item);
        }
        let same_type = |pooled: &&Box<dyn Any>| (***pooled).type_id() == (*item).type_id();
        if below.iter().filter(same_type).count() < MAX / 2 - 1
            && let Some(at) = below.iter().position(|pooled| !same_type(&pooled))
        {
            below[at] = item;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pooled_box_keeps_its_contents() {
        assert_eq!(take::<u8>(), None);
        put(Box::new(7_u8));
        assert_eq!(take::<u8>(), Some(Box::new(7)));
        assert_eq!(take::<u8>(), None);
    }

    #[test]
    fn boxes_of_two_types_do_not_evict_each_other() {
        put(Box::new("text"));
        assert_eq!(take::<u8>(), None);
        put(Box::new(7_u8));
        for _ in 0..3 {
            let text = take::<&str>().unwrap();
            put(text);
            let number = take::<u8>().unwrap();
            put(number);
        }
        assert_eq!(take::<&str>(), Some(Box::new("text")));
        assert_eq!(take::<u8>(), Some(Box::new(7)));
        assert_eq!(take::<u8>(), None);
    }

    #[test]
    fn a_full_pool_makes_room_for_a_second_type() {
        for number in 0..MAX {
            put(Box::new(number));
        }
        for _ in 0..MAX {
            put(Box::new("text"));
        }
        assert_eq!(std::iter::from_fn(take::<&str>).count(), MAX / 2);
        assert_eq!(std::iter::from_fn(take::<usize>).count(), MAX / 2);
    }

    #[test]
    fn a_pool_is_bounded() {
        for number in 0..2 * MAX {
            put(Box::new(number));
        }
        assert_eq!(std::iter::from_fn(take::<usize>).count(), MAX);
    }
}
