//! TLS on measured connections.

use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use tokio_rustls::rustls::ServerConnection;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{FallibleAccept, TlsAcceptor};

use super::tls_error::error_type;
use super::{
    Accept, CompletedHandshake, ConnectionHandle, ConnectionIo, ConnectionListener,
    ConnectionRecorder, Shared,
};
use crate::clock::Instant;
use crate::error_type::ErrorType;

/// I/O of a measured connection with TLS. [`ConnectionIo::tls`] and [`TlsListener`] create
/// it.
///
/// The handshake begins with the first read or write, in the task that serves the
/// connection, so that slow clients do not delay an accept loop. It fails after
/// [`handshake_timeout`](super::ConnectionsBuilder::handshake_timeout), and is recorded
/// exactly once, with one of these error types:
///
/// | `error_type` | the handshake |
/// |---|---|
/// | empty | succeeded |
/// | `timeout` | took too long |
/// | `closed`, `reset` | was interrupted by the client, which includes port scans and TCP health checks |
/// | `alert_received` | was refused by the client |
/// | `client_certificate` | had an invalid or no client certificate |
/// | `incompatible` | found no common version, cipher suite or protocol |
/// | `protocol_error` | contained something other than TLS, such as plain HTTP |
/// | `cancelled` | was interrupted by the server |
/// | `tls_error`, `io_error` | failed for another reason |
///
/// Bytes are counted as they cross the network, encrypted.
pub struct TlsIo<T, R: ConnectionRecorder>(State<T, R>);

type Stream<T, R> = TlsStream<ConnectionIo<T, R>>;

enum State<T, R: ConnectionRecorder> {
    Handshake(Box<Handshake<T, R>>),
    Stream(Box<Stream<T, R>>),
    /// The handshake has failed, or the server has shut down the connection during it.
    Closed,
}

struct Handshake<T, R: ConnectionRecorder> {
    accept: FallibleAccept<ConnectionIo<T, R>>,
    timeout: Option<Pin<Box<Sleep>>>,
    connection: ConnectionHandle,
    timer: HandshakeTimer<R>,
    /// Tasks that wait for the handshake in order to read and to write.
    waiting: [Option<Waker>; 2],
}

/// Measures a handshake, which is recorded as cancelled if the timer is dropped before
/// the end.
struct HandshakeTimer<R: ConnectionRecorder> {
    shared: Arc<Shared<R>>,
    started: Instant,
    error_type: ErrorType,
}

const READ: usize = 0;
const WRITE: usize = 1;

const HANDSHAKE_FAILED: ErrorType = ErrorType::new("tls_handshake_failed");

impl<R: ConnectionRecorder> Drop for HandshakeTimer<R> {
    fn drop(&mut self) {
        let handshake = CompletedHandshake::new(self.started.elapsed(), self.error_type);
        self.shared.recorder.handshake(&handshake);
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin, R: ConnectionRecorder> Handshake<T, R> {
    fn poll(&mut self, cx: &mut Context<'_>, direction: usize) -> Poll<io::Result<Stream<T, R>>> {
        if let Poll::Ready(result) = Pin::new(&mut self.accept).poll(cx) {
            return Poll::Ready(match result {
                Ok(stream) => {
                    self.timer.error_type = ErrorType::NONE;
                    Ok(stream)
                }
                Err((error, io)) => {
                    self.fail(error_type(&error));
                    drop(io);
                    Err(error)
                }
            });
        }
        let timeout = self.timeout.get_or_insert_with(|| {
            let left = self.timer.shared.handshake_timeout;
            Box::pin(tokio::time::sleep(
                left.saturating_sub(self.timer.started.elapsed()),
            ))
        });
        if timeout.as_mut().poll(cx).is_ready() {
            self.fail(ErrorType::TIMEOUT);
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "TLS handshake timed out",
            )));
        }
        // The I/O and the timeout wake the task that polled last only.
        let waiting = &mut self.waiting[direction];
        if !waiting
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *waiting = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    fn fail(&mut self, error_type: ErrorType) {
        self.timer.error_type = error_type;
        self.connection.set_error_type(HANDSHAKE_FAILED);
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin, R: ConnectionRecorder> TlsIo<T, R> {
    pub(super) fn new(
        io: ConnectionIo<T, R>,
        shared: Arc<Shared<R>>,
        acceptor: &TlsAcceptor,
    ) -> Self {
        Self(State::Handshake(Box::new(Handshake {
            connection: io.handle(),
            accept: acceptor.accept(io).into_fallible(),
            timeout: None,
            timer: HandshakeTimer {
                shared,
                started: Instant::now(),
                error_type: ErrorType::CANCELLED,
            },
            waiting: [None, None],
        })))
    }

    /// Returns the stream after the handshake, which it completes if necessary.
    fn poll_stream(
        &mut self,
        cx: &mut Context<'_>,
        direction: usize,
    ) -> Poll<io::Result<Pin<&mut Stream<T, R>>>> {
        if let State::Handshake(handshake) = &mut self.0 {
            let Poll::Ready(result) = handshake.poll(cx, direction) else {
                return Poll::Pending;
            };
            for waker in handshake.waiting.iter_mut().filter_map(Option::take) {
                waker.wake();
            }
            match result {
                Ok(stream) => self.0 = State::Stream(Box::new(stream)),
                Err(error) => {
                    self.0 = State::Closed;
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(match &mut self.0 {
            State::Stream(stream) => Ok(Pin::new(&mut **stream)),
            State::Handshake(_) | State::Closed => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

impl<T, R: ConnectionRecorder> TlsIo<T, R> {
    /// Returns the TLS connection, which has the negotiated protocol and the client's
    /// certificates. `None` until the handshake has completed.
    pub fn tls_connection(&self) -> Option<&ServerConnection> {
        match &self.0 {
            State::Stream(stream) => Some(stream.get_ref().1),
            State::Handshake(_) | State::Closed => None,
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin, R: ConnectionRecorder> AsyncRead for TlsIo<T, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.poll_stream(cx, READ) {
            Poll::Ready(Ok(stream)) => stream.poll_read(cx, buffer),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin, R: ConnectionRecorder> AsyncWrite for TlsIo<T, R> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.poll_stream(cx, WRITE) {
            Poll::Ready(Ok(stream)) => stream.poll_write(cx, bytes),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.poll_stream(cx, WRITE) {
            Poll::Ready(Ok(stream)) => stream.poll_write_vectored(cx, slices),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Servers ask before the handshake.
    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            State::Stream(stream) => Pin::new(&mut **stream).poll_flush(cx),
            // Nothing has been written yet.
            State::Handshake(_) | State::Closed => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0 {
            State::Stream(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
            // Cancels a handshake instead of waiting for it.
            State::Handshake(_) | State::Closed => {
                self.0 = State::Closed;
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<T, R: ConnectionRecorder> fmt::Debug for TlsIo<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.0 {
            State::Handshake(_) => "handshake",
            State::Stream(_) => "stream",
            State::Closed => "closed",
        };
        f.debug_struct("TlsIo")
            .field("state", &state)
            .finish_non_exhaustive()
    }
}

/// Listener that measures its connections and terminates TLS on them.
/// [`ConnectionListener::tls`] creates it.
///
/// Implements axum's `Listener`, with the feature `axum`.
pub struct TlsListener<L, R> {
    listener: ConnectionListener<L, R>,
    acceptor: TlsAcceptor,
}

impl<L: Accept, R: ConnectionRecorder> TlsListener<L, R> {
    pub(super) fn new(listener: ConnectionListener<L, R>, acceptor: TlsAcceptor) -> Self {
        Self { listener, acceptor }
    }

    /// Accepts the next connection, whose handshake begins with the first read or write.
    /// See [`ConnectionListener::accept`].
    pub async fn accept(&mut self) -> (TlsIo<L::Io, R>, L::Addr) {
        let (io, address) = self.listener.accept().await;
        (io.tls(&self.acceptor), address)
    }

    /// Returns the local address of the listener.
    ///
    /// # Errors
    ///
    /// Returns the error of the operating system.
    pub fn local_addr(&self) -> io::Result<L::Addr> {
        self.listener.local_addr()
    }
}

#[cfg(feature = "axum")]
impl<L: Accept, R: ConnectionRecorder> axum::serve::Listener for TlsListener<L, R> {
    type Io = TlsIo<L::Io, R>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        Self::accept(self).await
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Self::local_addr(self)
    }
}

impl<L: fmt::Debug, R> fmt::Debug for TlsListener<L, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsListener")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}
