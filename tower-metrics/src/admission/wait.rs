//! Wait for admission.

use std::fmt;
use std::time::Duration;

use super::{AdmissionOutcome, AdmissionRecorder, CompletedWait};
use crate::clock::Instant;

/// Wait for admission that is measured outside of tower's back-pressure, such as in a
/// middleware function that acquires a semaphore.
///
/// Ends with [`admit`](Self::admit) or [`reject`](Self::reject), or as `cancelled` when it
/// is dropped.
///
/// # Examples
///
/// ```
/// # #[cfg(feature = "prometheus")] {
/// use tokio::sync::{Semaphore, SemaphorePermit};
/// use tower_metrics::{AdmissionRecorder, AdmissionWait, Prometheus};
///
/// /// Waits for a permit of a semaphore that is never closed.
/// async fn admit(prometheus: Prometheus, permits: &Semaphore) -> SemaphorePermit<'_> {
///     let mut wait = AdmissionWait::new(prometheus);
///     let permit = match permits.try_acquire() {
///         Ok(permit) => permit,
///         Err(_) => {
///             wait.queue();
///             permits.acquire().await.expect("never closed")
///         }
///     };
///     wait.admit();
///     permit
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_metrics::BuildError> {
/// let prometheus = Prometheus::new();
/// // Registers the metrics, as `AdmissionLayer::new` does.
/// prometheus.prepare()?;
/// let permits = Semaphore::new(100);
/// let permit = admit(prometheus, &permits).await;
/// # Ok(())
/// # }
/// # }
/// ```
#[must_use = "a wait ends when it is dropped"]
pub struct AdmissionWait<R: AdmissionRecorder> {
    recorder: R,
    state: State,
    /// How the wait ends when it is dropped.
    outcome: AdmissionOutcome,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// In the queue since then.
    Queued {
        since: Instant,
        before: Duration,
    },
    /// Not in the queue. The duration is that of earlier times in the queue.
    Ready(Duration),
    Ended,
}

impl<R: AdmissionRecorder> AdmissionWait<R> {
    /// Begins a wait, which is not queued yet.
    #[inline]
    pub fn new(recorder: R) -> Self {
        Self {
            recorder,
            state: State::Ready(Duration::ZERO),
            outcome: AdmissionOutcome::Cancelled,
        }
    }

    /// Records that the request has to wait, from now on.
    ///
    /// Does nothing if it already waits.
    pub fn queue(&mut self) {
        if let State::Ready(before) = self.state {
            self.recorder.queued();
            let since = Instant::now();
            self.state = State::Queued { since, before };
        }
    }

    /// Records that the request no longer has to wait.
    #[inline]
    pub(super) fn dequeue(&mut self) {
        if let State::Queued { since, before } = self.state {
            self.state = State::Ready(before + since.elapsed());
            self.recorder.dequeued();
        }
    }

    /// Ends the wait of a request that the service accepts.
    #[inline]
    pub fn admit(mut self) {
        self.end(AdmissionOutcome::Admitted);
    }

    /// Ends the wait of a request for which there is no capacity.
    #[inline]
    pub fn reject(mut self) {
        self.end(AdmissionOutcome::Rejected);
    }

    /// Sets the outcome if the wait is dropped.
    #[inline]
    pub(super) fn set_outcome(&mut self, outcome: AdmissionOutcome) {
        self.outcome = outcome;
    }

    #[inline]
    fn end(&mut self, outcome: AdmissionOutcome) {
        self.dequeue();
        if let State::Ready(duration) = self.state {
            self.state = State::Ended;
            self.recorder.ended(&CompletedWait { outcome, duration });
        }
    }
}

impl<R: AdmissionRecorder> Drop for AdmissionWait<R> {
    #[inline]
    fn drop(&mut self) {
        self.end(self.outcome);
    }
}

impl<R: AdmissionRecorder> fmt::Debug for AdmissionWait<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmissionWait")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
