//! Bounded, append-only hash table from strings to values.
//!
//! Readers take no lock and write nothing, so that they share no modified cache
//! line. Writers take a lock; a table has at most `max` insertions in its life.
//!
//! Memory grows with the number of keys: entries are in segments of doubling size
//! and never move, and the hash index is rebuilt in an array of twice the size
//! when it is half full. Replaced arrays are kept for readers that
//! still probe them, and are together smaller than the current one.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use foldhash::fast::RandomState;

/// Length limit of keys, in bytes.
///
/// Keys come from requests, are kept for the life of the process, and are part of
/// every scrape.
pub(crate) const MAX_KEY_LEN: usize = 128;

const FIRST_SEGMENT: usize = 8;
const SEGMENTS: usize = 20;
const FIRST_INDEX: usize = 16;
const INDEXES: usize = 20;
/// Number of keys at which the last index is half full.
const MAX_KEYS: usize = (FIRST_INDEX << (INDEXES - 1)) / 2;

type Segment<V> = Box<[OnceLock<(Box<str>, V)>]>;

#[derive(Debug)]
pub(crate) struct Table<V> {
    segments: [OnceLock<Segment<V>>; SEGMENTS],
    /// Open addressing with linear probing. A slot is 0 if it is empty, and
    /// otherwise the number of the entry, counted from 1.
    indexes: [OnceLock<Box<[AtomicU32]>>; INDEXES],
    /// The index that readers use.
    current: AtomicUsize,
    len: AtomicUsize,
    max: usize,
    writer: Mutex<()>,
    hasher: RandomState,
}

impl<V> Table<V> {
    /// Creates a table for at most `max` keys.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            segments: [const { OnceLock::new() }; SEGMENTS],
            indexes: [const { OnceLock::new() }; INDEXES],
            current: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            max: max.min(MAX_KEYS),
            writer: Mutex::new(()),
            hasher: RandomState::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        // Acquire pairs with the release in `insert`: a reader that sees a full
        // table also sees all of its keys.
        self.len.load(Ordering::Acquire)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&V> {
        self.position(key).and_then(|at| self.value(at))
    }

    /// Returns the value of `key`, and inserts it if it is missing.
    ///
    /// Returns `None` if the table is full or the key longer than [`MAX_KEY_LEN`].
    pub(crate) fn get_or_insert(&self, key: &str, make: impl FnOnce() -> V) -> Option<&V> {
        let at = self.position_or_insert(key, make)?;
        self.value(at)
    }

    /// Returns the position of `key` in the order of insertion.
    #[inline]
    pub(crate) fn position(&self, key: &str) -> Option<usize> {
        if key.len() > MAX_KEY_LEN {
            return None;
        }
        // Acquire pairs with the release in `index_for`.
        let index = self.indexes[self.current.load(Ordering::Acquire)].get()?;
        self.probe(index, key).ok()
    }

    /// Returns the position of `key`, and inserts it if it is missing.
    #[inline]
    pub(crate) fn position_or_insert(&self, key: &str, make: impl FnOnce() -> V) -> Option<usize> {
        if let Some(at) = self.position(key) {
            return Some(at);
        }
        self.insert(key, make)
    }

    #[inline]
    fn key(&self, at: usize) -> Option<&str> {
        self.entry(at).map(|(key, _)| &**key)
    }

    /// Calls `each` with every entry, in the order of insertion.
    #[cfg(feature = "prometheus")]
    pub(crate) fn for_each(&self, mut each: impl FnMut(&str, &V)) {
        for (key, value) in (0..self.len()).filter_map(|at| self.entry(at)) {
            each(key, value);
        }
    }

    #[cold]
    #[inline(never)]
    fn insert(&self, key: &str, make: impl FnOnce() -> V) -> Option<usize> {
        // Lookups of unknown keys in a full table can be frequent and must not
        // take the lock. Another thread may have inserted the key in between.
        if self.len() >= self.max || key.len() > MAX_KEY_LEN {
            return self.position(key);
        }
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = self.position(key) {
            return Some(at);
        }
        let at = self.len();
        if at >= self.max {
            return None;
        }
        let index = self.index_for(at + 1);
        let (segment, offset) = locate(at);
        let segment = self.segments[segment].get_or_init(|| {
            let size = FIRST_SEGMENT << segment;
            (0..size).map(|_| OnceLock::new()).collect()
        });
        segment[offset].get_or_init(|| (key.into(), make()));
        if let Err(slot) = self.probe(index, key) {
            // Release pairs with the acquire in `probe`: a reader that sees the
            // slot also sees the entry.
            index[slot].store(at as u32 + 1, Ordering::Release);
        }
        self.len.store(at + 1, Ordering::Release);
        Some(at)
    }

    /// Returns the current index, after growing it to hold `len` keys.
    fn index_for(&self, len: usize) -> &[AtomicU32] {
        let mut current = self.current.load(Ordering::Relaxed);
        if FIRST_INDEX << current < 2 * len {
            current += 1;
        }
        let index = self.indexes[current].get_or_init(|| self.grow(current));
        // Release pairs with the acquire in `position`: a reader that uses the
        // index sees its contents.
        self.current.store(current, Ordering::Release);
        index
    }

    /// Builds the index with this number from the current entries.
    fn grow(&self, number: usize) -> Box<[AtomicU32]> {
        let size = FIRST_INDEX << number;
        let index: Box<[_]> = (0..size).map(|_| AtomicU32::new(0)).collect();
        for at in 0..self.len() {
            if let Some(key) = self.key(at)
                && let Err(slot) = self.probe(&index, key)
            {
                index[slot].store(at as u32 + 1, Ordering::Relaxed);
            }
        }
        index
    }

    #[inline]
    fn hash(&self, key: &str) -> usize {
        // `hash_one` also hashes the end of the text, for keys of several parts.
        let mut hasher = self.hasher.build_hasher();
        hasher.write(key.as_bytes());
        hasher.finish() as usize
    }

    /// Returns the position of `key`, or the empty slot where it belongs.
    #[inline]
    fn probe(&self, index: &[AtomicU32], key: &str) -> Result<usize, usize> {
        let mask = index.len() - 1;
        let mut slot = self.hash(key) & mask;
        loop {
            // Acquire pairs with the release in `insert`.
            let Some(at) = (index[slot].load(Ordering::Acquire) as usize).checked_sub(1) else {
                return Err(slot);
            };
            if self.key(at) == Some(key) {
                return Ok(at);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Returns the value at a position.
    pub(crate) fn value(&self, at: usize) -> Option<&V> {
        self.entry(at).map(|(_, value)| value)
    }

    #[inline]
    fn entry(&self, at: usize) -> Option<&(Box<str>, V)> {
        let (segment, offset) = locate(at);
        self.segments.get(segment)?.get()?.get(offset)?.get()
    }
}

/// Returns the segment of an entry and the offset in that segment.
#[inline]
fn locate(at: usize) -> (usize, usize) {
    if at < FIRST_SEGMENT {
        return (0, at);
    }
    let segment = (at / FIRST_SEGMENT + 1).ilog2() as usize;
    (segment, at - FIRST_SEGMENT * ((1 << segment) - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_keeps_its_keys_and_rejects_new_ones() {
        let table = Table::new(3);
        for key in ["a", "b", "c", "d", "a"] {
            table.get_or_insert(key, || key.to_owned());
        }
        assert_eq!(table.len(), 3);
        assert_eq!(table.get("a").map(String::as_str), Some("a"));
        assert_eq!(table.get("d"), None);
    }

    #[test]
    fn a_key_that_is_too_long_is_rejected() {
        let table = Table::new(3);
        let longest = "k".repeat(MAX_KEY_LEN);
        assert_eq!(table.get_or_insert(&longest, || 1), Some(&1));
        assert_eq!(table.get_or_insert(&format!("{longest}k"), || 2), None);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_table_of_capacity_zero_rejects_everything() {
        let table = Table::new(0);
        assert_eq!(table.get_or_insert("a", || 1), None);
        assert_eq!(table.get("a"), None);
    }

    #[test]
    fn positions_are_located_in_consecutive_segments() {
        let first = [0, 7, 8, 23, 24, 55, 56].map(locate);
        let expected = [(0, 0), (0, 7), (1, 0), (1, 15), (2, 0), (2, 31), (3, 0)];
        assert_eq!(first, expected);
        assert!(locate(MAX_KEYS - 1).0 < SEGMENTS);
    }

    #[test]
    fn a_growing_table_keeps_every_key_at_its_position() {
        let table = Table::new(10_000);
        for at in 0..10_000 {
            let key = at.to_string();
            assert_eq!(table.position_or_insert(&key, || at), Some(at));
        }
        for at in 0..10_000 {
            assert_eq!(table.get(&at.to_string()), Some(&at));
            assert_eq!(table.key(at), Some(&*at.to_string()));
        }
        assert_eq!(table.get("10000"), None);
    }

    #[test]
    fn threads_that_insert_the_same_keys_insert_each_once() {
        let table = Table::new(640);
        let inserted = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for key in 0..1000 {
                        let key = key.to_string();
                        let at = table.position_or_insert(&key, || {
                            inserted.fetch_add(1, Ordering::Relaxed);
                        });
                        assert_eq!(at.map(|at| table.key(at)), at.map(|_| Some(&*key)));
                    }
                });
            }
        });
        assert_eq!(inserted.into_inner(), 640);
        assert_eq!(table.len(), 640);
    }
}
