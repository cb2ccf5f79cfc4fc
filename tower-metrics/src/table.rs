//! A bounded table from strings to values that is only ever added to.
//!
//! Reading takes no lock and writes nothing, so any number of threads read at
//! once without sharing a cache line that anybody writes. Adding takes a lock
//! and happens at most `max` times in the life of the process.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use foldhash::fast::RandomState;
use std::hash::BuildHasher;

type Place<V> = OnceLock<(Box<str>, V)>;

/// The longest key in bytes. Keys come from requests, and each is kept for the
/// life of the process and written with every scrape.
pub(crate) const MAX_KEY_LEN: usize = 128;

#[derive(Debug)]
pub(crate) struct Table<V> {
    /// Open addressing with linear probing; at least twice as many places as
    /// entries, so that a probe meets an empty place soon.
    places: Box<[Place<V>]>,
    max: usize,
    len: AtomicUsize,
    adding: Mutex<()>,
    hasher: RandomState,
}

impl<V> Table<V> {
    /// A table for at most `max` keys.
    pub(crate) fn new(max: usize) -> Self {
        let places = (max * 2).next_power_of_two().max(2);
        Self {
            places: (0..places).map(|_| OnceLock::new()).collect(),
            max,
            len: AtomicUsize::new(0),
            adding: Mutex::new(()),
            hasher: RandomState::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        // Pairs with the store in `get_or_add`: who sees that the table is
        // full also sees what is in it.
        self.len.load(Ordering::Acquire)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&V> {
        if key.len() > MAX_KEY_LEN {
            return None;
        }
        self.probe(key).ok()
    }

    /// The value of `key`, made and added where it is missing; `None` where
    /// the table is full or the key too long.
    pub(crate) fn get_or_add(&self, key: &str, make: impl FnOnce() -> V) -> Option<&V> {
        if let Some(value) = self.get(key) {
            return Some(value);
        }
        // Full tables are asked for unknown keys again and again (that is what
        // a cap is for): answer without the lock. The key may have taken the
        // last place since we looked.
        if self.len() >= self.max || key.len() > MAX_KEY_LEN {
            return self.get(key);
        }
        let _adding = self.adding.lock().unwrap_or_else(PoisonError::into_inner);
        let empty = match self.probe(key) {
            Ok(value) => return Some(value),
            Err(empty) => empty,
        };
        let len = self.len();
        if len >= self.max {
            return None;
        }
        let (_, value) = empty.get_or_init(|| (key.into(), make()));
        self.len.store(len + 1, Ordering::Release);
        Some(value)
    }

    #[cfg(feature = "prometheus")]
    pub(crate) fn for_each(&self, mut each: impl FnMut(&str, &V)) {
        for (key, value) in self.places.iter().filter_map(OnceLock::get) {
            each(key, value);
        }
    }

    /// The value of `key`, or the empty place where it belongs.
    fn probe(&self, key: &str) -> Result<&V, &Place<V>> {
        let mask = self.places.len() - 1;
        let mut at = self.hasher.hash_one(key) as usize;
        loop {
            let place = &self.places[at & mask];
            match place.get() {
                Some((found, value)) if **found == *key => return Ok(value),
                Some(_) => at = at.wrapping_add(1),
                None => return Err(place),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_keeps_what_it_has_and_takes_nothing_more() {
        let table = Table::new(3);
        for key in ["a", "b", "c", "d", "a"] {
            table.get_or_add(key, || key.to_owned());
        }
        assert_eq!(table.len(), 3);
        assert_eq!(table.get("a").map(String::as_str), Some("a"));
        assert_eq!(table.get("d"), None);
    }

    #[test]
    fn a_key_that_is_too_long_is_not_kept() {
        let table = Table::new(3);
        let longest = "k".repeat(MAX_KEY_LEN);
        assert_eq!(table.get_or_add(&longest, || 1), Some(&1));
        assert_eq!(table.get_or_add(&format!("{longest}k"), || 2), None);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_table_of_nothing_takes_nothing() {
        let table = Table::new(0);
        assert_eq!(table.get_or_add("a", || 1), None);
        assert_eq!(table.get("a"), None);
    }

    #[test]
    fn the_last_place_is_there_for_all_who_ask_for_it_at_once() {
        let tables: Vec<_> = (0..50_000).map(|_| Table::new(1)).collect();
        let barrier = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    barrier.wait();
                    for table in &tables {
                        assert_eq!(table.get_or_add("a", || 1), Some(&1));
                    }
                });
            }
        });
    }

    #[test]
    fn threads_that_add_the_same_keys_make_each_once() {
        let table = Table::new(64);
        let made = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for key in 0..100 {
                        table.get_or_add(&key.to_string(), || made.fetch_add(1, Ordering::Relaxed));
                    }
                });
            }
        });
        assert_eq!(made.into_inner(), 64);
        assert_eq!(table.len(), 64);
    }
}
