//! A request under way: begun, and not yet ended.

use std::time::Duration;

use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body::Body;

use crate::body::ResponseBody;
use crate::clock::Instant;
use crate::grpc::{self, GrpcStatus};
use crate::head::{RequestHead, ResponseHead};
use crate::label::{Label, LabelNumbers, LabelValues};
use crate::layer::{DurationTo, Skip, TraceIdFn};
use crate::outcome::{End, ErrorType, Outcome, Side};
use crate::recorder::{Limit, Recorder};
use crate::route::{Entry, Found, Route, Routes};
use crate::trace_id::TraceId;

/// What all requests of a layer share. It lives as long as the process: a
/// reference count on it would be a cache line that every core writes.
pub(crate) struct Shared<R: Recorder> {
    pub(crate) recorder: R,
    pub(crate) route: Route,
    pub(crate) routes: Routes<R::Series>,
    pub(crate) labels: Vec<Label>,
    pub(crate) grpc: bool,
    pub(crate) side: Side,
    pub(crate) trace_id: Option<TraceIdFn>,
    pub(crate) time_to_head: bool,
}

/// A request under way. Whoever holds it ends it, exactly once.
pub(crate) struct Flight<R: Recorder> {
    shared: &'static Shared<R>,
    entry: &'static Entry<R::Series>,
    series: R::Series,
    /// `None` once the request has ended, or gone on to its response.
    in_flight: Option<R::InFlight>,
    start: Instant,
    request_size: u64,
    labels: LabelNumbers,
    trace_id: Option<TraceId>,
    /// A route that takes its place only if the answer shows that it exists.
    candidate: Option<Box<str>>,
    method: u8,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Head,
    Connect,
    Grpc,
}

impl<R: Recorder> Flight<R> {
    /// Begins a request; `None` where its route is left out.
    #[inline]
    pub(crate) fn begin<B: Body>(shared: &'static Shared<R>, request: &Request<B>) -> Option<Self> {
        let head = RequestHead::from(request);
        let routes = &shared.routes;
        let is_grpc = shared.grpc && grpc::is_grpc(head.headers);

        let found = if is_grpc {
            Found::Path(head.uri.path().into())
        } else {
            shared.route.of(&head)
        };
        let mut candidate = None;
        let entry = match found {
            Found::Template(route) => match routes.take(route) {
                Ok(entry) => entry,
                Err(other) => {
                    shared.recorder.overflowed(Limit::Routes);
                    other
                }
            },
            Found::Path(path) => routes.known(&path).unwrap_or_else(|| {
                candidate = Some(Box::from(path));
                routes.other()
            }),
        };
        if entry.skip || (!head.extensions.is_empty() && head.extensions.get::<Skip>().is_some()) {
            return None;
        }

        let method = routes.method(head.method);
        let series = routes.series(method, entry, |m, r| shared.recorder.series(m, r));
        let labels = if shared.labels.is_empty() {
            LabelNumbers::default()
        } else {
            LabelNumbers::of_request(&shared.labels, &head, &shared.recorder)
        };
        Some(Self {
            shared,
            entry,
            series,
            request_size: request_size(request),
            labels,
            trace_id: shared
                .trace_id
                .as_ref()
                .and_then(|trace_id| trace_id(&head)),
            candidate,
            // The layer takes at most 200 methods.
            method: method as u8,
            kind: match *head.method {
                Method::HEAD => Kind::Head,
                Method::CONNECT => Kind::Connect,
                _ if is_grpc => Kind::Grpc,
                _ => Kind::Plain,
            },
            in_flight: Some(shared.recorder.begin(series)),
            start: Instant::now(),
        })
    }

    /// Ends a request that had no response.
    pub(crate) fn end_without_response(&mut self, outcome: Outcome, error_type: ErrorType) {
        let end = End {
            outcome,
            status: None,
            error_type,
            duration: self.start.elapsed(),
            time_to_head: None,
            request_size: self.request_size,
            response_size: 0,
            grpc_status: None,
            labels: self.label_values(),
            trace_id: self.trace_id,
        };
        if let Some(in_flight) = self.in_flight.take() {
            self.shared.recorder.end(self.series, in_flight, &end);
        }
    }

    /// Hands the request on to its response; what is left here ends nothing.
    #[inline]
    fn go_on(&mut self) -> Self {
        Self {
            in_flight: self.in_flight.take(),
            candidate: None,
            ..*self
        }
    }

    /// Takes the response, and follows its body where one can come.
    #[inline]
    pub(crate) fn respond<B: Body>(
        &mut self,
        response: Response<B>,
    ) -> Response<ResponseBody<B, R>> {
        let head = ResponseHead::from(&response);
        let status = head.status;
        let has_extensions = !head.extensions.is_empty();
        if has_extensions && head.extensions.get::<Skip>().is_some() {
            if let Some(in_flight) = self.in_flight.take() {
                self.shared.recorder.abandon(self.series, in_flight);
            }
            return response.map(ResponseBody::unwatched);
        }
        let grpc_status = if self.kind == Kind::Grpc {
            GrpcStatus::from_headers(head.headers)
        } else {
            None
        };
        let error_type = match grpc_status {
            Some(grpc) if self.shared.side.is_grpc_error(grpc) => ErrorType::new(grpc.as_str()),
            _ if !self.shared.side.is_error(status) => ErrorType::NONE,
            _ => {
                let told = if has_extensions {
                    head.extensions.get().copied()
                } else {
                    None
                };
                told.unwrap_or_else(|| ErrorType::of_code(status))
            }
        };
        if !self.shared.labels.is_empty() {
            self.labels
                .add_response(&self.shared.labels, &head, &self.shared.recorder);
        }
        if self.candidate.is_some() {
            self.settle_route(status, grpc_status);
        }

        let body = response.body();
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
        let streams = upgraded || (!no_body && exact_size.is_none() && is_event_stream(&head));
        let to_head = self.entry.duration_to == DurationTo::Head;
        let head_at = if streams || to_head || self.shared.time_to_head {
            Some(self.start.elapsed())
        } else {
            None
        };

        let mut responding = Responding {
            left: if has_trailers { None } else { exact_size },
            flight: self.go_on(),
            status,
            error_type,
            grpc_status,
            head_at,
            streams,
            sent: 0,
        };
        if streams {
            responding.begin_stream();
        } else if no_body {
            responding.end(Outcome::Complete);
            return response.map(ResponseBody::unwatched);
        }
        response.map(|body| ResponseBody::watched(body, responding))
    }

    /// Gives a route made from a path its place, unless the answer says that
    /// there is no such route.
    #[cold]
    fn settle_route(&mut self, status: StatusCode, grpc_status: Option<GrpcStatus>) {
        let Some(route) = self.candidate.take() else {
            return;
        };
        let unknown =
            status == StatusCode::NOT_FOUND || grpc_status == Some(GrpcStatus::UNIMPLEMENTED);
        let shared = self.shared;
        let entry = match shared.routes.known(&route) {
            // Another request has shown meanwhile that it exists.
            Some(entry) => entry,
            // No place, and no overflow either: there is no such route.
            None if unknown => shared.routes.none(),
            None => match shared.routes.take(&route) {
                Ok(entry) => entry,
                Err(_) => {
                    shared.recorder.overflowed(Limit::Routes);
                    return;
                }
            },
        };
        let series = shared
            .routes
            .series(usize::from(self.method), entry, |m, r| {
                shared.recorder.series(m, r)
            });
        let begun = self.in_flight.replace(shared.recorder.begin(series));
        if let Some(begun) = begun {
            shared.recorder.abandon(self.series, begun);
        }
        self.series = series;
        self.entry = entry;
    }

    fn label_values(&self) -> LabelValues<'static> {
        LabelValues {
            labels: &self.shared.labels,
            numbers: self.labels,
        }
    }
}

/// A request whose response has begun and has a body to follow.
pub(crate) struct Responding<R: Recorder> {
    flight: Flight<R>,
    status: StatusCode,
    error_type: ErrorType,
    grpc_status: Option<GrpcStatus>,
    /// When the head came, where anybody asked.
    head_at: Option<Duration>,
    /// The duration ended at the head, and was recorded there.
    streams: bool,
    /// How many bytes are still to come, where that is known.
    left: Option<u64>,
    sent: u64,
}

impl<R: Recorder> Responding<R> {
    /// Bytes were handed on; whether they were the last.
    pub(crate) fn sent(&mut self, bytes: u64) -> bool {
        self.sent += bytes;
        match &mut self.left {
            Some(left) => {
                *left = left.saturating_sub(bytes);
                *left == 0
            }
            None => false,
        }
    }

    /// Trailers were handed on.
    pub(crate) fn trailers(&mut self, trailers: &HeaderMap) {
        if self.flight.kind == Kind::Grpc
            && let Some(grpc_status) = GrpcStatus::from_headers(trailers)
        {
            self.grpc_status = Some(grpc_status);
            if self.flight.shared.side.is_grpc_error(grpc_status) {
                self.error_type = ErrorType::new(grpc_status.as_str());
            }
        }
    }

    #[cold]
    fn begin_stream(&mut self) {
        let end = self.describe(Outcome::Complete);
        let flight = &mut self.flight;
        if let Some(in_flight) = &mut flight.in_flight {
            let recorder = &flight.shared.recorder;
            recorder.begin_stream(flight.series, in_flight, &end);
        }
    }

    /// Ends the request; what comes after that is not heard.
    #[inline]
    pub(crate) fn end(&mut self, outcome: Outcome) {
        let Some(in_flight) = self.flight.in_flight.take() else {
            return;
        };
        if self.streams {
            // It was counted at its head. Leaving an open stream is how it ends.
            let end = self.describe(Outcome::Complete);
            let flight = &self.flight;
            return flight
                .shared
                .recorder
                .end_stream(flight.series, in_flight, &end);
        }
        match outcome {
            Outcome::Panic => self.error_type = ErrorType::PANIC,
            Outcome::BodyError => self.error_type = ErrorType::BODY_ERROR,
            Outcome::BodyCancelled => self.error_type = ErrorType::BODY_CANCELLED,
            _ => {}
        }
        let end = self.describe(outcome);
        let flight = &self.flight;
        flight.shared.recorder.end(flight.series, in_flight, &end);
    }

    #[inline]
    fn describe(&self, outcome: Outcome) -> End<'static> {
        let flight = &self.flight;
        let duration = match self.head_at {
            Some(at) if self.streams || flight.entry.duration_to == DurationTo::Head => at,
            _ => flight.start.elapsed(),
        };
        End {
            outcome,
            status: Some(self.status),
            error_type: self.error_type,
            duration,
            time_to_head: if flight.shared.time_to_head {
                self.head_at
            } else {
                None
            },
            request_size: flight.request_size,
            response_size: self.sent,
            grpc_status: self.grpc_status,
            labels: flight.label_values(),
            trace_id: flight.trace_id,
        }
    }
}

fn request_size<B: Body>(request: &Request<B>) -> u64 {
    let exact_size = request.body().size_hint().exact();
    exact_size
        .or_else(|| content_length(request.headers()))
        .unwrap_or(0)
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(header::CONTENT_LENGTH)?;
    value.to_str().ok()?.parse().ok()
}

fn is_event_stream(head: &ResponseHead<'_>) -> bool {
    const EVENT_STREAM: &[u8] = b"text/event-stream";
    head.headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        value
            .as_bytes()
            .get(..EVENT_STREAM.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(EVENT_STREAM))
    })
}
