//! The response body, followed to its end.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project::{pin_project, pinned_drop};

use crate::flight::Flight;
use crate::outcome::Outcome;
use crate::recorder::Recorder;

/// The body of a response that passed through
/// [`MetricsService`](crate::MetricsService). Hands on every frame as it is.
#[pin_project(PinnedDrop)]
pub struct ResponseBody<B, R: Recorder> {
    #[pin]
    inner: B,
    /// `None` once the request has ended.
    flight: Option<Flight<R>>,
}

impl<B, R: Recorder> ResponseBody<B, R> {
    #[inline]
    pub(crate) fn new(inner: B, flight: Option<Flight<R>>) -> Self {
        Self { inner, flight }
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
        let Some(flight) = this.flight else {
            return this.inner.poll_frame(cx);
        };
        flight.set_polling(true);
        let polled = this.inner.as_mut().poll_frame(cx);

        let ended = match &polled {
            Poll::Pending => None,
            Poll::Ready(Some(Ok(frame))) => {
                let last = if let Some(data) = frame.data_ref() {
                    flight.sent(data)
                } else {
                    if let Some(trailers) = frame.trailers_ref() {
                        flight.trailers(trailers);
                    }
                    // Nothing follows trailers.
                    frame.is_trailers()
                };
                // hyper does not ask again after the last byte of a sized
                // body: its end is here, or it would look like a hang-up.
                (last || this.inner.is_end_stream()).then_some(Outcome::Complete)
            }
            Poll::Ready(Some(Err(_))) => Some(Outcome::BodyError),
            Poll::Ready(None) => Some(Outcome::Complete),
        };
        match ended {
            None => flight.set_polling(false),
            Some(outcome) => {
                if let Some(flight) = this.flight.take() {
                    flight.end(outcome);
                }
            }
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

#[pinned_drop]
impl<B, R: Recorder> PinnedDrop for ResponseBody<B, R> {
    #[inline]
    fn drop(self: Pin<&mut Self>) {
        if let Some(flight) = self.project().flight.take() {
            flight.end_of_dropped_body();
        }
    }
}

impl<B: fmt::Debug, R: Recorder> fmt::Debug for ResponseBody<B, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("inner", &self.inner)
            .field("ended", &self.flight.is_none())
            .finish()
    }
}

impl<B: Default, R: Recorder> Default for ResponseBody<B, R> {
    fn default() -> Self {
        Self::new(B::default(), None)
    }
}
