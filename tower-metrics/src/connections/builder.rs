//! Builder of the measurement of connections.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
#[cfg(feature = "rustls")]
use std::time::Duration;

use super::log_limit::LogLimit;
use super::{ConnectionRecorder, Connections, Shared};
use crate::error::BuildError;

/// Builder for [`Connections`].
#[cfg_attr(
    feature = "prometheus",
    doc = "[`Prometheus::connections`](crate::Prometheus::connections) or"
)]
/// [`Connections::builder`] creates it.
#[derive(Clone, Debug)]
#[must_use = "builders do nothing unless you call `build`"]
pub struct ConnectionsBuilder<R> {
    recorder: R,
    max: usize,
    #[cfg(feature = "rustls")]
    handshake_timeout: Duration,
}

impl<R: ConnectionRecorder> ConnectionsBuilder<R> {
    pub(super) fn new(recorder: R) -> Self {
        Self {
            recorder,
            max: usize::MAX,
            #[cfg(feature = "rustls")]
            handshake_timeout: Duration::from_secs(10),
        }
    }

    /// Sets the maximum number of open connections. Defaults to no limit.
    ///
    /// Further connections are accepted and closed at once, so that their clients do not
    /// wait, and counted with the reason `limit`. File descriptors beyond the limit remain
    /// available to the rest of the program: leave some below `ulimit -n`.
    pub fn max_connections(mut self, max: usize) -> Self {
        self.max = max;
        self
    }

    /// Sets the time that a client has to complete a TLS handshake. Defaults to 10 s.
    ///
    /// The connection is closed afterwards, and the handshake has the error type
    /// `timeout`.
    #[cfg(feature = "rustls")]
    pub fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.handshake_timeout = timeout;
        self
    }

    /// Prepares the recorder and returns the [`Connections`].
    ///
    /// # Errors
    ///
    /// Returns an error if [`max_connections`](Self::max_connections) is 0, or if the
    /// recorder cannot register its metrics, for example because the registry already
    /// contains a metric of the same name, or because a constant label has the name of one
    /// of theirs.
    pub fn build(self) -> Result<Connections<R>, BuildError> {
        if self.max == 0 {
            return Err(BuildError::MaxConnections { max: self.max });
        }
        self.recorder.prepare()?;
        Ok(Connections(Arc::new(Shared {
            recorder: self.recorder,
            max: self.max,
            #[cfg(feature = "rustls")]
            handshake_timeout: self.handshake_timeout,
            open: AtomicUsize::new(0),
            limit_log: LogLimit::default(),
        })))
    }
}
