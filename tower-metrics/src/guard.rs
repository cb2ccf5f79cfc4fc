//! Guard for a request in flight.

use http::{Method, Request, Response};
use http_body::Body;

use crate::clock::Instant;
use crate::error_type::ErrorType;
use crate::grpc;
use crate::head::RequestHead;
use crate::outcome::Outcome;
use crate::pool;
use crate::recorder::Recorder;
use crate::route::is_skipped;
use crate::shared::{Found, Shared, Target};
use crate::state::{Kind, State};

/// Guard for a request in flight, which records the request when it is dropped.
///
/// The service creates it, and passes it on to the response future and to the
/// response body, so that a request ends exactly once in every case. A guard is dropped
/// because the client has disconnected, or an outer layer has given up. A panic of the
/// service drops [`Running`] first.
///
/// The guard is a pointer to pooled state that does not move. Moving the state would
/// be most of the cost of a request: copying it with wide loads soon after it was
/// written with narrow stores causes store-forwarding stalls.
///
/// It is empty for a request that is excluded or has ended.
pub(crate) struct RequestGuard<R: Recorder>(Option<Box<State<R>>>);

impl<R: Recorder> RequestGuard<R> {
    /// Creates a guard without a request.
    #[inline]
    pub(crate) const fn empty() -> Self {
        Self(None)
    }

    /// Begins a request. Inlined into the call of the service, which has already saved the
    /// registers.
    #[inline(always)]
    pub(crate) fn begin(start: Instant, target: &'static Target<R>) -> Self {
        let mut state = pool::take().unwrap_or_else(|| State::new(start, target));
        state.begin(start, target);
        Self(Some(state))
    }

    /// Begins a request outside of the hot path, of which there is no copy for each use.
    #[inline(never)]
    fn begin_outlined(start: Instant, target: &'static Target<R>) -> Self {
        Self::begin(start, target)
    }

    /// Begins a request whose target is not cached. Returns an empty guard if it is
    /// excluded.
    #[inline(never)]
    pub(crate) fn begin_uncached<B>(
        start: Instant,
        shared: &'static Shared<R>,
        request: &Request<B>,
    ) -> Self {
        let head = RequestHead::from(request);
        if is_skipped(head.extensions) {
            return Self::empty();
        }
        let mut kind = Kind::of(head.method.as_str());
        let is_grpc = shared.is_grpc_enabled && kind == Kind::Other && grpc::is_grpc(head.headers);
        if is_grpc {
            kind = Kind::Grpc;
        }
        let found = RouteGuard {
            start,
            shared,
            method: head.method,
        }
        .find(&head, is_grpc);
        let routes = &shared.routes;
        let mut candidate = None;
        let is_overflow = matches!(found, Found::Overflow);
        let entry = match found {
            Found::Entry(entry) => entry,
            Found::Overflow => &routes.other,
            // Layers such as CORS answer every path.
            Found::Candidate(_) if *head.method == Method::OPTIONS => &routes.none,
            Found::Candidate(route) => {
                candidate = Some(route);
                &routes.other
            }
        };
        if entry.is_skipped {
            return Self::empty();
        }
        let target = shared.target(routes.method(head.method), entry);
        let mut guard = Self::begin_outlined(start, target);
        if let Some(state) = guard.state() {
            state.set_kind(kind);
            if let Some(candidate) = candidate {
                state.set_candidate(candidate);
            }
            if is_overflow {
                state.set_route_overflowed();
            }
        }
        guard
    }

    /// Returns the state of the request, or `None` if the guard is empty.
    #[inline(always)]
    pub(crate) fn state(&mut self) -> Option<&mut State<R>> {
        self.0.as_deref_mut()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Records the response head. The guard is empty afterwards if the request has ended.
    #[inline(always)]
    pub(crate) fn respond<B: Body>(&mut self, response: &Response<B>) {
        if let Some(state) = self.state()
            && !state.respond(response)
            && let Some(state) = self.0.take()
        {
            recycle(state);
        }
    }

    /// Ends the request with the last frame of its body, unless it has already ended. Inlined
    /// into the body, because most requests end here.
    #[inline(always)]
    pub(crate) fn complete(&mut self) {
        if let Some(mut state) = self.0.take() {
            state.end(Outcome::Complete);
            recycle(state);
        }
    }

    /// Ends the request, unless it has already ended.
    #[inline]
    pub(crate) fn end(&mut self, outcome: Outcome) {
        if let Some(state) = self.0.take() {
            end(state, outcome);
        }
    }

    /// Ends a request for which the inner service returned an error.
    #[cold]
    pub(crate) fn fail(&mut self, error_type: ErrorType) {
        if let Some(mut state) = self.0.take() {
            state.end_without_response(Outcome::ServiceError, error_type);
            recycle(state);
        }
    }
}

/// Ends a request with a response, unless it has already ended.
#[inline(never)]
fn end<R: Recorder>(mut state: Box<State<R>>, outcome: Outcome) {
    state.end(outcome);
    recycle(state);
}

/// Returns the state of a request that has ended to the pool.
#[inline(always)]
fn recycle<R: Recorder>(mut state: Box<State<R>>) {
    state.reset();
    pool::put(state);
}

impl<R: Recorder> Drop for RequestGuard<R> {
    #[inline]
    fn drop(&mut self) {
        if let Some(state) = self.0.take() {
            end_dropped(state);
        }
    }
}

#[cold]
fn end_dropped<R: Recorder>(mut state: Box<State<R>>) {
    if state.has_response {
        return end(state, Outcome::BodyCancelled);
    }
    state.end_without_response(Outcome::Cancelled, ErrorType::CANCELLED);
    recycle(state);
}

#[cold]
fn end_panicked<R: Recorder>(mut state: Box<State<R>>) {
    if state.has_response {
        return end(state, Outcome::Panic);
    }
    state.end_without_response(Outcome::Panic, ErrorType::PANIC);
    recycle(state);
}

/// Borrow of a guard while the inner service, its future, its body or a user-supplied
/// function runs. If that panics, the drop records the panic.
///
/// `std::thread::panicking` cannot distinguish a panic from a client disconnect: if an outer
/// layer catches panics, the unwinding is over when the guard is dropped.
pub(crate) struct Running<'a, R: Recorder>(pub(crate) &'a mut RequestGuard<R>);

impl<R: Recorder> Running<'_, R> {
    /// Moves the request out of the borrowed guard.
    #[inline(always)]
    pub(crate) fn into_guard(self) -> RequestGuard<R> {
        let guard = RequestGuard(self.0.0.take());
        self.finish();
        guard
    }

    /// Ends the borrow without a panic.
    #[inline(always)]
    pub(crate) fn finish(self) {
        std::mem::forget(self);
    }
}

impl<R: Recorder> Drop for Running<'_, R> {
    #[inline]
    fn drop(&mut self) {
        if let Some(state) = self.0.0.take() {
            end_panicked(state);
        }
    }
}

/// Records a request whose route function panics.
struct RouteGuard<'a, R: Recorder> {
    start: Instant,
    shared: &'static Shared<R>,
    method: &'a Method,
}

impl<R: Recorder> RouteGuard<'_, R> {
    fn find(self, head: &RequestHead<'_>, is_grpc: bool) -> Found<R> {
        let found = self.shared.find(head, is_grpc);
        std::mem::forget(self);
        found
    }
}

impl<R: Recorder> Drop for RouteGuard<'_, R> {
    fn drop(&mut self) {
        let routes = &self.shared.routes;
        let target = self.shared.target(routes.method(self.method), &routes.none);
        drop(Running(&mut RequestGuard::begin_outlined(
            self.start, target,
        )));
    }
}

/// Inspection of the request, for a guard that is not empty.
impl<R: Recorder> RequestGuard<R> {
    /// Records the size of the body that the request declares.
    #[inline(always)]
    pub(crate) fn set_request_size<B: Body>(&mut self, request: &Request<B>) {
        if let Some(state) = self.state() {
            state.set_request_size(request.body(), request.headers());
        }
    }

    /// Evaluates request labels and the exemplar trace ID, and passes the record of the
    /// request body on to the inner service.
    #[inline(never)]
    pub(crate) fn inspect_request<B>(&mut self, request: &mut Request<B>) {
        if let Some(state) = self.state() {
            state.inspect_request(&RequestHead::from(&*request));
            if let Some(read) = state.observe_request_body() {
                request.extensions_mut().insert(read);
            }
        }
    }
}
