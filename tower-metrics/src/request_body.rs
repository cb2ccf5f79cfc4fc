//! Request body that counts the bytes that are read of it.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Buf;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tower_service::Service;

/// Type parameter of a [`MetricsLayer`](crate::MetricsLayer) that wraps request
/// bodies, which
/// [`MetricsLayerBuilder::count_request_bytes`](crate::MetricsLayerBuilder::count_request_bytes)
/// sets.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CountRequestBytes;

/// Counter of the bytes that were read of a request body.
///
/// [`MetricsService`](crate::MetricsService) passes it in the extensions of the
/// request to [`RequestBodyService`].
#[derive(Clone, Debug, Default)]
pub(crate) struct BytesRead(Arc<AtomicU64>);

impl BytesRead {
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Middleware that wraps request bodies in [`RequestBody`].
///
/// It is the inner service of a [`MetricsService`](crate::MetricsService) whose layer
/// was built with
/// [`count_request_bytes`](crate::MetricsLayerBuilder::count_request_bytes).
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
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // Missing if the request is excluded, or if counting is disabled.
        let bytes_read = request.extensions_mut().remove();
        let request = request.map(|inner| RequestBody { inner, bytes_read });
        self.inner.call(request)
    }
}

/// Request body that counts the bytes that are read of it.
///
/// Passes on every frame of the inner body unchanged. Clones of a body share the
/// counter.
#[pin_project]
#[derive(Clone, Default)]
pub struct RequestBody<B> {
    #[pin]
    inner: B,
    bytes_read: Option<BytesRead>,
}

impl<B> RequestBody<B> {
    /// Gets a reference to the inner body.
    pub fn get_ref(&self) -> &B {
        &self.inner
    }

    /// Consumes `self`, returning the inner body, whose bytes are no longer counted.
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
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
            && let Some(bytes_read) = this.bytes_read
        {
            bytes_read.add(data.remaining() as u64);
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
            .field("bytes_read", &self.bytes_read.as_ref().map(BytesRead::get))
            .finish()
    }
}
