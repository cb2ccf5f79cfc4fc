//! Per-thread lookup of cells.
//!
//! Finds the cells of a request without a lock: each thread caches references
//! to those that it writes. An endpoint has those of the first threads itself.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::LazyLock;

use foldhash::fast::RandomState;

use super::cells::Cells;
use super::key::{Key, StatusLabels};
use super::series::Endpoint;
use super::thread_endpoint::ThreadEndpoint;
use crate::completed_request::CompletedRequest;
use crate::label::LabelValues;
use crate::slots::{Lease, Slot, Slots};

static SLOTS: LazyLock<Slots> = LazyLock::new(Slots::new);

/// Slot of a thread without a lease.
const NO_SLOT: Slot = Slot::MAX;

thread_local! {
    /// This thread's slot: `NO_SLOT` before its first request, and again while
    /// its thread-locals are destroyed.
    static SLOT: Cell<Slot> = const { Cell::new(NO_SLOT) };
    static LOCAL: RefCell<Local> = RefCell::new(Local::new());
}

/// A thread's lease and what it caches.
struct Local {
    lease: Lease<'static>,
    /// Indexed by [`Endpoint::index`].
    endpoints: Vec<CachedEndpoint>,
}

#[derive(Default)]
struct CachedEndpoint {
    thread: Option<&'static ThreadEndpoint>,
    /// Cells beyond the first few, which [`ThreadEndpoint::find`] compares one
    /// by one. Custom labels can produce many.
    cells: HashMap<Key, &'static Cells, RandomState>,
}

impl Local {
    fn new() -> Self {
        let lease = SLOTS.lease();
        SLOT.set(lease.slot());
        Self {
            lease,
            endpoints: Vec::new(),
        }
    }

    #[inline]
    fn thread_endpoint(&mut self, endpoint: &'static Endpoint) -> &'static ThreadEndpoint {
        if let Some(cached) = self.endpoints.get(endpoint.index)
            && let Some(thread) = cached.thread
        {
            return thread;
        }
        self.add_endpoint(endpoint)
    }

    #[cold]
    fn add_endpoint(&mut self, endpoint: &'static Endpoint) -> &'static ThreadEndpoint {
        let index = endpoint.index;
        if index >= self.endpoints.len() {
            self.endpoints
                .resize_with(index + 1, CachedEndpoint::default);
        }
        let thread = endpoint.thread_endpoint(self.lease.slot());
        self.endpoints[index].thread = Some(thread);
        thread
    }

    fn cells(
        &mut self,
        endpoint: &'static Endpoint,
        key: Key,
        status: StatusLabels,
        labels: LabelValues<'_>,
    ) -> &'static Cells {
        let thread = self.thread_endpoint(endpoint);
        if let Some(cells) = thread.find(&key) {
            return cells;
        }
        let cached = &mut self.endpoints[endpoint.index].cells;
        if let Some(cells) = cached.get(&key) {
            return cells;
        }
        let cells = endpoint.cells(self.lease.slot(), status, labels);
        if !thread.add(key, cells) {
            cached.insert(key, cells);
        }
        cells
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        SLOT.set(NO_SLOT);
    }
}

/// Calls `f` with this thread's values of an endpoint.
#[inline(always)]
pub(crate) fn with_thread_endpoint<T>(
    endpoint: &'static Endpoint,
    f: impl Fn(&'static ThreadEndpoint) -> T,
) -> T {
    // `NO_SLOT` is not one of the first slots.
    if let Some(thread) = endpoint.first_thread_endpoint(SLOT.get()) {
        return f(thread);
    }
    find_thread_endpoint(endpoint, f)
}

#[inline(never)]
fn find_thread_endpoint<T>(
    endpoint: &'static Endpoint,
    f: impl Fn(&'static ThreadEndpoint) -> T,
) -> T {
    let thread = LOCAL.try_with(|local| local.borrow_mut().thread_endpoint(endpoint));
    match thread {
        Ok(thread) => f(thread),
        // The thread is exiting and has returned its slot. A request that is
        // dropped with the thread's other locals takes a temporary lease.
        Err(_) => {
            let lease = SLOTS.lease();
            f(endpoint.thread_endpoint(lease.slot()))
        }
    }
}

/// Returns this thread's cells for a completed request that began at `began`, unless
/// it began on another thread or its series has no cells in the list.
#[inline(always)]
pub(crate) fn listed_cells(
    began: &'static ThreadEndpoint,
    end: &CompletedRequest<'_>,
) -> Option<&'static Cells> {
    if began.slot != SLOT.get() {
        return None;
    }
    began.find(&Key::of(end))
}

/// Returns this thread's cells for a completed request. The lease, if there is one,
/// must outlive the write.
pub(crate) fn cells(
    endpoint: &'static Endpoint,
    end: &CompletedRequest<'_>,
) -> (&'static Cells, Option<Lease<'static>>) {
    let (key, status, labels) = (Key::of(end), StatusLabels::of(end), end.labels);
    let cells = LOCAL.try_with(|local| local.borrow_mut().cells(endpoint, key, status, labels));
    cells.map(|cells| (cells, None)).unwrap_or_else(|_| {
        let lease = SLOTS.lease();
        let cells = endpoint.cells(lease.slot(), status, labels);
        (cells, Some(lease))
    })
}
