//! Response future.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::Body;
use pin_project::pin_project;

use crate::body::ResponseBody;
use crate::classify::ClassifyError;
use crate::guard::{RequestGuard, Running};
use crate::recorder::Recorder;

/// Response future for [`MetricsService`](crate::MetricsService).
#[pin_project]
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct ResponseFuture<F, R: Recorder, C: 'static> {
    // Dropped before the inner future.
    pub(crate) guard: RequestGuard<R>,
    #[pin]
    pub(crate) inner: F,
    pub(crate) classify: &'static C,
}

impl<F, R, C, B, E> Future for ResponseFuture<F, R, C>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    R: Recorder,
    C: ClassifyError<E>,
{
    type Output = Result<Response<ResponseBody<B, R>>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if this.guard.is_empty() {
            let response = ready!(this.inner.poll(cx))?;
            let response = response.map(|body| ResponseBody::new(RequestGuard::empty(), body));
            return Poll::Ready(Ok(response));
        }
        let running = Running(this.guard);
        // The response is inspected where it is, because every move copies all of it.
        let polled = this.inner.poll(cx);
        match &polled {
            Poll::Pending => {
                running.finish();
                return Poll::Pending;
            }
            Poll::Ready(Ok(response)) => running.0.respond(response),
            Poll::Ready(Err(error)) => {
                let error_type = this.classify.classify(error);
                running.0.fail(error_type);
            }
        }
        let guard = running.into_guard();
        match polled {
            Poll::Ready(Ok(response)) => {
                let (head, body) = response.into_parts();
                let body = ResponseBody::new(guard, body);
                Poll::Ready(Ok(Response::from_parts(head, body)))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<F: fmt::Debug, R: Recorder, C> fmt::Debug for ResponseFuture<F, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("inner", &self.inner)
            .field("has_ended", &self.guard.is_empty())
            .finish_non_exhaustive()
    }
}
