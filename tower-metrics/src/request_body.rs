//! Request body that records how it is read.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Buf;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tower_service::Service;

use crate::clock::Instant;

/// Type parameter of a [`MetricsLayer`](crate::MetricsLayer) that wraps request
/// bodies, which
/// [`count_request_bytes`](crate::MetricsLayerBuilder::count_request_bytes) and
/// [`duration_from`](crate::MetricsLayerBuilder::duration_from) set.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CountRequestBytes;

/// Progress of reading a request body.
///
/// [`MetricsService`](crate::MetricsService) passes it in the extensions of the
/// request to [`RequestBodyService`].
#[derive(Clone, Debug)]
pub(crate) struct BodyRead(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bytes: AtomicU64,
    /// Start of the request, if the time of reads is recorded.
    start: Option<Instant>,
    /// Nanoseconds from the start of the request to the last read.
    last_read: AtomicU64,
}

impl BodyRead {
    pub(crate) fn new(start: Option<Instant>) -> Self {
        Self(Arc::new(Inner {
            bytes: AtomicU64::new(0),
            start,
            last_read: AtomicU64::new(0),
        }))
    }

    /// Returns the number of bytes that were read.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Returns the time from the start of the request to the last read, or zero if
    /// nothing was read.
    pub(crate) fn last_read(&self) -> Duration {
        Duration::from_nanos(self.0.last_read.load(Ordering::Relaxed))
    }

    fn read(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Some(start) = self.0.start {
            let nanos = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            self.0.last_read.store(nanos, Ordering::Relaxed);
        }
    }
}

/// Middleware that wraps request bodies in [`RequestBody`].
///
/// It is the inner service of a [`MetricsService`](crate::MetricsService) whose layer
/// was built with
/// [`count_request_bytes`](crate::MetricsLayerBuilder::count_request_bytes) or
/// [`duration_from`](crate::MetricsLayerBuilder::duration_from).
#[derive(Clone, Debug)]
pub struct RequestBodyService<S> {
    inner: S,
}

impl<S> RequestBodyService<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner }
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

impl<S, B> Service<Request<B>> for RequestBodyService<S>
where
    S: Service<Request<RequestBody<B>>>,
    B: Body,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // Missing if the request is excluded, or if both settings are disabled.
        let mut read = request.extensions_mut().remove();
        if request.body().is_end_stream() {
            // A service may ask for the body of such a request at any time.
            read = None;
        }
        let request = request.map(|inner| RequestBody { inner, read });
        self.inner.call(request)
    }
}

/// Request body that records how many bytes are read of it, and when.
///
/// Passes on every frame of the inner body unchanged. Clones of a body share the
/// record.
#[pin_project]
#[derive(Clone, Default)]
pub struct RequestBody<B> {
    #[pin]
    inner: B,
    read: Option<BodyRead>,
}

impl<B> RequestBody<B> {
    /// Gets a reference to the inner body.
    pub fn get_ref(&self) -> &B {
        &self.inner
    }

    /// Consumes `self`, returning the inner body, whose reads are no longer recorded.
    pub fn into_inner(self) -> B {
        self.inner
    }
}

impl<B: Body> Body for RequestBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let polled = this.inner.poll_frame(cx);
        if let Some(read) = this.read
            && let Poll::Ready(result) = &polled
        {
            let frame = result.as_ref().and_then(|frame| frame.as_ref().ok());
            let data = frame.and_then(Frame::data_ref);
            read.read(data.map_or(0, |data| data.remaining() as u64));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: fmt::Debug> fmt::Debug for RequestBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody")
            .field("inner", &self.inner)
            .field("bytes_read", &self.read.as_ref().map(BodyRead::bytes))
            .finish()
    }
}
