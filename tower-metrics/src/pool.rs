//! Boxes that a thread uses again, so that a request takes none from the
//! allocator.

use std::any::Any;
use std::cell::RefCell;

/// As many as a thread keeps at most. A thread whose requests all end on
/// another one finds none here, and allocates.
const MAX: usize = 128;

thread_local! {
    static BOXES: RefCell<Vec<Box<dyn Any>>> = const { RefCell::new(Vec::new()) };
}

/// One of the thread's boxes, with what was left in it.
#[inline]
pub(crate) fn take<T: 'static>() -> Option<Box<T>> {
    let last = BOXES.try_with(|boxes| boxes.borrow_mut().pop());
    // Another recorder's: it is let go, they are of one type nearly always.
    last.ok().flatten()?.downcast().ok()
}

/// Keeps a box for the thread's next request.
#[inline]
pub(crate) fn give<T: 'static>(one: Box<T>) {
    // A thread that is ending keeps none.
    let _ = BOXES.try_with(|boxes| {
        let mut boxes = boxes.borrow_mut();
        if boxes.len() < MAX {
            boxes.push(one);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_that_was_given_is_taken_again_as_it_is() {
        assert_eq!(take::<u8>(), None);
        give(Box::new(7_u8));
        assert_eq!(take::<u8>(), Some(Box::new(7)));
        assert_eq!(take::<u8>(), None);
    }

    #[test]
    fn a_box_of_another_type_is_let_go() {
        give(Box::new("text"));
        assert_eq!(take::<u8>(), None);
        assert_eq!(take::<&str>(), None);
    }

    #[test]
    fn a_thread_keeps_no_more_than_its_share() {
        for number in 0..2 * MAX {
            give(Box::new(number));
        }
        let kept = std::iter::from_fn(take::<usize>).count();
        assert_eq!(kept, MAX);
    }
}
