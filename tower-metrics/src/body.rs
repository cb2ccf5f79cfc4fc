//! The response body, followed to its end.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};
use pin_project::{pin_project, pinned_drop};

use crate::flight::Responding;
use crate::outcome::Outcome;
use crate::recorder::Recorder;

/// The body of a response that passed through
/// [`MetricsService`](crate::MetricsService). Hands on every frame as it is.
#[pin_project(PinnedDrop)]
pub struct ResponseBody<B, R: Recorder> {
    #[pin]
    inner: B,
    /// `None` once the request has ended.
    responding: Option<Responding<R>>,
    /// Set while we are inside the inner body: still set when we are dropped,
    /// it panicked. `std::thread::panicking` would not tell, for with a
    /// catch-panic layer outside the unwinding is over by then.
    polling: bool,
}

impl<B, R: Recorder> ResponseBody<B, R> {
    #[inline]
    pub(crate) fn watched(inner: B, responding: Responding<R>) -> Self {
        Self {
            inner,
            responding: Some(responding),
            polling: false,
        }
    }

    pub(crate) fn unwatched(inner: B) -> Self {
        Self {
            inner,
            responding: None,
            polling: false,
        }
    }
}

#[inline]
fn end<R: Recorder>(responding: &mut Option<Responding<R>>, outcome: Outcome) {
    if let Some(ended) = responding {
        ended.end(outcome);
        *responding = None;
    }
}

impl<B: Body, R: Recorder> Body for ResponseBody<B, R> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        *this.polling = true;
        let polled = this.inner.as_mut().poll_frame(cx);
        *this.polling = false;

        match &polled {
            Poll::Pending => {}
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(responding) = this.responding {
                    let last = if let Some(data) = frame.data_ref() {
                        responding.sent(data.remaining() as u64)
                    } else {
                        if let Some(trailers) = frame.trailers_ref() {
                            responding.trailers(trailers);
                        }
                        // Nothing follows trailers.
                        frame.is_trailers()
                    };
                    // hyper does not ask again after the last byte of a sized
                    // body: its end is here, or it would look like a hang-up.
                    if last || this.inner.is_end_stream() {
                        end(this.responding, Outcome::Complete);
                    }
                }
            }
            Poll::Ready(Some(Err(_))) => end(this.responding, Outcome::BodyError),
            Poll::Ready(None) => end(this.responding, Outcome::Complete),
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
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        let outcome = if *this.polling {
            Outcome::Panic
        } else {
            Outcome::BodyCancelled
        };
        end(this.responding, outcome);
    }
}

impl<B: fmt::Debug, R: Recorder> fmt::Debug for ResponseBody<B, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody")
            .field("inner", &self.inner)
            .field("ended", &self.responding.is_none())
            .finish()
    }
}

impl<B: Default, R: Recorder> Default for ResponseBody<B, R> {
    fn default() -> Self {
        Self::unwatched(B::default())
    }
}
