//! Listening sockets.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::RateLimit;

/// Length of the queue of connections that the kernel has established and the server has not
/// accepted yet. Linux truncates it to `net.core.somaxconn`.
const BACKLOG: u32 = 1024;
/// Pauses after a failed accept: doubled from the first to the last.
const MIN_BACKOFF: Duration = Duration::from_millis(5);
const MAX_BACKOFF: Duration = Duration::from_secs(1);

/// Binds and listens on `address`.
///
/// # Errors
/// Returns the operating system's error, for example when the address is in use.
pub(crate) fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // On Windows the option would let another process take over the port.
    #[cfg(unix)]
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// Listener that survives accept errors.
#[derive(Debug)]
pub(super) struct Listener {
    inner: TcpListener,
    backoff: Duration,
    failed: RateLimit,
}

impl Listener {
    pub(super) fn new(listener: std::net::TcpListener) -> io::Result<Self> {
        Ok(Self {
            inner: TcpListener::from_std(listener)?,
            backoff: MIN_BACKOFF,
            failed: RateLimit::default(),
        })
    }

    /// Accepts the next connection. Retries with exponential back-off when the process or the
    /// system is out of resources, such as file descriptors.
    pub(super) async fn accept(&mut self) -> TcpStream {
        loop {
            match self.inner.accept().await {
                Ok((stream, _)) => {
                    self.backoff = MIN_BACKOFF;
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "cannot set TCP_NODELAY");
                    }
                    return stream;
                }
                // The client has disconnected: an error of that connection, not of the listener.
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    if let Some(count) = self.failed.check() {
                        tracing::error!(%error, count, "cannot accept connections");
                    }
                    tokio::time::sleep(self.backoff).await;
                    self.backoff = (self.backoff * 2).min(MAX_BACKOFF);
                }
            }
        }
    }
}

fn is_connection_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
