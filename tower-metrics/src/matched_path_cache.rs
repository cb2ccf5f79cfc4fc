//! Cache of routes by the address of axum's [`MatchedPath`].
//!
//! A router attaches the same shared text to every request of a route, so that its
//! address identifies the route without hashing or comparing the text. The cache
//! holds a reference to each text, so that its address is not reused.
//!
//! The first 16 slots are part of the layer. Routes whose slots are taken go to an
//! array that is allocated on demand and grows to 1,024 slots.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use axum::extract::MatchedPath;

const FIRST: usize = 16;
/// Sizes of the successive arrays as the cache grows.
const SIZES: [usize; 3] = [64, 256, 1024];
/// Length of a probe sequence. A path that finds no slot within it is looked up by
/// its text.
const PROBES: usize = 4;

type Slot<V> = OnceLock<(MatchedPath, V)>;

pub(crate) struct MatchedPathCache<V> {
    first: [Slot<V>; FIRST],
    arrays: [OnceLock<Box<[Slot<V>]>>; SIZES.len()],
    /// The array that readers use.
    current: AtomicUsize,
    /// Number of paths in the current array.
    len: Mutex<usize>,
}

impl<V: Copy> MatchedPathCache<V> {
    pub(crate) fn new() -> Self {
        Self {
            first: [const { OnceLock::new() }; FIRST],
            arrays: [const { OnceLock::new() }; SIZES.len()],
            current: AtomicUsize::new(0),
            len: Mutex::new(0),
        }
    }

    #[inline(always)]
    pub(crate) fn get(&self, path: &MatchedPath) -> Option<V> {
        let hash = hash(path);
        let (known, value) = self.first[first(hash)].get()?;
        if is_same(known, path) {
            return Some(*value);
        }
        self.get_from_array(path, hash)
    }

    #[inline]
    fn get_from_array(&self, path: &MatchedPath, hash: u64) -> Option<V> {
        // Acquire pairs with the release in `insert`.
        let array = self.arrays[self.current.load(Ordering::Acquire)].get()?;
        for slot in probe(array, hash) {
            let (known, value) = slot.get()?;
            if is_same(known, path) {
                return Some(*value);
            }
        }
        None
    }

    /// Inserts a path that [`get`](Self::get) did not find.
    #[cold]
    pub(crate) fn insert(&self, path: &MatchedPath, value: V) {
        let hash = hash(path);
        if try_insert([&self.first[first(hash)]], path, value) {
            return;
        }
        let mut len = self.len.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let current = self.current.load(Ordering::Relaxed);
            let size = SIZES[current];
            let array = self.arrays[current].get_or_init(|| new_array(size));
            let is_last = current + 1 == SIZES.len();
            if *len * 2 < size || is_last {
                if try_insert(probe(array, hash), path, value) {
                    *len += 1;
                    return;
                }
                if is_last {
                    return;
                }
            }
            *len = self.grow(current);
            // Release pairs with the acquire in `get_from_array`: a reader that
            // uses the array sees its contents.
            self.current.store(current + 1, Ordering::Release);
        }
    }

    /// Copies an array into the next one, and returns the number of paths there.
    fn grow(&self, current: usize) -> usize {
        let next = self.arrays[current + 1].get_or_init(|| new_array(SIZES[current + 1]));
        let slots = self.arrays[current].get().into_iter().flatten();
        slots
            .filter_map(OnceLock::get)
            .filter(|(path, value)| try_insert(probe(next, hash(path)), path, *value))
            .count()
    }
}

/// Compares addresses. The length of a text at the same address is the same.
#[inline(always)]
fn is_same(one: &MatchedPath, other: &MatchedPath) -> bool {
    one.as_str().as_ptr() == other.as_str().as_ptr()
}

fn new_array<V>(size: usize) -> Box<[Slot<V>]> {
    (0..size).map(|_| OnceLock::new()).collect()
}

/// Returns whether the path is in one of the slots, after putting it into the
/// first empty one.
fn try_insert<'a, V: Copy + 'a>(
    slots: impl IntoIterator<Item = &'a Slot<V>>,
    path: &MatchedPath,
    value: V,
) -> bool {
    slots.into_iter().any(|slot| {
        let (known, _) = slot.get_or_init(|| (path.clone(), value));
        is_same(known, path)
    })
}

/// Returns a hash whose upper half is well distributed.
#[inline(always)]
fn hash(path: &MatchedPath) -> u64 {
    // Addresses are multiples of 16. The multiplier is 2^64 divided by the golden
    // ratio (Fibonacci hashing).
    let address = path.as_str().as_ptr().addr() as u64;
    (address >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Returns the slot among the first ones.
#[inline(always)]
fn first(hash: u64) -> usize {
    const BITS: u32 = FIRST.ilog2();
    (hash >> (u64::BITS - BITS)) as usize
}

#[inline]
fn probe<V>(array: &[Slot<V>], hash: u64) -> impl Iterator<Item = &Slot<V>> {
    let mask = array.len() - 1;
    // Without the bits that select one of the first slots.
    let start = (hash >> 40) as usize;
    (0..PROBES).map(move |probe| &array[(start + probe) & mask])
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::mpsc;
    use std::task::{Context, Waker};

    use axum::Router;
    use axum::routing::get;
    use tower_service::Service;

    use super::*;

    /// Returns the path that a new router matches.
    fn matched(route: &str) -> MatchedPath {
        let (sender, receiver) = mpsc::channel();
        let handler = move |path: MatchedPath| {
            let sent = sender.send(path);
            async move { sent.expect("the receiver is in this function") }
        };
        let mut app = Router::new().route(route, get(handler)).with_state(());
        let request = http::Request::get(route).body(axum::body::Body::empty());
        let mut future = app.call(request.unwrap());
        let polled = Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_ready());
        receiver.recv().unwrap()
    }

    #[test]
    fn a_path_is_found_by_its_address_and_not_by_equal_text() {
        let cache = MatchedPathCache::new();
        let (first, second) = (matched("/a"), matched("/a"));
        cache.insert(&first, 1);
        assert_eq!(cache.get(&first), Some(1));
        assert_eq!(cache.get(&first.clone()), Some(1));
        assert_eq!(cache.get(&second), None);
    }

    #[test]
    fn a_cached_value_does_not_change() {
        let cache = MatchedPathCache::new();
        let path = matched("/a");
        cache.insert(&path, 1);
        cache.insert(&path, 2);
        assert_eq!(cache.get(&path), Some(1));
    }

    #[test]
    fn every_path_of_a_large_router_is_found() {
        let cache = MatchedPathCache::new();
        let paths: Vec<_> = (0..60).map(|_| matched("/a")).collect();
        for (number, path) in paths.iter().enumerate() {
            cache.insert(path, number);
        }
        for (number, path) in paths.iter().enumerate() {
            assert_eq!(cache.get(path), Some(number));
        }
    }

    #[test]
    fn paths_beyond_the_capacity_are_missed_but_never_confused() {
        let cache = MatchedPathCache::new();
        let paths: Vec<_> = (0..3 * SIZES[2]).map(|_| matched("/a")).collect();
        for (number, path) in paths.iter().enumerate() {
            cache.insert(path, number);
        }
        let found = paths.iter().enumerate().filter(|(number, path)| {
            let found = cache.get(path);
            assert!(found.is_none_or(|found| found == *number));
            found.is_some()
        });
        assert!(found.count() > SIZES[2] / 2);
    }
}
