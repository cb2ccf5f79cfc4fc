//! Listeners that report accept errors.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;

/// Listener that reports accept errors, in contrast to axum's `Listener`, so that
/// [`ConnectionListener`](super::ConnectionListener) can count them and back off.
///
/// Implemented for `TcpListener` and `UnixListener` of tokio.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not implement `Accept`",
    note = "`Connections::axum_listener` wraps every listener that implements `axum::serve::Listener`"
)]
pub trait Accept: Send + 'static {
    /// I/O of a connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Address of a client.
    type Addr: Send;

    /// Accepts a connection. Dropping the future must not lose a connection.
    ///
    /// # Errors
    ///
    /// `ConnectionAborted`, `ConnectionRefused`, `ConnectionReset` and `Interrupted` are
    /// errors of one connection, after which the listener continues at once. All others
    /// are errors of the listener: it records them and backs off.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, Self::Addr)>> + Send;

    /// Returns the local address of the listener.
    ///
    /// # Errors
    ///
    /// Returns the error of the operating system.
    fn local_addr(&self) -> io::Result<Self::Addr>;
}

impl Accept for TcpListener {
    type Io = tokio::net::TcpStream;
    type Addr = std::net::SocketAddr;

    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, Self::Addr)>> + Send {
        Self::accept(self)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Self::local_addr(self)
    }
}

#[cfg(unix)]
impl Accept for tokio::net::UnixListener {
    type Io = tokio::net::UnixStream;
    type Addr = tokio::net::unix::SocketAddr;

    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Io, Self::Addr)>> + Send {
        Self::accept(self)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Self::local_addr(self)
    }
}

/// Adapter from axum's `Listener` to [`Accept`], which
/// [`Connections::axum_listener`](super::Connections::axum_listener) creates.
#[cfg(feature = "axum")]
#[derive(Clone, Copy, Debug)]
pub struct AxumListener<L>(pub L);

#[cfg(feature = "axum")]
impl<L: axum::serve::Listener> Accept for AxumListener<L> {
    type Io = L::Io;
    type Addr = L::Addr;

    async fn accept(&mut self) -> io::Result<(L::Io, L::Addr)> {
        Ok(self.0.accept().await)
    }

    fn local_addr(&self) -> io::Result<L::Addr> {
        self.0.local_addr()
    }
}

/// Returns whether an accept error belongs to one connection, whose client has
/// disconnected, and not to the listener.
pub(super) fn is_connection_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
