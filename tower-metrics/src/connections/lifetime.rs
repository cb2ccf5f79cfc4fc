//! Lifetime of a connection, which is recorded exactly once.

use std::io;
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use super::{ClosedConnection, ConnectionRecorder, Shared};
use crate::clock::Instant;
use crate::error_type::ErrorType;

/// Measures a connection from its acceptance until it is dropped, and derives from its
/// I/O how it ended.
#[derive(Debug)]
pub(super) struct Lifetime<R: ConnectionRecorder> {
    shared: Arc<Shared<R>>,
    started: Instant,
    /// The client will not send anything more.
    end_of_input: bool,
    /// The server has shut down its direction.
    shut_down: bool,
    /// The last read or write waits for the client.
    read_waits: bool,
    write_waits: bool,
    failure: Option<ErrorType>,
    handle: OnceLock<ConnectionHandle>,
}

/// Sets the error type of a connection that the server closes for its own reason.
///
/// The I/O of a connection cannot tell a timeout of the server from a cancelled task.
/// [`ConnectionIo::handle`](super::ConnectionIo::handle) returns the handle, which can be
/// kept while the server owns the I/O:
///
/// ```
/// # #[cfg(feature = "prometheus")] {
/// # use tower_metrics::{ErrorType, Prometheus};
/// # let (client, server_io) = tokio::io::duplex(64);
/// let connections = Prometheus::new().connections().build()?;
/// let io = connections.wrap(server_io)?;
/// let handle = io.handle();
/// // The server takes the I/O, and the client sends nothing for too long.
/// handle.set_error_type(ErrorType::TIMEOUT);
/// drop(io);
/// # }
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ConnectionHandle(Arc<OnceLock<ErrorType>>);

impl ConnectionHandle {
    /// Sets the error type with which the connection is recorded. The first call wins,
    /// also over errors of the I/O. Has no effect after the connection has ended.
    pub fn set_error_type(&self, error_type: ErrorType) {
        let _ = self.0.set(error_type);
    }
}

const RESET: ErrorType = ErrorType::new("reset");
const ABORTED: ErrorType = ErrorType::new("aborted");
const IO_ERROR: ErrorType = ErrorType::new("io_error");

impl<R: ConnectionRecorder> Lifetime<R> {
    pub(super) fn new(shared: &Arc<Shared<R>>) -> Self {
        shared.recorder.opened();
        Self {
            shared: Arc::clone(shared),
            started: Instant::now(),
            end_of_input: false,
            shut_down: false,
            read_waits: false,
            write_waits: false,
            failure: None,
            handle: OnceLock::new(),
        }
    }

    pub(super) fn handle(&self) -> ConnectionHandle {
        self.handle.get_or_init(ConnectionHandle::default).clone()
    }

    #[cfg(feature = "rustls")]
    pub(super) fn shared(&self) -> &Arc<Shared<R>> {
        &self.shared
    }

    /// Records the result of a read into a buffer that had room.
    #[inline]
    pub(super) fn read(&mut self, result: &Poll<io::Result<()>>, bytes: usize) {
        self.read_waits = result.is_pending();
        match result {
            Poll::Ready(Ok(())) if bytes > 0 => self.shared.recorder.received(bytes as u64),
            Poll::Ready(Ok(())) => self.end_of_input = true,
            Poll::Ready(Err(error)) => self.failed(error),
            Poll::Pending => {}
        }
    }

    /// Records the result of a write.
    #[inline]
    pub(super) fn written(&mut self, result: &Poll<io::Result<usize>>) {
        self.write_waits = result.is_pending();
        match result {
            Poll::Ready(Ok(0)) | Poll::Pending => {}
            Poll::Ready(Ok(bytes)) => self.shared.recorder.transmitted(*bytes as u64),
            Poll::Ready(Err(error)) => self.failed(error),
        }
    }

    pub(super) fn flushed(&mut self, result: &Poll<io::Result<()>>) {
        self.write_waits = result.is_pending();
        if let Poll::Ready(Err(error)) = result {
            self.failed(error);
        }
    }

    pub(super) fn shut_down(&mut self, result: &Poll<io::Result<()>>) {
        match result {
            Poll::Ready(Ok(())) => self.shut_down = true,
            // The client has already disconnected.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::NotConnected => {
                self.shut_down = true;
            }
            Poll::Ready(Err(error)) => self.failed(error),
            Poll::Pending => {}
        }
    }

    #[cold]
    fn failed(&mut self, error: &io::Error) {
        let error_type = match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => RESET,
            io::ErrorKind::TimedOut => ErrorType::TIMEOUT,
            io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => return,
            _ => IO_ERROR,
        };
        self.failure.get_or_insert(error_type);
    }

    fn error_type(&self) -> ErrorType {
        let set = self.handle.get().and_then(|handle| handle.0.get().copied());
        let waits = self.read_waits || self.write_waits;
        let is_orderly = self.end_of_input || self.shut_down || !waits;
        match set.or(self.failure) {
            Some(error_type) => error_type,
            None if is_orderly => ErrorType::NONE,
            None => ABORTED,
        }
    }
}

impl<R: ConnectionRecorder> Drop for Lifetime<R> {
    fn drop(&mut self) {
        self.shared.recorder.closed(&ClosedConnection {
            duration: self.started.elapsed(),
            error_type: self.error_type(),
        });
    }
}
