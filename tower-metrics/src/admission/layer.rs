//! Layer.

use std::fmt;

use tower_layer::Layer;

use super::{AdmissionRecorder, AdmissionService, IsOverloaded};
use crate::error::BuildError;

/// Layer that measures how long requests wait for admission, and how the waits end.
///
/// See the [module](super) for when a wait begins and ends.
#[derive(Clone, Copy)]
pub struct AdmissionLayer<R, C = IsOverloaded> {
    recorder: R,
    is_rejection: C,
}

impl<R: AdmissionRecorder> AdmissionLayer<R> {
    /// Creates a layer, and prepares the recorder. Layers may share a recorder, and then
    /// share its metrics.
    ///
    /// # Errors
    ///
    /// Returns an error if the recorder cannot register its metrics, for example because
    /// the registry already contains a metric of the same name, or because a constant label
    /// is named `outcome`.
    pub fn new(recorder: R) -> Result<Self, BuildError> {
        recorder.prepare()?;
        Ok(Self {
            recorder,
            is_rejection: IsOverloaded,
        })
    }
}

impl<R, C> AdmissionLayer<R, C> {
    /// Sets a function that recognizes the errors of the inner service that reject a
    /// request.
    ///
    /// It is called if the first poll of a response future returns an error. Defaults to
    /// [`IsOverloaded`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "prometheus")] {
    /// use tower_metrics::{AdmissionLayer, Prometheus};
    ///
    /// let layer = AdmissionLayer::new(Prometheus::new())?
    ///     .rejected_if(|error: &std::io::Error| error.kind() == std::io::ErrorKind::QuotaExceeded);
    /// # }
    /// # Ok::<_, tower_metrics::BuildError>(())
    /// ```
    pub fn rejected_if<E, F>(self, is_rejection: F) -> AdmissionLayer<R, F>
    where
        F: Fn(&E) -> bool,
    {
        AdmissionLayer {
            recorder: self.recorder,
            is_rejection,
        }
    }
}

impl<S, R: AdmissionRecorder, C: Clone> Layer<S> for AdmissionLayer<R, C> {
    type Service = AdmissionService<S, R, C>;

    fn layer(&self, inner: S) -> Self::Service {
        AdmissionService::new(inner, self.recorder.clone(), self.is_rejection.clone())
    }
}

impl<R, C> fmt::Debug for AdmissionLayer<R, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmissionLayer").finish_non_exhaustive()
    }
}
