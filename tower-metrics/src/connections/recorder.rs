//! Interface between the measurement of connections and its storage backends.

use std::sync::Arc;
use std::time::Duration;

use crate::error::BuildError;
use crate::error_type::ErrorType;

/// Backend that stores the metrics of connections:
#[cfg_attr(feature = "prometheus", doc = "[`Prometheus`](crate::Prometheus),")]
#[cfg_attr(
    feature = "opentelemetry",
    doc = "[`OpenTelemetry`](crate::OpenTelemetry),"
)]
/// or a custom one.
///
/// For every [`opened`](Self::opened) there is exactly one [`closed`](Self::closed). In
/// between, the connection may move to another thread, and its halves may be used on
/// two threads at once.
///
/// A pair `(A, B)` records every connection in both recorders, `Option<R>` records if it is
/// `Some`, and `Arc<R>` lets the program keep access to its recorder.
pub trait ConnectionRecorder: Send + Sync + 'static {
    /// Prepares the recorder, for example by registering its metrics.
    ///
    /// Called by [`ConnectionsBuilder::build`](super::ConnectionsBuilder::build), possibly
    /// several times. The default implementation does nothing.
    ///
    /// # Errors
    ///
    /// Returns an error if the metrics cannot be recorded.
    fn prepare(&self) -> Result<(), BuildError> {
        Ok(())
    }

    /// Records that a connection was accepted.
    fn opened(&self);

    /// Records that a connection ended.
    fn closed(&self, connection: &ClosedConnection);

    /// Records bytes that were read from a connection. Called for every read that
    /// returned bytes.
    fn received(&self, bytes: u64);

    /// Records bytes that were written to a connection. Called for every write that
    /// accepted bytes.
    fn transmitted(&self, bytes: u64);

    /// Records that a connection was not accepted.
    fn rejected(&self, reason: Rejection);

    /// Records the end of a TLS handshake. The default implementation does nothing.
    fn handshake(&self, handshake: &CompletedHandshake) {
        let _ = handshake;
    }
}

/// Record of a connection that has ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClosedConnection {
    /// Time since the connection was accepted.
    pub duration: Duration,
    /// How the connection ended. [`ErrorType::NONE`] if in an orderly way.
    pub error_type: ErrorType,
}

/// Record of a TLS handshake.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CompletedHandshake {
    /// Time since the connection was accepted.
    pub duration: Duration,
    /// Why the handshake failed. [`ErrorType::NONE`] if it succeeded.
    pub error_type: ErrorType,
}

#[cfg(feature = "rustls")]
impl CompletedHandshake {
    pub(super) fn new(duration: Duration, error_type: ErrorType) -> Self {
        Self {
            duration,
            error_type,
        }
    }
}

/// Why a connection was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejection {
    /// The maximum number of connections was open.
    Limit,
    /// The operating system returned an error, for example because the process has no
    /// file descriptors left.
    AcceptError,
}

impl Rejection {
    /// All reasons.
    pub const ALL: [Self; 2] = [Self::Limit, Self::AcceptError];

    /// Returns the value of the label `reason`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::AcceptError => "accept_error",
        }
    }
}

/// Records every connection in both recorders.
impl<A: ConnectionRecorder, B: ConnectionRecorder> ConnectionRecorder for (A, B) {
    fn prepare(&self) -> Result<(), BuildError> {
        self.0.prepare()?;
        self.1.prepare()
    }

    fn opened(&self) {
        self.0.opened();
        self.1.opened();
    }

    fn closed(&self, connection: &ClosedConnection) {
        self.0.closed(connection);
        self.1.closed(connection);
    }

    #[inline]
    fn received(&self, bytes: u64) {
        self.0.received(bytes);
        self.1.received(bytes);
    }

    #[inline]
    fn transmitted(&self, bytes: u64) {
        self.0.transmitted(bytes);
        self.1.transmitted(bytes);
    }

    fn rejected(&self, reason: Rejection) {
        self.0.rejected(reason);
        self.1.rejected(reason);
    }

    fn handshake(&self, handshake: &CompletedHandshake) {
        self.0.handshake(handshake);
        self.1.handshake(handshake);
    }
}

/// Records connections if there is a recorder.
impl<R: ConnectionRecorder> ConnectionRecorder for Option<R> {
    fn prepare(&self) -> Result<(), BuildError> {
        self.as_ref().map_or(Ok(()), R::prepare)
    }

    fn opened(&self) {
        if let Some(recorder) = self {
            recorder.opened();
        }
    }

    fn closed(&self, connection: &ClosedConnection) {
        if let Some(recorder) = self {
            recorder.closed(connection);
        }
    }

    #[inline]
    fn received(&self, bytes: u64) {
        if let Some(recorder) = self {
            recorder.received(bytes);
        }
    }

    #[inline]
    fn transmitted(&self, bytes: u64) {
        if let Some(recorder) = self {
            recorder.transmitted(bytes);
        }
    }

    fn rejected(&self, reason: Rejection) {
        if let Some(recorder) = self {
            recorder.rejected(reason);
        }
    }

    fn handshake(&self, handshake: &CompletedHandshake) {
        if let Some(recorder) = self {
            recorder.handshake(handshake);
        }
    }
}

/// Records connections in a recorder that the program shares.
impl<R: ConnectionRecorder> ConnectionRecorder for Arc<R> {
    fn prepare(&self) -> Result<(), BuildError> {
        R::prepare(self)
    }

    fn opened(&self) {
        R::opened(self);
    }

    fn closed(&self, connection: &ClosedConnection) {
        R::closed(self, connection);
    }

    #[inline]
    fn received(&self, bytes: u64) {
        R::received(self, bytes);
    }

    #[inline]
    fn transmitted(&self, bytes: u64) {
        R::transmitted(self, bytes);
    }

    fn rejected(&self, reason: Rejection) {
        R::rejected(self, reason);
    }

    fn handshake(&self, handshake: &CompletedHandshake) {
        R::handshake(self, handshake);
    }
}
