//! Per-thread pool of boxes, so that a request does not allocate in steady state.

use std::any::Any;
use std::cell::RefCell;

/// Maximum number of boxes that a thread keeps.
///
/// A thread whose requests all end on another thread finds its pool empty and
/// allocates.
const MAX: usize = 128;

thread_local! {
    static BOXES: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

/// Takes a box of type `T` from the pool. Its contents are as they were when it was
/// returned.
#[inline]
pub(crate) fn take<T: 'static>() -> Option<Box<T>> {
    let taken = BOXES.try_with(|boxes| {
        let mut boxes = boxes.borrow_mut();
        match boxes.pop()?.downcast() {
            Ok(last) => Some(last),
            Err(other) => take_below(&mut boxes, other),
        }
    });
    taken.ok().flatten()
}

/// Takes the topmost box of type `T` when the top of the stack has another type,
/// because a layer with another type of recorder runs on the same thread.
#[cold]
fn take_below<T: 'static>(boxes: &mut Vec<Box<dyn Any>>, top: Box<dyn Any>) -> Option<Box<T>> {
    let found = boxes.iter().rposition(|pooled| pooled.is::<T>());
    boxes.push(top);
    boxes.swap_remove(found?).downcast().ok()
}

/// Returns a box to the pool.
#[inline]
pub(crate) fn put<T: 'static>(item: Box<T>) {
    // Fails during thread shutdown, where the box is freed instead.
    let _ = BOXES.try_with(|boxes| {
        let mut boxes = boxes.borrow_mut();
        if boxes.len() < MAX {
            boxes.push(item);
        } else {
            put_into_full(&mut boxes, item);
        }
    });
}

/// Replaces a box of another type if type `T` has less than half of the pool, so
/// that the recorder that fills the pool first does not starve the others.
#[cold]
fn put_into_full<T: 'static>(boxes: &mut [Box<dyn Any>], item: Box<T>) {
    let same_type = boxes.iter().filter(|pooled| pooled.is::<T>()).count();
    if same_type < MAX / 2
        && let Some(other) = boxes.iter_mut().find(|pooled| !pooled.is::<T>())
    {
        *other = item;
    }
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
