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
use crate::outcome::Outcome;
use crate::recorder::Recorder;

/// The future of [`MetricsService`](crate::MetricsService).
#[pin_project(PinnedDrop)]
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct ResponseFuture<F, R: Recorder, C: 'static> {
    #[pin]
    pub(crate) inner: F,
    /// `None` once the response has come, and for a route that is left out.
    pub(crate) flight: Option<Flight<R>>,
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
        let Some(flight) = this.flight else {
            let response = ready!(this.inner.poll(cx))?;
            return Poll::Ready(Ok(response.map(|body| ResponseBody::new(body, None))));
        };
        flight.set_polling(true);
        match this.inner.poll(cx) {
            Poll::Pending => {
                flight.set_polling(false);
                Poll::Pending
            }
            Poll::Ready(Ok(response)) => {
                let (head, body) = response.into_parts();
                let follow = flight.respond(&head, &body);
                let mut flight = this.flight.take();
                if !follow && let Some(ended) = flight.take() {
                    ended.end(Outcome::Complete);
                }
                let body = ResponseBody::new(body, flight);
                Poll::Ready(Ok(Response::from_parts(head, body)))
            }
            Poll::Ready(Err(error)) => {
                let error_type = this.classify.classify(&error);
                if let Some(flight) = this.flight.take() {
                    flight.end_without_response(Outcome::ServiceError, error_type);
                }
                Poll::Ready(Err(error))
            }
        }
    }
}

#[pinned_drop]
impl<F, R: Recorder, C> PinnedDrop for ResponseFuture<F, R, C> {
    #[inline]
    fn drop(self: Pin<&mut Self>) {
        if let Some(flight) = self.project().flight.take() {
            flight.end_of_dropped_future();
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
