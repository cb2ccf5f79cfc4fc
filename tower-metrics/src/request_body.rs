//! Request bodies, whose bytes are counted as the service reads them.

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

/// A layer of this kind counts what is read of request bodies; see
/// [`MetricsLayerBuilder::count_request_bytes`](crate::MetricsLayerBuilder::count_request_bytes).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct CountRequestBytes;

/// The bytes that were read of a request's body so far. On its way from the
/// metrics service to the service right inside it, it is among the request's
/// extensions.
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

/// Gives the service it wraps request bodies that count what is read of them;
/// inside the [`MetricsService`](crate::MetricsService) of a layer with
/// [`count_request_bytes`](crate::MetricsLayerBuilder::count_request_bytes).
#[derive(Clone, Debug)]
pub struct RequestBodyService<S> {
    inner: S,
}

impl<S> RequestBodyService<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner }
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
        // A request that is left out has none.
        let read = request.extensions_mut().remove();
        let request = request.map(|inner| RequestBody { inner, read });
        self.inner.call(request)
    }
}

/// The body of a request, counted as it is read. Hands on every frame as it
/// is. What is read of a clone counts too.
#[pin_project]
#[derive(Clone, Default)]
pub struct RequestBody<B> {
    #[pin]
    inner: B,
    read: Option<BytesRead>,
}

impl<B> RequestBody<B> {
    /// The body within.
    pub fn get_ref(&self) -> &B {
        &self.inner
    }

    /// The body within, for itself: what is read of it from now on is not
    /// counted.
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
            && let Some(read) = this.read
        {
            read.add(data.remaining() as u64);
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
            .field("read", &self.read.as_ref().map(BytesRead::get))
            .finish()
    }
}
