//! The service.

use std::fmt;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::body::ResponseBody;
use crate::clock::Instant;
use crate::flight::{Flight, Kind, Shared};
use crate::future::ResponseFuture;
use crate::head::RequestHead;
use crate::layer::{ClassifyError, ServiceError};
use crate::outcome::{ErrorType, Outcome};
use crate::recorder::Recorder;

/// Counts the requests of the service it wraps; made by
/// [`MetricsLayer`](crate::MetricsLayer).
///
/// A request begins with `call` and ends as [`Outcome`] says. An error of
/// `poll_ready` belongs to no request and is not counted.
pub struct MetricsService<S, R: Recorder, C: 'static = ServiceError> {
    inner: S,
    shared: &'static Shared<R>,
    classify: &'static C,
}

impl<S, R: Recorder, C> MetricsService<S, R, C> {
    pub(crate) fn new(inner: S, shared: &'static Shared<R>, classify: &'static C) -> Self {
        Self {
            inner,
            shared,
            classify,
        }
    }

    /// The service within.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service within, to change.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The service within, for itself.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, R, C, Q, B> Service<Request<Q>> for MetricsService<S, R, C>
where
    S: Service<Request<Q>, Response = Response<B>>,
    Q: Body,
    B: Body,
    R: Recorder,
    C: ClassifyError<S::Error>,
{
    type Response = Response<ResponseBody<B, R>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, R, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Request<Q>) -> Self::Future {
        // First of all: what comes before a reading of the clock is done before
        // it, what comes after goes on beside the call.
        let start = Instant::now();
        if !self.shared.asks
            && let Some(target) = self.shared.known_target(&request)
        {
            let kind = Kind::of(request.method());
            let mut guard = CallGuard(Some(Flight::begin(start, target, kind)));
            if let Some(flight) = &mut guard.0 {
                flight.set_request_size(&request);
            }
            return self.call_inner(request, guard);
        }
        self.call_unknown(start, request)
    }
}

impl<S, R: Recorder, C> MetricsService<S, R, C> {
    /// Calls with a request of which more is to be asked, or whose route has
    /// not been seen before.
    #[inline(never)]
    fn call_unknown<Q: Body>(
        &mut self,
        start: Instant,
        mut request: Request<Q>,
    ) -> ResponseFuture<S::Future, R, C>
    where
        S: Service<Request<Q>>,
    {
        let mut guard = CallGuard(Flight::begin_unknown(start, self.shared, &request));
        if let Some(flight) = &mut guard.0 {
            flight.set_request_size(&request);
            if self.shared.asks {
                flight.ask(&RequestHead::from(&request));
            }
            if self.shared.counts_request_bytes {
                let read = flight.count_request_bytes();
                request.extensions_mut().insert(read);
            }
        }
        self.call_inner(request, guard)
    }

    #[inline(always)]
    fn call_inner<Q>(
        &mut self,
        request: Request<Q>,
        mut guard: CallGuard<R>,
    ) -> ResponseFuture<S::Future, R, C>
    where
        S: Service<Request<Q>>,
    {
        ResponseFuture {
            inner: self.inner.call(request),
            flight: guard.0.take(),
            classify: self.classify,
        }
    }
}

/// Still holds the request when it is dropped: `call` panicked.
struct CallGuard<R: Recorder>(Option<Flight<R>>);

impl<R: Recorder> Drop for CallGuard<R> {
    #[inline]
    fn drop(&mut self) {
        if let Some(flight) = self.0.take() {
            flight.end_without_response(Outcome::Panic, ErrorType::PANIC);
        }
    }
}

impl<S: Clone, R: Recorder, C> Clone for MetricsService<S, R, C> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.shared, self.classify)
    }
}

impl<S: fmt::Debug, R: Recorder, C> fmt::Debug for MetricsService<S, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsService")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
