//! Minimal cost of recording a request with shared atomics.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http::{Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

/// Layer that reads the clock twice and performs five relaxed atomic additions, one for
/// each value that tower-metrics records by default: begun, bucket, and the sums of
/// durations, request bytes and response bytes.
///
/// It ignores the route, method and status, and does not follow the body, so every
/// layer that records the same values with shared atomics costs at least as much.
#[derive(Clone, Copy, Debug)]
pub struct FloorLayer(&'static Cells);

#[derive(Debug, Default)]
#[repr(align(64))]
struct Cells {
    begun: AtomicU64,
    bucket: AtomicU64,
    nanoseconds: AtomicU64,
    request_bytes: AtomicU64,
    response_bytes: AtomicU64,
}

/// Service of [`FloorLayer`].
#[derive(Clone, Copy, Debug)]
pub struct Floor<S> {
    inner: S,
    cells: &'static Cells,
}

/// Response future of [`Floor`].
#[derive(Debug)]
#[pin_project]
pub struct FloorFuture<F> {
    #[pin]
    inner: F,
    start: Instant,
    cells: &'static Cells,
}

impl FloorLayer {
    /// Creates a layer with new counters.
    pub fn new() -> Self {
        Self(Box::leak(Box::default()))
    }
}

impl Default for FloorLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for FloorLayer {
    type Service = Floor<S>;

    fn layer(&self, inner: S) -> Floor<S> {
        Floor {
            inner,
            cells: self.0,
        }
    }
}

impl<S, Q, B> Service<Request<Q>> for Floor<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
    Q: Body,
    B: Body,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = FloorFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let start = Instant::now();
        let cells = self.cells;
        cells.begun.fetch_add(1, Relaxed);
        let size = request.body().size_hint().lower();
        cells.request_bytes.fetch_add(size, Relaxed);
        FloorFuture {
            inner: self.inner.call(request),
            start,
            cells,
        }
    }
}

impl<F, B, E> Future for FloorFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        let nanoseconds = this.start.elapsed().as_nanos() as u64;
        let size = response.body().size_hint().lower();
        this.cells.response_bytes.fetch_add(size, Relaxed);
        this.cells.nanoseconds.fetch_add(nanoseconds, Relaxed);
        this.cells.bucket.fetch_add(1, Relaxed);
        Poll::Ready(Ok(response))
    }
}
