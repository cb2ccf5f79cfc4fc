//! Listener that measures its connections.

use std::fmt;
use std::io;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::accept::{Accept, is_connection_error};
use super::log_limit::LogLimit;
use super::{ConnectionIo, ConnectionRecorder, Connections};

/// Pauses after a failed accept: doubled from the first to the last.
const MIN_BACKOFF: Duration = Duration::from_millis(5);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// Listener whose connections are measured. [`Connections::listener`] creates it.
///
/// Implements axum's `Listener`, with the feature `axum`.
pub struct ConnectionListener<L, R> {
    listener: L,
    connections: Connections<R>,
    backoff: Duration,
    /// When to accept again after a failed attempt. Part of the listener, so that a
    /// cancelled `accept` does not shorten the pause.
    retry_at: Option<Instant>,
    failure_log: LogLimit,
}

impl<L: Accept, R: ConnectionRecorder> ConnectionListener<L, R> {
    pub(super) fn new(listener: L, connections: Connections<R>) -> Self {
        Self {
            listener,
            connections,
            backoff: MIN_BACKOFF,
            retry_at: None,
            failure_log: LogLimit::default(),
        }
    }

    /// Accepts the next connection.
    ///
    /// Closes connections beyond the limit. Logs and records accept errors, such as a
    /// lack of file descriptors, and tries again after a pause that grows from 5 ms to
    /// 1 s.
    ///
    /// # Cancel safety
    ///
    /// No connection is lost if the future is dropped.
    pub async fn accept(&mut self) -> (ConnectionIo<L::Io, R>, L::Addr) {
        loop {
            if let Some(at) = self.retry_at {
                sleep_until(at).await;
                self.retry_at = None;
            }
            match self.listener.accept().await {
                Ok((io, address)) => {
                    self.backoff = MIN_BACKOFF;
                    if let Ok(io) = self.connections.wrap(io) {
                        return (io, address);
                    }
                }
                Err(error) if is_connection_error(&error) => {}
                Err(error) => self.back_off(&error),
            }
        }
    }

    fn back_off(&mut self, error: &io::Error) {
        self.connections.accept_failed();
        if let Some(count) = self.failure_log.check() {
            tracing::error!(%error, count, "cannot accept connections");
        }
        self.retry_at = Some(Instant::now() + self.backoff);
        self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
    }

    /// Returns the local address of the listener.
    ///
    /// # Errors
    ///
    /// Returns the error of the operating system.
    pub fn local_addr(&self) -> io::Result<L::Addr> {
        self.listener.local_addr()
    }

    /// Terminates TLS on every connection, with the feature `rustls`.
    ///
    /// Handshakes are measured and do not delay other connections. See
    /// [`TlsIo`](super::TlsIo).
    #[cfg(feature = "rustls")]
    pub fn tls(self, acceptor: impl Into<tokio_rustls::TlsAcceptor>) -> super::TlsListener<L, R> {
        super::TlsListener::new(self, acceptor.into())
    }
}

impl<L, R> ConnectionListener<L, R> {
    /// Returns a reference to the inner listener.
    pub fn get_ref(&self) -> &L {
        &self.listener
    }

    /// Returns a mutable reference to the inner listener.
    pub fn get_mut(&mut self) -> &mut L {
        &mut self.listener
    }

    /// Consumes `self`, returning the inner listener.
    pub fn into_inner(self) -> L {
        self.listener
    }
}

#[cfg(feature = "axum")]
impl<L: Accept, R: ConnectionRecorder> axum::serve::Listener for ConnectionListener<L, R> {
    type Io = ConnectionIo<L::Io, R>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        Self::accept(self).await
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Self::local_addr(self)
    }
}

impl<L: fmt::Debug, R> fmt::Debug for ConnectionListener<L, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionListener")
            .field("listener", &self.listener)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}
