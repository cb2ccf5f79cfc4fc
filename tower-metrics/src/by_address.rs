//! Finds the routes of axum's paths by where they stand in memory.
//!
//! A router hands the same shared text to every request of a route, so an
//! address is as good as the text, and neither hashed nor compared byte by
//! byte. What is remembered holds the text: its address is nobody else's for
//! as long as the process lives.

use std::ptr;
use std::sync::OnceLock;

use axum::extract::MatchedPath;

/// A power of two. What finds no place here is found by its text.
const PLACES: usize = 1024;
/// How many places a path can take.
const PROBES: usize = 4;

pub(crate) struct ByAddress<V>(Box<[OnceLock<(MatchedPath, V)>]>);

impl<V: Copy> ByAddress<V> {
    pub(crate) fn new() -> Self {
        Self((0..PLACES).map(|_| OnceLock::new()).collect())
    }

    #[inline]
    pub(crate) fn get(&self, path: &MatchedPath) -> Option<V> {
        for place in self.places(path) {
            let (known, value) = place.get()?;
            if ptr::eq(known.as_str(), path.as_str()) {
                return Some(*value);
            }
        }
        None
    }

    /// Remembers a path that [`get`](Self::get) did not find.
    #[cold]
    pub(crate) fn add(&self, path: &MatchedPath, value: V) {
        for place in self.places(path) {
            let (known, _) = place.get_or_init(|| (path.clone(), value));
            if ptr::eq(known.as_str(), path.as_str()) {
                return;
            }
        }
    }

    #[inline]
    fn places(&self, path: &MatchedPath) -> impl Iterator<Item = &OnceLock<(MatchedPath, V)>> {
        // The allocator's addresses are multiples of 16; the product spreads
        // them (2^64 over the golden ratio).
        let address = path.as_str().as_ptr().addr() as u64;
        let spread = (address >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        (0..PROBES).map(move |probe| &self.0[(spread as usize + probe) % PLACES])
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use std::sync::mpsc;
    use std::task::{Context, Waker};
    use tower_service::Service;

    use super::*;

    /// The path as a router of its own matched it.
    fn matched(route: &str) -> MatchedPath {
        let (sender, receiver) = mpsc::channel();
        let handler = move |path: MatchedPath| {
            let sent = sender.send(path);
            async move { sent.expect("the receiver is in this function") }
        };
        let mut app = Router::new().route(route, get(handler)).with_state(());
        let request = http::Request::get(route).body(axum::body::Body::empty());
        let mut future = app.call(request.unwrap());
        let polled = std::pin::Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_ready());
        receiver.recv().unwrap()
    }

    #[test]
    fn a_path_is_found_by_its_own_text_and_not_by_another_that_reads_the_same() {
        let by_address = ByAddress::new();
        let (first, second) = (matched("/a"), matched("/a"));
        by_address.add(&first, 1);
        assert_eq!(by_address.get(&first), Some(1));
        assert_eq!(by_address.get(&first.clone()), Some(1));
        assert_eq!(by_address.get(&second), None);
    }

    #[test]
    fn what_is_remembered_is_never_changed() {
        let by_address = ByAddress::new();
        let path = matched("/a");
        by_address.add(&path, 1);
        by_address.add(&path, 2);
        assert_eq!(by_address.get(&path), Some(1));
    }

    #[test]
    fn more_paths_than_there_are_places_are_found_or_not_but_never_mistaken() {
        let by_address = ByAddress::new();
        let paths: Vec<_> = (0..3 * PLACES).map(|_| matched("/a")).collect();
        for (number, path) in paths.iter().enumerate() {
            by_address.add(path, number);
        }
        let found = paths.iter().enumerate().filter(|(number, path)| {
            let found = by_address.get(path);
            assert!(found.is_none_or(|found| found == *number));
            found.is_some()
        });
        // Nearly every place is taken.
        assert!(found.count() > PLACES / 2);
    }
}
