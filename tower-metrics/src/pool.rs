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

/// Takes one of the thread's boxes, with what was left in it.
#[inline]
pub(crate) fn take<T: 'static>() -> Option<Box<T>> {
    let last = BOXES.try_with(|boxes| {
        let mut boxes = boxes.borrow_mut();
        match boxes.pop()?.downcast() {
            Ok(last) => Some(last),
            Err(other) => take_other(&mut boxes, other),
        }
    });
    last.ok().flatten()
}

/// Takes the last box of this type from below the last one, which is of another
/// recorder's type.
#[cold]
fn take_other<T: 'static>(boxes: &mut Vec<Box<dyn Any>>, last: Box<dyn Any>) -> Option<Box<T>> {
    let found = boxes.iter().rposition(|one| one.is::<T>());
    boxes.push(last);
    boxes.swap_remove(found?).downcast().ok()
}

/// Keeps a box for the thread's next request.
#[inline]
pub(crate) fn give<T: 'static>(one: Box<T>) {
    // A thread that is ending keeps none.
    let _ = BOXES.try_with(|boxes| {
        let mut boxes = boxes.borrow_mut();
        if boxes.len() < MAX {
            boxes.push(one);
        } else {
            give_to_full(&mut boxes, one);
        }
    });
}

/// Replaces a box of another type, so that one recorder's boxes do not keep out
/// all of another's.
#[cold]
fn give_to_full<T: 'static>(boxes: &mut [Box<dyn Any>], one: Box<T>) {
    let own = boxes.iter().filter(|kept| kept.is::<T>()).count();
    if own < MAX / 2
        && let Some(other) = boxes.iter_mut().find(|kept| !kept.is::<T>())
    {
        *other = one;
    }
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
    fn boxes_of_two_types_do_not_evict_each_other() {
        give(Box::new("text"));
        assert_eq!(take::<u8>(), None);
        give(Box::new(7_u8));
        for _ in 0..3 {
            let text = take::<&str>().unwrap();
            give(text);
            let number = take::<u8>().unwrap();
            give(number);
        }
        assert_eq!(take::<&str>(), Some(Box::new("text")));
        assert_eq!(take::<u8>(), Some(Box::new(7)));
        assert_eq!(take::<u8>(), None);
    }

    #[test]
    fn a_full_pool_has_room_for_a_second_type() {
        for number in 0..MAX {
            give(Box::new(number));
        }
        for _ in 0..MAX {
            give(Box::new("text"));
        }
        assert_eq!(std::iter::from_fn(take::<&str>).count(), MAX / 2);
        assert_eq!(std::iter::from_fn(take::<usize>).count(), MAX / 2);
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
