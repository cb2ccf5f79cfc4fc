//! Interface between the measurement of admission and its storage backends.

use std::time::Duration;

use crate::error::BuildError;

/// Backend that stores the metrics of admission:
#[cfg_attr(feature = "prometheus", doc = "[`Prometheus`](crate::Prometheus),")]
#[cfg_attr(
    feature = "opentelemetry",
    doc = "[`OpenTelemetry`](crate::OpenTelemetry),"
)]
/// or a custom one.
///
/// For every wait there is exactly one [`ended`](Self::ended). A wait that is queued has
/// exactly one [`queued`](Self::queued) and one [`dequeued`](Self::dequeued) before that.
/// They may be called on different threads.
///
/// A pair `(A, B)` records every wait in both recorders, and `Option<R>` records if it is
/// `Some`.
pub trait AdmissionRecorder: Clone + 'static {
    /// Prepares the recorder, for example by registering its metrics.
    ///
    /// Called by [`AdmissionLayer::new`](super::AdmissionLayer::new), possibly several
    /// times. The default implementation does nothing.
    ///
    /// # Errors
    ///
    /// Returns an error if the metrics cannot be recorded.
    fn prepare(&self) -> Result<(), BuildError> {
        Ok(())
    }

    /// Records that a request has to wait.
    fn queued(&self);

    /// Records that a request no longer waits.
    fn dequeued(&self);

    /// Records a wait that has ended.
    fn ended(&self, wait: &CompletedWait);
}

/// Record of a wait for admission.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CompletedWait {
    /// How the wait ended.
    pub outcome: AdmissionOutcome,
    /// Time that the request waited, or zero if it did not have to.
    pub duration: Duration,
}

/// How a wait for admission ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdmissionOutcome {
    /// The service accepted the request.
    Admitted,
    /// The service had no capacity for the request.
    Rejected,
    /// The caller gave up.
    Cancelled,
}

impl AdmissionOutcome {
    /// All outcomes.
    pub const ALL: [Self; 3] = [Self::Admitted, Self::Rejected, Self::Cancelled];

    /// Returns the value of the label `outcome`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Records every wait in both recorders.
impl<A: AdmissionRecorder, B: AdmissionRecorder> AdmissionRecorder for (A, B) {
    fn prepare(&self) -> Result<(), BuildError> {
        self.0.prepare()?;
        self.1.prepare()
    }

    fn queued(&self) {
        self.0.queued();
        self.1.queued();
    }

    fn dequeued(&self) {
        self.0.dequeued();
        self.1.dequeued();
    }

    fn ended(&self, wait: &CompletedWait) {
        self.0.ended(wait);
        self.1.ended(wait);
    }
}

/// Records waits if there is a recorder.
impl<R: AdmissionRecorder> AdmissionRecorder for Option<R> {
    fn prepare(&self) -> Result<(), BuildError> {
        self.as_ref().map_or(Ok(()), R::prepare)
    }

    fn queued(&self) {
        if let Some(recorder) = self {
            recorder.queued();
        }
    }

    fn dequeued(&self) {
        if let Some(recorder) = self {
            recorder.dequeued();
        }
    }

    fn ended(&self, wait: &CompletedWait) {
        if let Some(recorder) = self {
            recorder.ended(wait);
        }
    }
}
