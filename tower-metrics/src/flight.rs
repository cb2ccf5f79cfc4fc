//! A request under way: begun, and not yet ended.

use std::time::Duration;

use bytes::Buf;
use http::response::Parts;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body::Body;

use crate::clock::Instant;
use crate::grpc::{self, GrpcStatus};
use crate::head::{RequestHead, ResponseHead, only_value};
use crate::label::{Label, LabelNumbers, LabelValues};
use crate::layer::{DurationTo, TraceIdFn};
use crate::outcome::{CompletedRequest, ErrorType, Outcome, Side};
use crate::pool;
use crate::recorder::{Limit, Recorder};
use crate::request_body::BytesRead;
use crate::route::{Found, Route, Routes, Target, is_skipped};
use crate::trace_id::TraceId;

/// What all requests of a layer share. It lives as long as the process: a
/// reference count on it would be a cache line that every core writes.
pub(crate) struct Shared<R: Recorder> {
    pub(crate) recorder: R,
    pub(crate) route: Route,
    pub(crate) routes: Routes<R>,
    pub(crate) labels: Vec<Label>,
    pub(crate) grpc: bool,
    pub(crate) side: Side,
    pub(crate) trace_id: Option<TraceIdFn>,
    pub(crate) time_to_head: bool,
    /// Whether more than its route and method is to be asked of a request.
    pub(crate) asks: bool,
    /// Whether what is read of its body is counted.
    pub(crate) counts_request_bytes: bool,
}

/// A request under way. Whoever holds it ends it, exactly once.
///
/// What is known of a request stays in one place from its beginning to its
/// end, in a box that is used again; what the service hands on to the future
/// and the future to the body is a pointer. Moving all of it along would be
/// most of what a request costs: a processor that copies what was written in
/// smaller pieces just now waits until they have reached its cache.
pub(crate) struct Flight<R: Recorder>(Box<State<R>>);

struct State<R: Recorder> {
    target: &'static Target<R>,
    /// `None` once the request has ended.
    in_flight: Option<R::InFlight>,
    start: Instant,
    request_size: u64,
    kind: Kind,
    /// Set while we are inside what we wrap, or inside what the user has us
    /// ask about its answer: still set when we are dropped, it panicked.
    /// `std::thread::panicking` would not tell, for with a catch-panic layer
    /// outside the unwinding is over by then.
    polling: bool,
    /// Whether `extra` is as it was made.
    plain: bool,
    // Of the response, once there is one:
    status: Apart<StatusCode>,
    /// The body's bytes, where their number is known before they come.
    size: u64,
    sent: u64,
    extra: Extra,
}

/// A value that shares its four bytes with no other. The compiler reads two
/// bytes and their neighbours at once, and a load that spans a store just made
/// waits until that has reached the cache: 5 ns of a request.
#[repr(align(4))]
struct Apart<T>(T);

/// The size of a body that is not known in advance: more bytes than any has.
const UNKNOWN: u64 = u64::MAX;

/// The size of a body whose data proves its route: every frame reaches it.
const LOOK_AT_DATA: u64 = 0;

/// The largest size that is recorded for a body that was only declared, 1 TiB.
///
/// The length is the client's word: without a limit a single request could
/// add 2^63 bytes to a sum.
const MAX_DECLARED_SIZE: u64 = 1 << 40;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plain,
    Head,
    Connect,
    Grpc,
}

impl Kind {
    #[inline(always)]
    pub(crate) fn of(method: &Method) -> Self {
        match *method {
            Method::HEAD => Self::Head,
            Method::CONNECT => Self::Connect,
            _ => Self::Plain,
        }
    }
}

/// What few requests have.
#[derive(Default)]
struct Extra {
    labels: LabelNumbers,
    trace_id: Option<TraceId>,
    /// What was read of the request's body, where that is counted.
    read: Option<BytesRead>,
    /// A route that takes its place only if the answer shows that it exists.
    candidate: Option<Box<str>>,
    /// The error type in the response's extensions.
    error_type: Option<ErrorType>,
    grpc_status: Option<GrpcStatus>,
    /// When the head came, where anybody asked.
    head_at: Option<Duration>,
    /// An event stream or an upgrade: its duration ended at the head, and a
    /// client that leaves it ends it in the ordinary way.
    streams: bool,
}

impl<R: Recorder> Flight<R> {
    /// Begins a request whose target is known.
    #[inline(never)]
    pub(crate) fn begin(start: Instant, target: &'static Target<R>, kind: Kind) -> Self {
        let mut state = pool::take().unwrap_or_else(|| State::new(target, start));
        // Field by field: a whole one would be made elsewhere and copied.
        state.target = target;
        state.in_flight = Some(target.shared.recorder.begin(target.series));
        state.start = start;
        state.request_size = 0;
        state.kind = kind;
        state.polling = false;
        Self(state)
    }

    /// Begins a request; `None` where its route is left out.
    pub(crate) fn begin_unknown<B: Body>(
        start: Instant,
        shared: &'static Shared<R>,
        request: &Request<B>,
    ) -> Option<Self> {
        let head = RequestHead::from(request);
        if is_skipped(head.extensions) {
            return None;
        }
        let mut kind = Kind::of(head.method);
        let is_grpc = shared.grpc && kind == Kind::Plain && grpc::is_grpc(head.headers);
        if is_grpc {
            kind = Kind::Grpc;
        }
        let method = shared.routes.method(head.method);
        let guard = RouteGuard {
            start,
            shared,
            method,
            kind,
        };
        let found = shared.find(&head, is_grpc);
        std::mem::forget(guard);
        let mut candidate = None;
        let entry = match found {
            Found::Entry(entry) => entry,
            Found::Overflow => {
                shared.recorder.overflowed(Limit::Routes);
                shared.routes.other()
            }
            Found::Candidate(route) => {
                candidate = Some(route);
                shared.routes.other()
            }
        };
        if entry.skip {
            return None;
        }
        let mut flight = Self::begin(start, shared.target(method, entry), kind);
        if candidate.is_some() {
            flight.0.extra().candidate = candidate;
        }
        Some(flight)
    }

    /// Sets the size of the request's body as far as its head tells it.
    #[inline(always)]
    pub(crate) fn set_request_size<B: Body>(&mut self, request: &Request<B>) {
        self.0.request_size = size_of_body(request);
    }

    /// Asks what the user wants to know of the request.
    pub(crate) fn ask(&mut self, head: &RequestHead<'_>) {
        let shared = self.0.target.shared;
        if !shared.labels.is_empty() {
            self.0.extra().labels =
                LabelNumbers::of_request(&shared.labels, head, &shared.recorder);
        }
        if let Some(find) = &shared.trace_id
            && let Some(trace_id) = find(head)
        {
            self.0.extra().trace_id = Some(trace_id);
        }
    }

    /// What is read of the request's body is its size.
    pub(crate) fn count_request_bytes(&mut self) -> BytesRead {
        self.0.extra().read.get_or_insert_default().clone()
    }

    /// We go into what we wrap, or have come back.
    #[inline]
    pub(crate) fn set_polling(&mut self, polling: bool) {
        self.0.polling = polling;
    }

    /// Takes a look at the response. Whether a body is to be followed;
    /// otherwise the request has ended.
    #[inline(never)]
    pub(crate) fn respond<B: Body>(&mut self, head: &Parts, body: &B) -> bool {
        let state = &mut *self.0;
        state.status = Apart(head.status);
        state.sent = 0;
        // What nearly every response is needs no second look.
        if state.plain
            && state.kind == Kind::Plain
            && !state.target.looks_at_heads
            && matches!(head.status.as_u16(), 200..=203 | 205..=299 | 400..=499)
            && head.extensions.is_empty()
            && let Some(size) = body.size_hint().exact()
            && size > 0
            && !body.is_end_stream()
        {
            state.size = size;
        } else {
            state.look_at_head(&ResponseHead::from(head), body);
        }
        state.polling = false;
        state.in_flight.is_some()
    }

    /// Adds the bytes of a frame that was passed on, and returns whether it was
    /// the last one.
    #[inline]
    pub(crate) fn sent(&mut self, data: &impl Buf) -> bool {
        let state = &mut *self.0;
        state.sent = state.sent.saturating_add(data.remaining() as u64);
        state.sent >= state.size && state.size_reached(data.chunk())
    }

    /// Trailers were handed on.
    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        if self.0.kind == Kind::Grpc
            && let Some(grpc_status) = GrpcStatus::from_headers(trailers)
        {
            self.0.extra().grpc_status = Some(grpc_status);
            if self.0.extra.candidate.is_some() {
                self.0.settle_route(grpc_status == GrpcStatus::OK);
            }
        }
    }

    /// Ends a request that has a response, if it has not ended.
    #[inline(never)]
    pub(crate) fn end(mut self, outcome: Outcome) {
        self.0.end(outcome);
        self.give_back();
    }

    /// Ends a request whose response's body is dropped.
    #[cold]
    pub(crate) fn end_of_dropped_body(self) {
        let outcome = if self.0.polling {
            Outcome::Panic
        } else {
            Outcome::BodyCancelled
        };
        self.end(outcome);
    }

    /// Ends a request whose future is dropped.
    #[cold]
    pub(crate) fn end_of_dropped_future(self) {
        if self.0.polling {
            self.end_without_response(Outcome::Panic, ErrorType::PANIC);
        } else {
            self.end_without_response(Outcome::Cancelled, ErrorType::CANCELLED);
        }
    }

    /// Ends a request that had no response.
    #[cold]
    pub(crate) fn end_without_response(mut self, outcome: Outcome, error_type: ErrorType) {
        let state = &mut *self.0;
        // Of a response that was looked at when something panicked, nothing is
        // told.
        let end = CompletedRequest {
            outcome,
            status: None,
            error_type,
            duration: state.start.elapsed(),
            time_to_head: None,
            response_size: 0,
            grpc_status: None,
            ..state.describe()
        };
        let target = state.target;
        if let Some(in_flight) = state.in_flight.take() {
            target.shared.recorder.end(target.series, in_flight, &end);
        }
        self.give_back();
    }

    #[inline(always)]
    fn give_back(mut self) {
        if !self.0.plain {
            self.0.plain = true;
            self.0.extra = Extra::default();
        }
        pool::give(self.0);
    }
}

/// Counts a request whose route function panics: dropped by the unwinding only.
struct RouteGuard<R: Recorder> {
    start: Instant,
    shared: &'static Shared<R>,
    method: usize,
    kind: Kind,
}

impl<R: Recorder> Drop for RouteGuard<R> {
    fn drop(&mut self) {
        let target = self.shared.target(self.method, self.shared.routes.none());
        Flight::begin(self.start, target, self.kind)
            .end_without_response(Outcome::Panic, ErrorType::PANIC);
    }
}

impl<R: Recorder> State<R> {
    #[cold]
    fn new(target: &'static Target<R>, start: Instant) -> Box<Self> {
        Box::new(Self {
            target,
            in_flight: None,
            start,
            request_size: 0,
            kind: Kind::Plain,
            polling: false,
            plain: true,
            status: Apart(StatusCode::OK),
            size: UNKNOWN,
            sent: 0,
            extra: Extra::default(),
        })
    }

    fn extra(&mut self) -> &mut Extra {
        self.plain = false;
        &mut self.extra
    }

    #[inline(never)]
    fn look_at_head<B: Body>(&mut self, head: &ResponseHead<'_>, body: &B) {
        let status = head.status;
        if is_skipped(head.extensions) {
            self.extra.candidate = None;
            return self.abandon();
        }
        let shared = self.target.shared;
        if let Some(error_type) = head.extensions.get() {
            self.extra().error_type = Some(*error_type);
        }
        if self.kind == Kind::Grpc
            && let Some(grpc_status) = GrpcStatus::from_headers(head.headers)
        {
            self.extra().grpc_status = Some(grpc_status);
        }
        if !shared.labels.is_empty() {
            let labels = &mut self.extra().labels;
            labels.add_response(&shared.labels, head, &shared.recorder);
        }
        let mut route_is_open = false;
        if self.extra.candidate.is_some() {
            match self.route_exists(head) {
                Some(exists) => self.settle_route(exists),
                None => route_is_open = true,
            }
        }

        // hyper drops a body after as many bytes as the head promises, and a
        // file server knows the size while its body does not.
        let exact_size = body
            .size_hint()
            .exact()
            .or_else(|| content_length(head.headers));
        // A gRPC response has its status in trailers, after the last byte.
        let has_trailers = self.kind == Kind::Grpc;
        let no_body = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || status.is_informational()
            || self.kind == Kind::Head
            || body.is_end_stream()
            || (exact_size == Some(0) && !has_trailers);
        let upgraded = status == StatusCode::SWITCHING_PROTOCOLS
            || (self.kind == Kind::Connect && status.is_success());
        let streams = upgraded || (!no_body && exact_size.is_none() && is_event_stream(head));
        self.size = match exact_size {
            _ if route_is_open => LOOK_AT_DATA,
            Some(size) if !has_trailers => size,
            _ => UNKNOWN,
        };
        if streams || shared.time_to_head || self.target.duration_to == DurationTo::Head {
            let head_at = self.start.elapsed();
            let extra = self.extra();
            extra.head_at = Some(head_at);
            extra.streams = streams;
        }
        if no_body && !streams {
            self.end(Outcome::Complete);
        }
    }

    /// Whether a response shows that the route it answers exists: `None` where
    /// only its body can tell.
    ///
    /// Only positive proof counts. A refusal by an interceptor, an
    /// authentication layer, a rate limiter or a redirect is the same for every
    /// path, so that a scanner would fill the table with it.
    fn route_exists(&self, head: &ResponseHead<'_>) -> Option<bool> {
        if self.kind != Kind::Grpc {
            let status = head.status;
            return Some(status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS);
        }
        match self.extra.grpc_status {
            Some(grpc_status) => Some(grpc_status == GrpcStatus::OK),
            None if grpc::is_grpc(head.headers) => None,
            None => Some(false),
        }
    }

    /// The bytes that were passed on are as many as `size`: returns whether the
    /// body has ended.
    #[inline]
    fn size_reached(&mut self, data: &[u8]) -> bool {
        if self.size == LOOK_AT_DATA {
            if data.first().is_some_and(|first| grpc::is_message(*first)) {
                self.size = UNKNOWN;
                self.settle_route(true);
            }
            return false;
        }
        true
    }

    /// Moves a request whose route comes from its path to the series of that
    /// route if it exists, and to the empty route otherwise.
    #[cold]
    fn settle_route(&mut self, exists: bool) {
        let Some(route) = self.extra.candidate.take() else {
            return;
        };
        let shared = self.target.shared;
        let entry = match shared.routes.known(&route) {
            // Another request has proved it meanwhile.
            Some(entry) => entry,
            // Neither a slot nor an overflow: there is no such route.
            None if !exists => shared.routes.none(),
            None => match shared.routes.take(&route) {
                Ok(entry) => entry,
                Err(_) => {
                    shared.recorder.overflowed(Limit::Routes);
                    return;
                }
            },
        };
        let target = shared.target(self.target.method, entry);
        let begun = shared.recorder.begin(target.series);
        self.abandon();
        self.in_flight = Some(begun);
        self.target = target;
    }

    fn abandon(&mut self) {
        let target = self.target;
        if let Some(in_flight) = self.in_flight.take() {
            target.shared.recorder.abandon(target.series, in_flight);
        }
    }

    #[inline(always)]
    fn end(&mut self, mut outcome: Outcome) {
        if !self.plain {
            outcome = self.end_extra(outcome);
        }
        let Some(in_flight) = self.in_flight.take() else {
            return;
        };
        let target = self.target;
        let mut end = self.describe();
        end.outcome = outcome;
        match outcome {
            Outcome::Panic => end.error_type = ErrorType::PANIC,
            Outcome::BodyError => end.error_type = ErrorType::BODY_ERROR,
            Outcome::BodyCancelled => end.error_type = ErrorType::BODY_CANCELLED,
            _ => {}
        }
        target.shared.recorder.end(target.series, in_flight, &end);
    }

    /// What an uncommon request needs before it ends; returns its outcome.
    fn end_extra(&mut self, outcome: Outcome) -> Outcome {
        if self.extra.candidate.is_some() {
            // A gRPC response with neither a message nor a status.
            self.settle_route(false);
        }
        match outcome {
            // An open-ended stream ends when the client leaves it.
            Outcome::BodyCancelled if self.extra.streams => Outcome::Complete,
            _ => outcome,
        }
    }

    /// The request as it is if it has ended now, whole.
    #[inline(always)]
    fn describe(&self) -> CompletedRequest<'static> {
        let shared = self.target.shared;
        let mut end = CompletedRequest {
            outcome: Outcome::Complete,
            status: Some(self.status.0),
            error_type: shared.side.error_type_of(self.status.0),
            duration: Duration::ZERO,
            time_to_head: None,
            request_size: self.request_size,
            response_size: self.sent,
            grpc_status: None,
            labels: LabelValues {
                labels: &shared.labels,
                numbers: LabelNumbers::default(),
            },
            trace_id: None,
        };
        let mut to_head = None;
        if !self.plain {
            let extra = &self.extra;
            end.grpc_status = extra.grpc_status;
            if let Some(grpc_status) = extra.grpc_status {
                let error_type = shared.side.grpc_error_type_of(grpc_status);
                if error_type != ErrorType::NONE {
                    end.error_type = error_type;
                }
            }
            if let Some(error_type) = extra.error_type {
                end.error_type = error_type;
            }
            end.labels.numbers = extra.labels;
            end.trace_id = extra.trace_id;
            if let Some(read) = &extra.read {
                end.request_size = read.get();
            }
            if shared.time_to_head {
                end.time_to_head = extra.head_at;
            }
            if extra.streams || self.target.duration_to == DurationTo::Head {
                to_head = extra.head_at;
            }
        }
        end.duration = to_head.unwrap_or_else(|| self.start.elapsed());
        end
    }
}

/// Returns the request's size as its body or its head declares it, at most
/// [`MAX_DECLARED_SIZE`].
#[inline(always)]
fn size_of_body<B: Body>(request: &Request<B>) -> u64 {
    let exact_size = request.body().size_hint().exact();
    exact_size
        .or_else(|| content_length(request.headers()))
        .unwrap_or(0)
        .min(MAX_DECLARED_SIZE)
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    let value = only_value(headers, &header::CONTENT_LENGTH)?.as_bytes();
    // Digits alone: `parse` takes a sign, too.
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

fn is_event_stream(head: &ResponseHead<'_>) -> bool {
    const EVENT_STREAM: &[u8] = b"text/event-stream";
    only_value(head.headers, &header::CONTENT_TYPE).is_some_and(|value| {
        value
            .as_bytes()
            .get(..EVENT_STREAM.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(EVENT_STREAM))
    })
}
