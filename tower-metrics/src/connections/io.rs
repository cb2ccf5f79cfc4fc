//! I/O of a connection.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
#[cfg(feature = "rustls")]
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project::pin_project;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::lifetime::Lifetime;
use super::{ConnectionHandle, ConnectionRecorder, Permit};

/// I/O of a connection that is measured, from [`Connections::wrap`] or a
/// [`ConnectionListener`](super::ConnectionListener).
///
/// The connection ends when this value is dropped. Halves from `tokio::io::split` and
/// upgraded connections contain it and are measured as well, on every thread.
///
/// I/O can be wrapped again for a second recorder. Wrapping it twice for one recorder
/// counts it twice.
///
/// [`Connections::wrap`]: super::Connections::wrap
#[pin_project]
pub struct ConnectionIo<T, R: ConnectionRecorder> {
    // Fields are dropped in this order. The connection is recorded before the client
    // sees it close, and counts toward the limit until its descriptor is free.
    lifetime: Lifetime<R>,
    #[pin]
    inner: T,
    _permit: Permit<R>,
}

impl<T, R: ConnectionRecorder> ConnectionIo<T, R> {
    pub(super) fn new(inner: T, permit: Permit<R>) -> Self {
        Self {
            lifetime: Lifetime::new(&permit.0),
            inner,
            _permit: permit,
        }
    }

    /// Returns a reference to the inner I/O. Its own methods are not measured.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// Returns a mutable reference to the inner I/O. Reads and writes on it are not
    /// measured.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.inner
    }

    /// Returns a handle that sets how the connection ended.
    pub fn handle(&self) -> ConnectionHandle {
        self.lifetime.handle()
    }

    /// Terminates TLS. The handshake begins with the first read or write.
    #[cfg(feature = "rustls")]
    pub fn tls(self, acceptor: &tokio_rustls::TlsAcceptor) -> super::TlsIo<T, R>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let shared = Arc::clone(self.lifetime.shared());
        super::TlsIo::new(self, shared, acceptor)
    }
}

impl<T: AsyncRead, R: ConnectionRecorder> AsyncRead for ConnectionIo<T, R> {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.project();
        let before = buffer.filled().len();
        let has_room = buffer.remaining() > 0;
        let result = this.inner.poll_read(cx, buffer);
        // A read into a full buffer reads nothing, which is not the end of the input.
        if has_room {
            let bytes = buffer.filled().len().saturating_sub(before);
            this.lifetime.read(&result, bytes);
        }
        result
    }
}

impl<T: AsyncWrite, R: ConnectionRecorder> AsyncWrite for ConnectionIo<T, R> {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let result = this.inner.poll_write(cx, bytes);
        this.lifetime.written(&result);
        result
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.project();
        let result = this.inner.poll_write_vectored(cx, slices);
        this.lifetime.written(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let result = this.inner.poll_flush(cx);
        this.lifetime.flushed(&result);
        result
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.project();
        let result = this.inner.poll_shutdown(cx);
        this.lifetime.shut_down(&result);
        result
    }
}

impl<T: fmt::Debug, R: ConnectionRecorder> fmt::Debug for ConnectionIo<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionIo")
            .field("inner", &self.inner)
            .finish_non_exhaustive()
    }
}
