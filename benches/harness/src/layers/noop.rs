//! Layers that do nothing but wrap.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;
use tower_layer::Layer;
use tower_service::Service;

/// Layer that wraps the service and its future.
#[derive(Clone, Copy, Debug)]
pub struct NoopLayer;

/// Service of [`NoopLayer`].
#[derive(Clone, Copy, Debug)]
pub struct Noop<S>(S);

/// Response future of [`Noop`].
#[derive(Debug)]
#[pin_project]
pub struct NoopFuture<F>(#[pin] F);

impl<S> Layer<S> for NoopLayer {
    type Service = Noop<S>;

    fn layer(&self, inner: S) -> Noop<S> {
        Noop(inner)
    }
}

impl<S, Q> Service<Request<Q>> for Noop<S>
where
    S: Service<Request<Q>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = NoopFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        NoopFuture(self.0.call(request))
    }
}

impl<F: Future> Future for NoopFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().0.poll(cx)
    }
}

/// Layer that wraps the service, its future and the response body.
#[derive(Clone, Copy, Debug)]
pub struct NoopBodyLayer;

/// Service of [`NoopBodyLayer`].
#[derive(Clone, Copy, Debug)]
pub struct NoopBodyService<S>(S);

/// Response future of [`NoopBodyService`].
#[derive(Debug)]
#[pin_project]
pub struct NoopBodyFuture<F>(#[pin] F);

/// Body that forwards to another one.
#[derive(Debug, Default)]
#[pin_project]
pub struct NoopBody<B>(#[pin] B);

impl<S> Layer<S> for NoopBodyLayer {
    type Service = NoopBodyService<S>;

    fn layer(&self, inner: S) -> NoopBodyService<S> {
        NoopBodyService(inner)
    }
}

impl<S, Q, B> Service<Request<Q>> for NoopBodyService<S>
where
    S: Service<Request<Q>, Response = Response<B>>,
{
    type Response = Response<NoopBody<B>>;
    type Error = S::Error;
    type Future = NoopBodyFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        NoopBodyFuture(self.0.call(request))
    }
}

impl<F, B, E> Future for NoopBodyFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<NoopBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(self.project().0.poll(cx))?;
        Poll::Ready(Ok(response.map(NoopBody)))
    }
}

impl<B: Body> Body for NoopBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().0.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
