//! Middleware service.

use std::fmt;
use std::task::{Context, Poll};

use tower_service::Service;

use super::{
    AdmissionFuture, AdmissionOutcome, AdmissionRecorder, AdmissionWait, IsOverloaded, IsRejection,
};

/// Middleware that measures how long requests wait for the inner service to be ready.
///
/// [`AdmissionLayer`](super::AdmissionLayer) creates it. A clone starts without a wait.
pub struct AdmissionService<S, R: AdmissionRecorder, C = IsOverloaded> {
    // Dropped before the inner service, which may release capacity.
    wait: Option<AdmissionWait<R>>,
    inner: S,
    recorder: R,
    is_rejection: C,
}

impl<S, R: AdmissionRecorder, C> AdmissionService<S, R, C> {
    pub(super) fn new(inner: S, recorder: R, is_rejection: C) -> Self {
        Self {
            wait: None,
            inner,
            recorder,
            is_rejection,
        }
    }

    /// Gets a reference to the inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// Gets a mutable reference to the inner service.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// Consumes `self`, returning the inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, R, C, Q> Service<Q> for AdmissionService<S, R, C>
where
    S: Service<Q>,
    R: AdmissionRecorder,
    C: IsRejection<S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = AdmissionFuture<S::Future, R, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let recorder = &self.recorder;
        let wait = self
            .wait
            .get_or_insert_with(|| AdmissionWait::new(recorder.clone()));
        let polled = self.inner.poll_ready(cx);
        match &polled {
            Poll::Pending => wait.queue(),
            Poll::Ready(Ok(())) => wait.dequeue(),
            Poll::Ready(Err(_)) => {
                if let Some(wait) = self.wait.take() {
                    wait.reject();
                }
            }
        }
        polled
    }

    fn call(&mut self, request: Q) -> Self::Future {
        let wait = self.wait.take();
        let mut wait = wait.unwrap_or_else(|| AdmissionWait::new(self.recorder.clone()));
        // A caller that does not heed `Pending` no longer waits either.
        wait.dequeue();
        // If the call panics, the service has accepted the request.
        wait.set_outcome(AdmissionOutcome::Admitted);
        let inner = self.inner.call(request);
        wait.set_outcome(AdmissionOutcome::Cancelled);
        AdmissionFuture::new(inner, wait, self.is_rejection.clone())
    }
}

impl<S: Clone, R: AdmissionRecorder, C: Clone> Clone for AdmissionService<S, R, C> {
    fn clone(&self) -> Self {
        Self::new(
            self.inner.clone(),
            self.recorder.clone(),
            self.is_rejection.clone(),
        )
    }
}

impl<S: fmt::Debug, R: AdmissionRecorder, C> fmt::Debug for AdmissionService<S, R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmissionService")
            .field("wait", &self.wait)
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
