//! Middleware service.

use std::fmt;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_service::Service;

use crate::body::ResponseBody;
use crate::classify::{ClassifyError, ServiceError};
use crate::clock::Instant;
use crate::future::ResponseFuture;
use crate::guard::{RequestGuard, Running};
use crate::recorder::Recorder;
use crate::shared::Shared;

/// Middleware that records the requests of the inner service.
///
/// A request begins when the service is called, and ends as
/// [`Outcome`](crate::Outcome) describes. Errors of
/// [`poll_ready`](Service::poll_ready) belong to no request and are not recorded.
///
/// [`MetricsLayer`](crate::MetricsLayer) creates it.
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

    /// Gets a reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Gets a mutable reference to the inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Consumes `self`, returning the inner service.
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
    fn call(&mut self, mut request: Request<Q>) -> Self::Future {
        // The clock is read first: the processor completes preceding instructions
        // before it reads the time stamp counter, and overlaps the following ones.
        let start = Instant::now();
        let mut guard = match self.shared.cached_target(&request) {
            Some(target) => RequestGuard::begin(start, target),
            None => RequestGuard::begin_uncached(start, self.shared, &request),
        };
        let running = Running(&mut guard);
        running.0.set_request_size(&request);
        if self.shared.inspects_requests {
            running.0.inspect_request(&mut request);
        }
        // Built in place: moving the inner future would copy it, which is large in axum
        // because it contains the request.
        ResponseFuture {
            inner: self.inner.call(request),
            guard: running.into_guard(),
            classify: self.classify,
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
