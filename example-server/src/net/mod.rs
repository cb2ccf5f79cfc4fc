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

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub(crate) use admission::{Admission, Limits, admit};
pub(crate) use descriptors::Descriptors;
pub(crate) use listener::bind;
pub(crate) use rate_limit::RateLimit;

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
/// How long the accept loop waits at the connection limit before it closes an idle connection.
const RECYCLE_INTERVAL: Duration = Duration::from_millis(10);

/// Connection limit and timeouts of a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// Maximum number of open connections. Further ones wait in the listen backlog; idle
    /// connections are closed to make room.
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
    closing: CancellationToken,
) -> io::Result<()> {
    let mut listener = listener::Listener::new(listener)?;
    let permits = Arc::new(Semaphore::new(settings.max_connections));
    let recycle = Arc::new(Notify::new());
    let builder = connection::builder();
    let limit_reached = RateLimit::default();
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            let permit = loop {
                tokio::select! {
                    biased;
                    permit = permits.clone().acquire_owned() => break permit,
                    () = tokio::time::sleep(RECYCLE_INTERVAL) => {
                        if limit_reached.check().is_some() {
                            tracing::warn!(
                                limit = settings.max_connections,
                                "connection limit reached, new connections wait"
                            );
                        }
                        // Notifies waiting connections in FIFO order, each of them once a second.
                        for _ in 0..settings.max_connections.div_ceil(100) {
                            recycle.notify_one();
                        }
                    }
                }
            };
            let permit = permit.expect("the semaphore is never closed");
            (permit, listener.accept().await)
        };
        let (permit, stream) = tokio::select! {
            biased;
            () = closing.cancelled() => break,
            next = next => next,
        };
        // Reaped here, so that at most `max_connections` finished tasks are retained.
        while connections.try_join_next().is_some() {}
        let connection = connection::Connection {
            builder: builder.clone(),
            router: router.clone(),
            settings,
            closing: closing.clone(),
            recycle: recycle.clone(),
        };
        connections.spawn(async move {
            connection.run(stream).await;
            drop(permit);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}
