//! What a thread keeps at hand, so that recording looks nothing up.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::{LazyLock, OnceLock};

use foldhash::fast::RandomState;

use super::cells::{self, Cells};
use super::series::{Answer, Endpoint, Key};
use super::slots::{Lease, Slot, Slots};
use crate::label::LabelValues;
use crate::outcome::CompletedRequest;

static SLOTS: LazyLock<Slots> = LazyLock::new(Slots::new);

/// No thread's slot.
const NONE: Slot = Slot::MAX;

thread_local! {
    /// This thread's slot; `NONE` before its first request and after its end.
    static SLOT: Cell<Slot> = const { Cell::new(NONE) };
    static LOCAL: RefCell<Local> = RefCell::new(Local::new());
}

struct Local {
    lease: Lease<'static>,
    /// By the endpoint's index.
    endpoints: Vec<Known>,
}

#[derive(Default)]
struct Known {
    own: Option<&'static ThreadEndpoint>,
    /// The cells that [`ThreadEndpoint::find`] does not look for: custom labels can make
    /// many.
    others: HashMap<Key, &'static Cells, RandomState>,
}

/// An endpoint's figures as the holder of one slot counts them. It is what a
/// request in flight remembers of where it began.
#[derive(Debug)]
#[repr(align(64))]
pub struct ThreadEndpoint {
    slot: Slot,
    /// How many requests began.
    pub(crate) begun: cells::Cell,
    first: OnceLock<&'static Node>,
}

/// The cells of one way to end, in the order of their first request: mostly
/// one, seldom more than five.
#[derive(Debug)]
struct Node {
    key: Key,
    cells: &'static Cells,
    next: OnceLock<&'static Node>,
}

/// How many nodes are compared one after the other.
const NODES: usize = 8;

impl ThreadEndpoint {
    pub(crate) fn new(slot: Slot) -> Self {
        Self {
            slot,
            begun: cells::Cell::default(),
            first: OnceLock::new(),
        }
    }

    #[inline(always)]
    fn find(&self, key: &Key) -> Option<&'static Cells> {
        let mut place = &self.first;
        for _ in 0..NODES {
            let node = place.get()?;
            if node.key == *key {
                return Some(node.cells);
            }
            place = &node.next;
        }
        None
    }

    /// Remembers cells, where there is room.
    fn add(&self, key: Key, cells: &'static Cells) -> bool {
        let mut place = &self.first;
        for _ in 0..NODES {
            match place.get() {
                Some(node) => place = &node.next,
                None => {
                    let next = OnceLock::new();
                    place.get_or_init(|| Box::leak(Box::new(Node { key, cells, next })));
                    return true;
                }
            }
        }
        false
    }
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
    fn own(&mut self, endpoint: &'static Endpoint) -> &'static ThreadEndpoint {
        if let Some(known) = self.endpoints.get(endpoint.index)
            && let Some(own) = known.own
        {
            return own;
        }
        self.new_own(endpoint)
    }

    #[cold]
    fn new_own(&mut self, endpoint: &'static Endpoint) -> &'static ThreadEndpoint {
        let index = endpoint.index;
        if index >= self.endpoints.len() {
            self.endpoints.resize_with(index + 1, Known::default);
        }
        let own = endpoint.own_of(self.lease.slot());
        self.endpoints[index].own = Some(own);
        own
    }

    fn cells(
        &mut self,
        endpoint: &'static Endpoint,
        key: Key,
        answer: Answer,
        labels: LabelValues<'_>,
    ) -> &'static Cells {
        let own = self.own(endpoint);
        if let Some(cells) = own.find(&key) {
            return cells;
        }
        let others = &mut self.endpoints[endpoint.index].others;
        if let Some(cells) = others.get(&key) {
            return cells;
        }
        let cells = endpoint.cells_of(self.lease.slot(), answer, labels);
        if !own.add(key, cells) {
            others.insert(key, cells);
        }
        cells
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        SLOT.set(NONE);
    }
}

/// This thread's figures of an endpoint.
#[inline(always)]
pub(crate) fn with_own<T>(
    endpoint: &'static Endpoint,
    then: impl Fn(&'static ThreadEndpoint) -> T,
) -> T {
    let own = LOCAL.try_with(|local| local.borrow_mut().own(endpoint));
    match own {
        Ok(own) => then(own),
        // A thread that is ending has given its slot back already: a request
        // that is dropped with the thread's other locals leases one for the
        // moment.
        Err(_) => {
            let lease = SLOTS.lease();
            then(endpoint.own_of(lease.slot()))
        }
    }
}

/// This thread's cells for requests that end like this one, which began at
/// `own`.
#[inline(always)]
pub(crate) fn with_cells(
    endpoint: &'static Endpoint,
    own: &'static ThreadEndpoint,
    end: &CompletedRequest<'_>,
    then: impl FnOnce(&'static Cells),
) {
    let key = Key::of(end);
    let known = if own.slot == SLOT.get() {
        own.find(&key)
    } else {
        None
    };
    let (cells, _lease) = match known {
        Some(cells) => (cells, None),
        None => cells_of(endpoint, key, Answer::of(end), end.labels),
    };
    then(cells);
}

/// Of a request that began on another thread, or is the first that ends so.
/// What comes with the cells must be held while they are written.
#[inline(never)]
fn cells_of(
    endpoint: &'static Endpoint,
    key: Key,
    answer: Answer,
    labels: LabelValues<'_>,
) -> (&'static Cells, Option<Lease<'static>>) {
    let cells = LOCAL.try_with(|local| local.borrow_mut().cells(endpoint, key, answer, labels));
    cells.map(|cells| (cells, None)).unwrap_or_else(|_| {
        let lease = SLOTS.lease();
        let cells = endpoint.cells_of(lease.slot(), answer, labels);
        (cells, Some(lease))
    })
}
