//! State of a request in flight.

use std::time::Duration;

use bytes::Buf;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame};

use crate::clock::Instant;
use crate::completed_request::CompletedRequest;
use crate::error_type::ErrorType;
use crate::grpc::{self, GrpcStatus};
use crate::head::{RequestHead, ResponseHead, content_length, is_event_stream};
use crate::label::LabelNumbers;
use crate::oldest_request::StartCell;
use crate::outcome::Outcome;
use crate::recorder::{Limit, Recorder};
use crate::request_body::BodyRead;
use crate::route::{DurationFrom, DurationTo, is_skipped};
use crate::shared::{Shared, Target};
use crate::side::Side;

/// Kind of a request, which decides where its response ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Head,
    Connect,
    Grpc,
    Other,
}

impl Kind {
    pub(crate) fn of(method: &str) -> Self {
        match method {
            "HEAD" => Self::Head,
            "CONNECT" => Self::Connect,
            _ => Self::Other,
        }
    }
}

/// Expected size of a body that is not known in advance.
const UNKNOWN_SIZE: u64 = u64::MAX;

/// Expected size of a body whose data is inspected: every frame reaches it.
const INSPECT_DATA: u64 = 0;

/// Maximum size recorded for a request body whose size is only declared: 1 TiB.
///
/// A client may declare any length, and a single request must not dominate a sum.
const MAX_DECLARED_SIZE: u64 = 1 << 40;

/// State of a request in flight.
pub(crate) struct State<R: Recorder> {
    target: &'static Target<R>,
    /// `None` once the request has ended.
    in_flight: Option<R::InFlight>,
    start: Instant,
    /// `None` until a recorder tracks the oldest request.
    start_cell: Option<StartCell>,
    /// `true` once the service has responded.
    pub(crate) has_response: bool,
    /// `true` if `extra` has its default value, the record has no error type, and no label is
    /// beyond its limit.
    is_plain: bool,
    /// Size of the response body, if it is known in advance.
    expected_size: u64,
    /// Record for the recorder, completed when the request ends.
    record: CompletedRequest<'static>,
    extra: Extra,
}

/// State that most requests do not need, kept out of the hot path.
#[derive(Default)]
struct Extra {
    /// Kind of the request, if it is not that of its target: a gRPC call, or a method that is
    /// recorded as `_OTHER`.
    kind: Option<Kind>,
    /// Progress of reading the request body, if it is recorded.
    body_read: Option<BodyRead>,
    /// Route that gets a slot if the response proves that it exists.
    candidate: Option<Box<str>>,
    /// `true` if the route is beyond the limit.
    is_route_overflowed: bool,
    /// Error type in the extensions of the response.
    error_type: Option<ErrorType>,
    grpc_status: Option<GrpcStatus>,
    time_to_head: Option<Duration>,
    /// `true` for an event stream or an upgrade, whose duration ends at the head and
    /// which a client ends by disconnecting.
    is_open_ended: bool,
}

/// Beginning of a request.
impl<R: Recorder> State<R> {
    /// Creates the state of no request, for the pool.
    #[cold]
    pub(crate) fn new(start: Instant, target: &'static Target<R>) -> Box<Self> {
        Box::new(Self {
            target,
            in_flight: None,
            start,
            start_cell: None,
            has_response: false,
            is_plain: true,
            expected_size: UNKNOWN_SIZE,
            record: CompletedRequest::EMPTY,
            extra: Extra::default(),
        })
    }

    /// Begins a request.
    #[inline(always)]
    pub(crate) fn begin(&mut self, start: Instant, target: &'static Target<R>) {
        // Assigned one by one, because the compiler would build a whole value
        // elsewhere and copy it.
        self.target = target;
        self.in_flight = Some(target.shared.recorder.begin(target.series));
        self.start = start;
        self.record.request_size = 0;
        self.has_response = false;
        self.record.labels.numbers = LabelNumbers::EMPTY;
        self.record.trace_id = None;
        self.track(target);
    }

    /// Makes the request visible as one in flight.
    #[inline(always)]
    fn track(&mut self, target: &'static Target<R>) {
        if let Some(series) = target.tracked {
            let cell = self.start_cell.get_or_insert_with(StartCell::register);
            cell.begin(series, self.start);
        }
    }

    /// Hides the request once its duration is known.
    #[inline(always)]
    fn untrack(&self) {
        if let Some(cell) = &self.start_cell {
            cell.clear();
        }
    }

    /// Takes the request out of flight.
    #[inline(always)]
    fn take_in_flight(&mut self) -> Option<R::InFlight> {
        self.untrack();
        self.in_flight.take()
    }

    /// Prepares the state for the next request.
    #[inline(always)]
    pub(crate) fn reset(&mut self) {
        if !self.is_plain {
            self.is_plain = true;
            self.extra = Extra::default();
            self.record.error_type = ErrorType::NONE;
            self.record.time_to_head = None;
            self.record.grpc_status = None;
        }
    }

    fn extra(&mut self) -> &mut Extra {
        self.is_plain = false;
        &mut self.extra
    }

    pub(crate) fn set_kind(&mut self, kind: Kind) {
        if kind != self.target.kind {
            self.extra().kind = Some(kind);
        }
    }

    fn kind(&self) -> Kind {
        self.extra.kind.unwrap_or(self.target.kind)
    }

    pub(crate) fn set_candidate(&mut self, route: Box<str>) {
        self.extra().candidate = Some(route);
    }

    pub(crate) fn set_route_overflowed(&mut self) {
        self.extra().is_route_overflowed = true;
    }

    #[inline(always)]
    pub(crate) fn set_request_size<B: Body>(&mut self, body: &B, headers: &HeaderMap) {
        let size = match body.size_hint().exact() {
            Some(size) => size,
            None => content_length(headers).unwrap_or(0),
        };
        self.record.request_size = size.min(MAX_DECLARED_SIZE);
    }

    #[inline]
    pub(crate) fn inspect_request(&mut self, head: &RequestHead<'_>) {
        let Shared {
            labels, trace_id, ..
        } = self.target.shared;
        if !labels.is_empty() {
            self.is_plain &= !self.record.labels.numbers.evaluate_request(labels, head);
        }
        if let Some(trace_id) = trace_id {
            self.record.trace_id = trace_id(head);
        }
    }

    /// Returns the record of what the service reads of the request body, if that is
    /// recorded.
    pub(crate) fn observe_request_body(&mut self) -> Option<BodyRead> {
        let shared = self.target.shared;
        if !shared.observes_request_bodies {
            return None;
        }
        let is_timed = shared.duration_from == DurationFrom::Body;
        let read = BodyRead::new(is_timed.then_some(self.start));
        Some(self.extra().body_read.insert(read).clone())
    }
}

/// Inspection of the response.
impl<R: Recorder> State<R> {
    /// Records the response head, and returns whether the request continues with the
    /// body.
    #[inline(always)]
    pub(crate) fn respond<B: Body>(&mut self, response: &Response<B>) -> bool {
        let (status, body) = (response.status(), response.body());
        self.record.status = Some(status);
        self.record.response_size = 0;
        // Most responses need no further inspection.
        if self.is_plain
            && !self.target.inspects_responses
            && status >= StatusCode::OK
            && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            && response.extensions().is_empty()
            && let Some(size) = body.size_hint().exact()
            && size > 0
            && !body.is_end_stream()
        {
            self.expected_size = size;
            self.has_response = true;
            return true;
        }
        self.respond_inspected(response)
    }

    #[inline(never)]
    fn respond_inspected<B: Body>(&mut self, response: &Response<B>) -> bool {
        self.inspect_response(&ResponseHead::from(response), response.body());
        self.has_response = true;
        self.in_flight.is_some()
    }

    fn inspect_response<B: Body>(&mut self, head: &ResponseHead<'_>, body: &B) {
        if is_skipped(head.extensions) {
            self.extra.candidate = None;
            return self.abandon();
        }
        let shared = self.target.shared;
        if let Some(error_type) = head.extensions.get() {
            self.extra().error_type = Some(*error_type);
        }
        if self.kind() == Kind::Grpc
            && let Some(grpc_status) = GrpcStatus::from_headers(head.headers)
        {
            self.extra().grpc_status = Some(grpc_status);
        }
        if !shared.labels.is_empty() {
            self.is_plain &= !self
                .record
                .labels
                .numbers
                .evaluate_response(&shared.labels, head);
        }
        let mut body_proves_route = false;
        if self.extra.candidate.is_some() {
            match self.proves_route(head) {
                Some(exists) => self.settle_route(exists),
                None => body_proves_route = true,
            }
        }

        let status = head.status;
        // hyper drops a body after as many bytes as the head declares, and file
        // servers declare the size in the head alone.
        let size = body.size_hint().exact();
        let size = size.or_else(|| content_length(head.headers));
        // The trailers of a gRPC response follow its last byte.
        let has_trailers = self.kind() == Kind::Grpc;
        let has_no_body = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || status.is_informational()
            || self.kind() == Kind::Head
            || body.is_end_stream()
            || (size == Some(0) && !has_trailers);
        let is_upgrade = status == StatusCode::SWITCHING_PROTOCOLS
            || (self.kind() == Kind::Connect && status.is_success());
        let is_open_ended =
            is_upgrade || (!has_no_body && size.is_none() && is_event_stream(head.headers));
        self.expected_size = match size {
            _ if body_proves_route => INSPECT_DATA,
            Some(size) if !has_trailers => size,
            _ => UNKNOWN_SIZE,
        };
        if is_open_ended || shared.wants_time_to_head || self.target.duration_to == DurationTo::Head
        {
            let time_to_head = self.duration_until(Instant::now());
            let extra = self.extra();
            extra.time_to_head = Some(time_to_head);
            extra.is_open_ended = is_open_ended;
        }
        if self.has_duration() {
            self.untrack();
        }
        if has_no_body && !is_open_ended {
            self.end(Outcome::Complete);
        }
    }

    /// Records a frame that is passed on, and returns whether it is the last.
    #[inline]
    pub(crate) fn send<D: Buf>(&mut self, frame: &Frame<D>) -> bool {
        if let Some(data) = frame.data_ref() {
            let sent = &mut self.record.response_size;
            *sent = sent.saturating_add(data.remaining() as u64);
            return *sent >= self.expected_size && self.reach_size(data.chunk());
        }
        if let Some(trailers) = frame.trailers_ref() {
            self.inspect_trailers(trailers);
        }
        frame.is_trailers()
    }

    /// Returns whether the body ends when it reaches its expected size.
    #[inline]
    fn reach_size(&mut self, data: &[u8]) -> bool {
        if self.expected_size != INSPECT_DATA {
            return true;
        }
        if data.first().is_some_and(|first| grpc::is_message(*first)) {
            self.expected_size = UNKNOWN_SIZE;
            self.settle_route(true);
        }
        false
    }

    fn inspect_trailers(&mut self, trailers: &HeaderMap) {
        if self.kind() == Kind::Grpc
            && let Some(grpc_status) = GrpcStatus::from_headers(trailers)
        {
            self.extra().grpc_status = Some(grpc_status);
            if self.extra.candidate.is_some() {
                self.settle_route(grpc_status == GrpcStatus::OK);
            }
        }
    }
}

/// Routes that are taken from the request.
impl<R: Recorder> State<R> {
    /// Returns whether a response head proves that the route exists, or `None` if the
    /// body may prove it.
    ///
    /// Every path gets the same rejection from an interceptor, an authentication layer
    /// or a rate limiter, and the same redirect, so that these prove nothing.
    fn proves_route(&self, head: &ResponseHead<'_>) -> Option<bool> {
        if self.kind() != Kind::Grpc {
            let status = head.status;
            return Some(status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS);
        }
        match self.extra.grpc_status {
            Some(grpc_status) => Some(grpc_status == GrpcStatus::OK),
            None if grpc::is_grpc(head.headers) => None,
            None => Some(false),
        }
    }

    /// Moves the request from `_OTHER` to its route if that exists, and otherwise to
    /// the empty route.
    #[cold]
    fn settle_route(&mut self, exists: bool) {
        let Some(route) = self.extra.candidate.take() else {
            return;
        };
        let shared = self.target.shared;
        let entry = match shared.routes.get(&route) {
            // Another request has proved it in the meantime.
            Some(entry) => entry,
            None if !exists => &shared.routes.none,
            None => match shared.routes.get_or_insert(&route) {
                Some(entry) => entry,
                None => return self.set_route_overflowed(),
            },
        };
        let target = shared.target(self.target.method, entry);
        // In this order, the gauge does not drop to zero in between.
        let in_flight = shared.recorder.begin(target.series);
        self.abandon();
        self.in_flight = Some(in_flight);
        self.target = target;
        if !self.has_duration() {
            self.track(target);
        }
    }

    /// Returns whether the duration ended at the head.
    fn has_duration(&self) -> bool {
        let ends_at_head = self.extra.is_open_ended || self.target.duration_to == DurationTo::Head;
        ends_at_head && self.extra.time_to_head.is_some()
    }

    fn abandon(&mut self) {
        let target = self.target;
        if let Some(in_flight) = self.take_in_flight() {
            target.shared.recorder.abandon(target.series, in_flight);
        }
    }
}

/// End of a request.
impl<R: Recorder> State<R> {
    /// Records a request with a response, unless it has ended.
    #[inline(always)]
    pub(crate) fn end(&mut self, outcome: Outcome) {
        if !self.is_plain {
            return self.end_inspected(outcome);
        }
        if let Some(in_flight) = self.take_in_flight() {
            let ended = Instant::now();
            self.complete(outcome, ended.since(self.start), ended);
            self.record(in_flight);
        }
    }

    #[inline(never)]
    fn end_inspected(&mut self, outcome: Outcome) {
        let outcome = self.settle(outcome);
        if let Some(in_flight) = self.take_in_flight() {
            self.count_overflows();
            self.complete_inspected(outcome);
            self.record(in_flight);
        }
    }

    #[inline(always)]
    fn record(&self, in_flight: R::InFlight) {
        let target = self.target;
        let recorder = &target.shared.recorder;
        recorder.end(target.series, in_flight, &self.record);
    }

    /// Resolves what is still undecided at the end of the response, and returns the
    /// outcome.
    fn settle(&mut self, outcome: Outcome) -> Outcome {
        if self.extra.candidate.is_some() {
            // gRPC without a message and without a status.
            self.settle_route(false);
        }
        match outcome {
            Outcome::BodyCancelled if self.extra.is_open_ended => Outcome::Complete,
            _ => outcome,
        }
    }

    /// Records a request without a response, unless it has ended.
    #[cold]
    pub(crate) fn end_without_response(&mut self, outcome: Outcome, error_type: ErrorType) {
        let Some(in_flight) = self.take_in_flight() else {
            return;
        };
        self.count_overflows();
        // If a user-supplied function panicked, part of the response may have been
        // inspected.
        self.complete_inspected(outcome);
        self.record.status = None;
        self.record.error_type = error_type;
        self.record.time_to_head = None;
        self.record.response_size = 0;
        self.record.grpc_status = None;
        self.record(in_flight);
    }

    /// Counts the values recorded as `_OTHER`. Runs at the end, because the response
    /// may still exclude the request.
    fn count_overflows(&self) {
        let Shared {
            recorder, labels, ..
        } = self.target.shared;
        if self.extra.is_route_overflowed {
            recorder.overflowed(Limit::Routes);
        }
        for label in self.record.labels.numbers.overflowed(labels) {
            recorder.overflowed(Limit::Label(label));
        }
    }

    /// Completes the record of a request without anything in `extra`. It writes the error type
    /// only if there is one: that of the empty record is [`ErrorType::NONE`].
    #[inline(always)]
    fn complete(&mut self, outcome: Outcome, duration: Duration, ended: Instant) {
        let shared = self.target.shared;
        let record = &mut self.record;
        record.outcome = outcome;
        let is_success = record
            .status
            .is_some_and(|status| status < StatusCode::BAD_REQUEST);
        if outcome != Outcome::Complete || !is_success {
            record.error_type = error_type(outcome, record.status, shared.side);
            self.is_plain = false;
        }
        record.duration = duration;
        record.labels.labels = &shared.labels;
        record.ended = Some(ended);
    }

    /// Completes the record of a request.
    fn complete_inspected(&mut self, outcome: Outcome) {
        let shared = self.target.shared;
        let duration = self.extra.time_to_head.filter(|_| self.has_duration());
        let ended = Instant::now();
        let duration = duration.unwrap_or_else(|| self.duration_until(ended));
        self.complete(outcome, duration, ended);
        let (record, extra) = (&mut self.record, &self.extra);
        record.grpc_status = extra.grpc_status;
        if outcome == Outcome::Complete {
            let of_grpc = extra
                .grpc_status
                .map(|status| shared.side.grpc_error_type(status));
            let of_grpc = of_grpc.filter(|error_type| *error_type != ErrorType::NONE);
            if let Some(error_type) = extra.error_type.or(of_grpc) {
                record.error_type = error_type;
            }
        }
        if shared.counts_request_bytes {
            // An empty body is not observed.
            record.request_size = extra.body_read.as_ref().map_or(0, BodyRead::bytes);
        }
        if shared.wants_time_to_head {
            record.time_to_head = extra.time_to_head;
        }
    }

    /// Returns the time since the duration started.
    fn duration_until(&self, end: Instant) -> Duration {
        let read = self.extra.body_read.as_ref().map(BodyRead::last_read);
        let duration = end.since(self.start);
        duration.saturating_sub(read.unwrap_or_default())
    }
}

/// Returns the error type of a request with a response, which the response may override.
#[inline(never)]
fn error_type(outcome: Outcome, status: Option<StatusCode>, side: Side) -> ErrorType {
    match outcome {
        Outcome::Panic => ErrorType::PANIC,
        Outcome::BodyError => ErrorType::BODY_ERROR,
        Outcome::BodyCancelled => ErrorType::BODY_CANCELLED,
        _ => status.map_or(ErrorType::NONE, |status| side.error_type(status)),
    }
}
