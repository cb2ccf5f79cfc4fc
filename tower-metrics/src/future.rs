//! Response future.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

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
        let running = Running(this.guard);
        // The response is inspected where it is, because every move copies all of it.
        let polled = this.inner.poll(cx);
        match &polled {
            Poll::Pending => {
                running.finish();
                return Poll::Pending;
            }
            Poll::Ready(Ok(response)) => running.0.respond(response),
            Poll::Ready(Err(error)) => running.0.fail(|| this.classify.classify(error)),
        }
        let guard = running.into_guard();
        polled.map_ok(|response| response.map(|body| ResponseBody::new(guard, body)))
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
