//! The response future.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::Body;
use pin_project::{pin_project, pinned_drop};

use crate::body::ResponseBody;
use crate::flight::Flight;
use crate::layer::ClassifyError;
use crate::outcome::{ErrorType, Outcome};
use crate::recorder::Recorder;

/// The future of [`MetricsService`](crate::MetricsService).
#[pin_project(PinnedDrop)]
pub struct ResponseFuture<F, R: Recorder, C: 'static> {
    #[pin]
    inner: F,
    /// `None` once the response has come, and for a route that is left out.
    flight: Option<Flight<R>>,
    /// Set while we are inside the inner future, or inside what the user has
    /// us ask about its answer: still set when we are dropped, it panicked.
    polling: bool,
    classify: &'static C,
}

impl<F, R: Recorder, C> ResponseFuture<F, R, C> {
    pub(crate) fn new(inner: F, flight: Option<Flight<R>>, classify: &'static C) -> Self {
        Self {
            inner,
            flight,
            polling: false,
            classify,
        }
    }
}

impl<F, R, C, B, E> Future for ResponseFuture<F, R, C>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    R: Recorder,
    C: ClassifyError<E>,
{
    type Output = Result<Response<ResponseBody<B, R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        *this.polling = true;
        let polled = this.inner.poll(cx);
        if polled.is_pending() {
            *this.polling = false;
        }

        let result = ready!(polled);
        let Some(flight) = this.flight else {
            return Poll::Ready(result.map(|response| response.map(ResponseBody::unwatched)));
        };
        let result = match result {
            Ok(response) => Ok(flight.respond(response)),
            Err(error) => {
                let error_type = this.classify.classify(&error);
                flight.end_without_response(Outcome::ServiceError, error_type);
                Err(error)
            }
        };
        *this.flight = None;
        *this.polling = false;
        Poll::Ready(result)
    }
}

#[pinned_drop]
impl<F, R: Recorder, C> PinnedDrop for ResponseFuture<F, R, C> {
    fn drop(self: Pin<&mut Self>) {
        let this = self.project();
        if let Some(flight) = this.flight {
            if *this.polling {
                flight.end_without_response(Outcome::Panic, ErrorType::PANIC);
            } else {
                flight.end_without_response(Outcome::Cancelled, ErrorType::CANCELLED);
            }
        }
    }
}

impl<F: fmt::Debug, R: Recorder, C> fmt::Debug for ResponseFuture<F, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("inner", &self.inner)
            .field("in_flight", &self.flight.is_some())
            .finish_non_exhaustive()
    }
}
