//! Response future.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project::pin_project;

use super::{AdmissionOutcome, AdmissionRecorder, AdmissionWait, IsRejection};

/// Response future for [`AdmissionService`](super::AdmissionService).
#[pin_project]
#[must_use = "futures do nothing unless you `.await` or poll them"]
pub struct AdmissionFuture<F, R: AdmissionRecorder, C> {
    // Dropped before the inner future, which may release capacity.
    wait: Option<AdmissionWait<R>>,
    #[pin]
    inner: F,
    is_rejection: C,
}

impl<F, R: AdmissionRecorder, C> AdmissionFuture<F, R, C> {
    pub(super) fn new(inner: F, wait: AdmissionWait<R>, is_rejection: C) -> Self {
        Self {
            wait: Some(wait),
            inner,
            is_rejection,
        }
    }
}

impl<F, R, C, T, E> Future for AdmissionFuture<F, R, C>
where
    F: Future<Output = Result<T, E>>,
    R: AdmissionRecorder,
    C: IsRejection<E>,
{
    type Output = Result<T, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Some(wait) = this.wait else {
            return this.inner.poll(cx);
        };
        // If the poll panics, the service has accepted the request.
        wait.set_outcome(AdmissionOutcome::Admitted);
        let polled = this.inner.poll(cx);
        if let Some(wait) = this.wait.take() {
            match &polled {
                Poll::Ready(Err(error)) if this.is_rejection.is_rejection(error) => wait.reject(),
                _ => wait.admit(),
            }
        }
        polled
    }
}

impl<F: fmt::Debug, R: AdmissionRecorder, C> fmt::Debug for AdmissionFuture<F, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmissionFuture")
            .field("wait", &self.wait)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
