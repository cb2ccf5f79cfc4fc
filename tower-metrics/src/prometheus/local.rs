//! What a thread keeps at hand, so that recording looks nothing up.

use std::cell::RefCell;
use std::sync::LazyLock;

use super::cells::{Cells, Line};
use super::series::{Endpoint, Key};
use super::slots::{Lease, Slots};
use crate::outcome::End;

static SLOTS: LazyLock<Slots> = LazyLock::new(Slots::new);

thread_local! {
    static LOCAL: RefCell<Local> = RefCell::new(Local { lease: SLOTS.lease(), endpoints: Vec::new() });
}

struct Local {
    lease: Lease<'static>,
    /// By the endpoint's index.
    endpoints: Vec<LocalEndpoint>,
}

#[derive(Default)]
struct LocalEndpoint {
    begun: Option<&'static Line>,
    /// In the order of their first request: mostly one, seldom more than five.
    cells: Vec<(Key, &'static Cells)>,
}

impl Local {
    #[inline]
    fn endpoint(&mut self, index: usize) -> &mut LocalEndpoint {
        if index >= self.endpoints.len() {
            self.grow(index);
        }
        &mut self.endpoints[index]
    }

    #[cold]
    fn grow(&mut self, index: usize) {
        self.endpoints
            .resize_with(index + 1, LocalEndpoint::default);
    }
}

/// This thread's count of the requests that began at an endpoint.
#[inline]
pub(crate) fn with_begun(endpoint: &'static Endpoint, then: impl FnOnce(&Line)) {
    let mut then = Some(then);
    let done = LOCAL.try_with(|local| {
        let Some(then) = then.take() else { return };
        let local = &mut *local.borrow_mut();
        let slot = local.lease.slot();
        let begun = &mut local.endpoint(endpoint.index).begun;
        then(begun.get_or_insert_with(|| endpoint.begun_of(slot)));
    });
    // A thread that is ending has given its slot back already: a request that
    // is dropped with the thread's other locals leases one for the moment.
    if let (Err(_), Some(then)) = (done, then) {
        let lease = SLOTS.lease();
        then(endpoint.begun_of(lease.slot()));
    }
}

/// This thread's cells for requests that end like this one.
#[inline]
pub(crate) fn with_cells(endpoint: &'static Endpoint, end: &End<'_>, then: impl FnOnce(&Cells)) {
    let mut then = Some(then);
    let done = LOCAL.try_with(|local| {
        let Some(then) = then.take() else { return };
        let local = &mut *local.borrow_mut();
        let slot = local.lease.slot();
        let cells = &mut local.endpoint(endpoint.index).cells;
        let key = Key::of(end);
        match cells.iter().find(|(known, _)| *known == key) {
            Some((_, found)) => then(found),
            None => {
                let found = endpoint.cells_of(slot, end);
                cells.push((key, found));
                then(found);
            }
        }
    });
    if let (Err(_), Some(then)) = (done, then) {
        let lease = SLOTS.lease();
        then(endpoint.cells_of(lease.slot(), end));
    }
}
