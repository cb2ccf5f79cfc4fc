//! Per-thread lookup of cells.
//!
//! Finds the cells of a request without a lock: each thread caches references
//! to those that it writes. An endpoint has those of the first threads itself.

use std::cell::RefCell;
use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::cells::Cells;
use super::key::{Key, StatusLabels};
use super::series::Endpoint;
use super::thread_endpoint::ThreadEndpoint;
use crate::completed_request::CompletedRequest;
use crate::slots::Slot;
use crate::thread_slot::{self, Cache};

thread_local! {
    /// Indexed by [`Endpoint::index`].
    static CACHE: Cache<Vec<CachedEndpoint>> = RefCell::default();
}

/// A slot's values of an endpoint.
#[derive(Default)]
struct CachedEndpoint {
    thread: Option<&'static ThreadEndpoint>,
    /// Cells beyond the first few, which [`ThreadEndpoint::find`] compares one
    /// by one. Custom labels can produce many.
    cells: HashMap<Key, &'static Cells, RandomState>,
}

impl CachedEndpoint {
    fn of<'a>(endpoint: &Endpoint, cached: &'a mut Vec<Self>) -> &'a mut Self {
        if endpoint.index >= cached.len() {
            cached.resize_with(endpoint.index + 1, Self::default);
        }
        &mut cached[endpoint.index]
    }

    fn thread(&mut self, slot: Slot, endpoint: &Endpoint) -> &'static ThreadEndpoint {
        self.thread
            .get_or_insert_with(|| endpoint.thread_endpoint(slot))
    }

    fn cells(
        &mut self,
        slot: Slot,
        endpoint: &Endpoint,
        end: &CompletedRequest<'_>,
    ) -> &'static Cells {
        let key = Key::of(end);
        let thread = self.thread(slot, endpoint);
        if let Some(cells) = thread.find(&key) {
            return cells;
        }
        if let Some(cells) = self.cells.get(&key) {
            return cells;
        }
        let cells = endpoint.cells(slot, StatusLabels::of(end), end.labels);
        if !thread.add(key, cells) {
            self.cells.insert(key, cells);
        }
        cells
    }
}

/// Calls `f` with this thread's values of an endpoint.
#[inline(always)]
pub(crate) fn with_thread_endpoint<T>(
    endpoint: &'static Endpoint,
    f: impl Fn(&'static ThreadEndpoint) -> T,
) -> T {
    // A thread without a slot is not one of the first ones.
    if let Some(thread) = endpoint.first_thread_endpoint(thread_slot::current()) {
        return f(thread);
    }
    find_thread_endpoint(endpoint, f)
}

#[inline(never)]
fn find_thread_endpoint<T>(
    endpoint: &'static Endpoint,
    f: impl Fn(&'static ThreadEndpoint) -> T,
) -> T {
    // An exclusive borrow is cheaper than a shared one, which counts.
    let cached = CACHE.try_with(|cache| cache.borrow_mut().1.get(endpoint.index)?.thread);
    match cached {
        Ok(Some(thread)) if thread.slot == thread_slot::current() => f(thread),
        _ => add_thread_endpoint(endpoint, f),
    }
}

#[cold]
#[inline(never)]
fn add_thread_endpoint<T>(
    endpoint: &'static Endpoint,
    f: impl Fn(&'static ThreadEndpoint) -> T,
) -> T {
    let find = |slot, cached: &mut _| CachedEndpoint::of(endpoint, cached).thread(slot, endpoint);
    thread_slot::with_cache(&CACHE, find, f)
}

/// Returns this thread's cells for a completed request that began at `began`, unless
/// it began on another thread or its series has no cells in the list.
#[inline(always)]
pub(crate) fn listed_cells(
    began: &'static ThreadEndpoint,
    end: &CompletedRequest<'_>,
) -> Option<&'static Cells> {
    if began.slot != thread_slot::current() {
        return None;
    }
    began.find(&Key::of(end))
}

/// Calls `f` with this thread's cells for a completed request.
pub(crate) fn with_cells(
    endpoint: &'static Endpoint,
    end: &CompletedRequest<'_>,
    f: impl FnOnce(&'static Cells),
) {
    let find =
        |slot, cached: &mut _| CachedEndpoint::of(endpoint, cached).cells(slot, endpoint, end);
    thread_slot::with_cache(&CACHE, find, f);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::cells::Layout;
    use super::super::names::Names;
    use super::*;

    #[test]
    fn an_exiting_thread_does_not_write_to_the_slot_of_another() {
        let layout = Box::leak(Box::new(Layout::new(&[], &[], &[], false, false)));
        let names = Box::leak(Box::new(Names::classic()));
        let endpoint = Endpoint::new("GET", "/", layout, names, &[], false);
        let endpoint: &Endpoint = Box::leak(Box::new(endpoint));
        thread_slot::tests::check_exiting_thread(|| {
            with_thread_endpoint(endpoint, |thread| thread.slot)
        });
    }
}
