//! Response body.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::guard::{RequestGuard, Running};
use crate::outcome::Outcome;
use crate::recorder::Recorder;

/// Response body for [`MetricsService`](crate::MetricsService).
///
/// Passes on every frame of the inner body unchanged. The request ends with the
/// last frame, with an error, or when the body is dropped.
#[pin_project]
pub struct ResponseBody<B, R: Recorder> {
    // Dropped before the inner body.
    guard: RequestGuard<R>,
    #[pin]
    inner: B,
}

impl<B, R: Recorder> ResponseBody<B, R> {
    #[inline]
    pub(crate) fn new(guard: RequestGuard<R>, inner: B) -> Self {
        Self { guard, inner }
    }
}

impl<B: Body, R: Recorder> Body for ResponseBody<B, R> {
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let running = Running(this.guard);
        // `polled` is the only return value, so that it is built in place.
        let polled = this.inner.as_mut().poll_frame(cx);
        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(frame))) => {
                // hyper drops a body of known size after its last byte, without
                // polling it to its end.
                if let Some(state) = running.0.state()
                    && (state.send(frame) || this.inner.is_end_stream())
                {
                    running.0.complete();
                }
            }
            Poll::Ready(Some(Err(_))) => running.0.end(Outcome::BodyError),
            Poll::Ready(None) => running.0.end(Outcome::Complete),
        }
        running.finish();
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: fmt::Debug, R: Recorder> fmt::Debug for ResponseBody<B, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("inner", &self.inner)
            .field("has_ended", &self.guard.is_empty())
            .finish()
    }
}

impl<B: Default, R: Recorder> Default for ResponseBody<B, R> {
    fn default() -> Self {
        Self::new(RequestGuard::empty(), B::default())
    }
}
