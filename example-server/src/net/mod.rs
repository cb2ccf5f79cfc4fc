//! HTTP server on hyper: accepts connections, enforces limits and timeouts on them, and drains
//! them.
//!
//! `axum::serve` has no timeouts and no connection limit: a client that sends half a request holds a
//! file descriptor indefinitely.
//!
//! # Bounds
//! Per connection: a read buffer of [`MAX_HEAD`] bytes, and over HTTP/2 [`MAX_STREAMS`] streams with
//! a send buffer of [`MAX_SEND_BUFFER`] bytes each. [`Settings::max_connections`] bounds the number
//! of connections.

mod activity;
mod admission;
mod connection;
mod descriptors;
mod listener;
mod rate_limit;
mod room;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower_metrics::connections::ConnectionIo;
use tower_metrics::{BuildError, Prometheus};

pub(crate) use admission::{Admission, Limits, admit};
pub(crate) use descriptors::Descriptors;
pub(crate) use listener::bind;
pub(crate) use rate_limit::RateLimit;

use room::Room;

/// Connections that are measured if they have a recorder.
pub(crate) type Connections = tower_metrics::Connections<Option<Prometheus>>;

/// Socket of a connection.
type Io = ConnectionIo<TcpStream, Option<Prometheus>>;

/// Maximum size of a request head in bytes. hyper rejects longer ones with 431.
const MAX_HEAD: usize = 16 * 1024;
/// Maximum number of concurrent streams of an HTTP/2 connection.
const MAX_STREAMS: u32 = 128;
/// Maximum number of bytes that an HTTP/2 stream buffers for sending.
const MAX_SEND_BUFFER: usize = 64 * 1024;
/// Interval of HTTP/2 PINGs, which detect peers that disappeared without closing the connection.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// Time that a peer has to acknowledge a PING.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Connection limit and timeouts of a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Maximum number of open connections. Further ones wait in the listen backlog while idle
    /// connections are closed to make room, and are rejected if there are none.
    pub(crate) max_connections: usize,
    /// Time for a request head to arrive, from the connection's start or the head's first byte.
    pub(crate) header_timeout: Duration,
    /// Time that a connection may be idle between requests.
    pub(crate) keep_alive: Duration,
    /// Time that a client may leave a response unread.
    pub(crate) write_timeout: Duration,
}

impl Settings {
    fn shortest(&self) -> Duration {
        self.header_timeout
            .min(self.keep_alive)
            .min(self.write_timeout)
    }
}

/// Returns the measurement and the limit of a listener's connections. `recorder` is `None` for
/// connections that are limited but not part of the metrics.
///
/// # Errors
/// Returns an error when the metrics cannot be registered.
pub(crate) fn connections(
    recorder: Option<Prometheus>,
    settings: &Settings,
) -> Result<Connections, BuildError> {
    Connections::builder(recorder)
        .max_connections(settings.max_connections)
        .build()
}

/// Serves `router` on `listener` until `closing` is cancelled and every connection has ended.
///
/// Once `closing` is cancelled, the listener closes, idle connections and those with an incomplete
/// request head close, and the others close after their current response. Dropping the future
/// closes all connections immediately.
///
/// # Errors
/// Returns an error when the listener cannot be registered with the runtime.
pub(crate) async fn serve(
    listener: std::net::TcpListener,
    router: Router,
    settings: Settings,
    connections: Connections,
    closing: CancellationToken,
) -> io::Result<()> {
    let mut listener = connections.listener(TcpListener::from_std(listener)?);
    let recycle = Arc::new(Notify::new());
    let mut room = Room::new(connections, settings.max_connections, recycle.clone());
    let builder = connection::builder();
    let mut tasks = JoinSet::new();
    loop {
        let io = tokio::select! {
            biased;
            () = closing.cancelled() => break,
            io = room.accept(&mut listener) => io,
        };
        if let Err(error) = io.get_ref().set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
        // Reaped here, so that about `max_connections` finished tasks are retained at most.
        while tasks.try_join_next().is_some() {}
        let connection = connection::Connection {
            builder: builder.clone(),
            router: router.clone(),
            settings,
            closing: closing.clone(),
            recycle: recycle.clone(),
        };
        tasks.spawn(connection.run(io));
    }
    drop(listener);
    while tasks.join_next().await.is_some() {}
    Ok(())
}
