//! Listening sockets.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// Length of the queue of connections that the kernel has established and the server has not
/// accepted yet. Linux truncates it to `net.core.somaxconn`.
const BACKLOG: u32 = 1024;

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
