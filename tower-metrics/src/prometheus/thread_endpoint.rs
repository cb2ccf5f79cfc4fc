//! An endpoint's values of one thread.

use std::sync::OnceLock;

use super::cells::Cells;
use super::key::Key;
use crate::cell::Cell;
use crate::slots::Slot;

/// An endpoint's values as recorded by the leaseholder of one slot. Requests in
/// flight keep a reference to the one where they began.
#[derive(Debug)]
#[repr(align(64))]
pub struct ThreadEndpoint {
    pub(crate) slot: Slot,
    /// Number of requests that have begun.
    pub(crate) begun: Cell,
    first: OnceLock<&'static Node>,
}

/// Cells of one series, in a list in the order of first use. Most endpoints
/// have one to five.
#[derive(Debug)]
struct Node {
    key: Key,
    cells: &'static Cells,
    next: OnceLock<&'static Node>,
}

/// Maximum length of the list.
const MAX_NODES: usize = 8;

impl ThreadEndpoint {
    pub(crate) fn new(slot: Slot) -> Self {
        Self {
            slot,
            begun: Cell::default(),
            first: OnceLock::new(),
        }
    }

    #[inline(always)]
    pub(crate) fn find(&self, key: &Key) -> Option<&'static Cells> {
        let mut next = &self.first;
        for _ in 0..MAX_NODES {
            let node = next.get()?;
            if node.key == *key {
                return Some(node.cells);
            }
            next = &node.next;
        }
        None
    }

    /// Appends cells to the list. Returns `false` if the list is full.
    pub(crate) fn add(&self, key: Key, cells: &'static Cells) -> bool {
        let mut next = &self.first;
        for _ in 0..MAX_NODES {
            match next.get() {
                Some(node) => next = &node.next,
                None => {
                    let node = Node {
                        key,
                        cells,
                        next: OnceLock::new(),
                    };
                    next.get_or_init(|| Box::leak(Box::new(node)));
                    return true;
                }
            }
        }
        false
    }
}
