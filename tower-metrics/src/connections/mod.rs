//! Metrics of connections, which a layer does not see.
//!
//! A tower layer sees requests only. [`Connections`] measures everything around them:
//! connections that are open, refused or reset, TLS handshakes, and the bytes that cross
//! the network, including request and response heads, HTTP/2 frames, TLS records and
//! upgraded connections such as WebSockets.
//!
//! ```no_run
//! # #[cfg(all(feature = "axum", feature = "prometheus"))] {
//! use axum::{Router, routing::get};
//! use tower_metrics::{MetricsLayer, Prometheus};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let prometheus = Prometheus::new();
//! let app: Router = Router::new()
//!     .route("/concerts/{id}", get(|| async { "hello" }))
//!     .layer(MetricsLayer::new(prometheus))
//!     .route_service("/metrics", prometheus.exposition());
//!
//! let connections = prometheus.connections().max_connections(10_000).build()?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! axum::serve(connections.listener(listener), app).await?;
//! # Ok(())
//! # }
//! # }
//! ```
//!
//! # Metrics
//!
//! | Prometheus | OpenTelemetry | type | labels |
//! |---|---|---|---|
//! | `http_server_open_connections` | `http.server.open_connections` | gauge | |
//! | `http_server_connection_duration_seconds` | `http.server.connection.duration` | histogram | `error_type` |
//! | `http_server_rejected_connections_total` | `http.server.rejected_connections` | counter | `reason` |
//! | `http_server_network_io_bytes_total` | `http.server.network.io` | counter | `network_io_direction` |
//! | `http_server_tls_handshake_duration_seconds` | `http.server.tls_handshake.duration` | histogram | `error_type` |
//!
//! The names are the same for every preset of
#![cfg_attr(feature = "prometheus", doc = "[`Names`](crate::Names);")]
#![cfg_attr(not(feature = "prometheus"), doc = "Prometheus names;")]
//! a prefix applies to them as well. The histogram of handshakes appears with the first
//! handshake.
//!
//! # When a connection begins and ends
//!
//! A connection is open from its acceptance until the value that wraps it is dropped by
//! the server, by an upgraded connection, or with a task that is cancelled.
//! It is then recorded exactly once, before its socket closes, with one of these
//! error types:
//!
//! | `error_type` | the connection |
//! |---|---|
//! | empty | was closed by the client, or by the server in an orderly way |
//! | `reset` | was reset by the client, or the client closed it before it had read everything |
//! | `timeout` | was given up by the operating system (TCP keep-alive, user timeout) |
//! | `aborted` | was dropped by the server while it waited for the client: a cancelled task, a timeout of the server, or a shutdown that did not wait |
//! | `tls_handshake_failed` | did not complete the TLS handshake |
//! | `io_error` | failed for another reason |
//!
//! A server that closes a connection for its own reason sets the error type with a
//! [`ConnectionHandle`], for example with [`ErrorType::TIMEOUT`](crate::ErrorType::TIMEOUT).
//!
//! # Bytes
//!
//! Received bytes are counted when the program reads them, and transmitted bytes when
//! the operating system accepts them. With TLS, both are encrypted. Headers of TCP and
//! IP and retransmissions are not visible to a program.
//!
//! # Rejections
//!
//! `reason` is `limit` for a connection that exceeded
//! [`max_connections`](ConnectionsBuilder::max_connections) and was closed at once, and
//! `accept_error` for a failed attempt to accept a connection, usually because the
//! process or the system has no file descriptors left. A [`ConnectionListener`] then
//! waits for 5 ms, and up to 1 s while attempts keep failing, so that it never spins.
//!
//! # Cost
//!
//! Prometheus adds a plain load and store to a read or write, of a counter that no other
//! thread writes: no lock, no allocation and no locked instruction. A connection without
//! TLS allocates nothing. Memory does not depend on the number of connections: 64 bytes
//! for each thread, and about 200 bytes for each thread and error type.
//!
//! OpenTelemetry records every read and write with a bound instrument of the SDK, which
//! does not allocate either.
//!
//! These are medians of `cargo bench -p benches --bench connections` on an AMD EPYC
//! processor (2026-11-29), in nanoseconds that are added to I/O in memory. A system call
//! for a read or write takes several hundred.
//!
//! | | read | write | connection opened and closed |
//! |---|---|---|---|
//! | counters that all threads share, for comparison | 4.8 | 4.6 | |
//! | Prometheus | 0.8 | 0.2 | 86 |
//! | OpenTelemetry | 6.7 | 6.3 | 130 |
//!
//! # hyper and other servers
//!
//! [`Connections::wrap`] wraps any I/O, and [`ConnectionListener::accept`] is an accept
//! loop with limit and back-off:
//!
//! ```no_run
//! # #[cfg(feature = "prometheus")] {
//! # async fn serve<T>(_: T) {}
//! # async fn run(prometheus: tower_metrics::Prometheus) -> Result<(), Box<dyn std::error::Error>> {
//! let connections = prometheus.connections().build()?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! let mut listener = connections.listener(listener);
//! loop {
//!     let (io, _address) = listener.accept().await;
//!     tokio::spawn(async move { serve(io).await });
//! }
//! # }
//! # }
//! ```
//!
//! # TLS
//!
//! With the feature `rustls`, a listener also terminates TLS and measures the handshakes,
//! which run in the tasks of their connections and time out after 10 s. It counts
//! encrypted bytes. The program chooses the cryptography provider of rustls.
//!
//! ```no_run
//! # #[cfg(all(feature = "axum", feature = "prometheus", feature = "rustls"))] {
//! # use axum::Router;
//! use std::sync::Arc;
//!
//! use tokio_rustls::TlsAcceptor;
//! use tokio_rustls::rustls::ServerConfig;
//!
//! # async fn run(app: Router, prometheus: tower_metrics::Prometheus, config: ServerConfig) -> Result<(), Box<dyn std::error::Error>> {
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! let acceptor = TlsAcceptor::from(Arc::new(config));
//! let connections = prometheus.connections().build()?;
//! axum::serve(connections.listener(listener).tls(acceptor), app).await?;
//! # Ok(())
//! # }
//! # }
//! ```
//!
//! The example `tls` is a whole program. Measure TLS that something else terminates by
//! wrapping the I/O below it.
//!
//! # `ConnectInfo` and socket options in axum
//!
//! axum's `ListenerExt::tap_io` sets options on accepted sockets and makes the
//! client's address available to the extractor `ConnectInfo<SocketAddr>`. Call it on
//! the wrapped listener, whose accept errors are measured:
//!
//! ```no_run
//! # #[cfg(all(feature = "axum", feature = "prometheus"))] {
//! # use axum::Router;
//! use std::net::SocketAddr;
//!
//! use axum::serve::ListenerExt;
//!
//! # async fn run(app: Router, prometheus: tower_metrics::Prometheus) -> Result<(), Box<dyn std::error::Error>> {
//! # let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
//! let connections = prometheus.connections().build()?;
//! let listener = connections.listener(listener).tap_io(|io| {
//!     let _ = io.get_ref().set_nodelay(true);
//! });
//! let app = app.into_make_service_with_connect_info::<SocketAddr>();
//! axum::serve(listener, app).await?;
//! # Ok(())
//! # }
//! # }
//! ```

mod accept;
mod builder;
mod io;
mod lifetime;
mod listener;
mod log_limit;
mod recorder;
#[cfg(feature = "rustls")]
mod tls;
#[cfg(feature = "rustls")]
mod tls_error;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use self::accept::Accept;
#[cfg(feature = "axum")]
pub use self::accept::AxumListener;
pub use self::builder::ConnectionsBuilder;
pub use self::io::ConnectionIo;
pub use self::lifetime::ConnectionHandle;
pub use self::listener::ConnectionListener;
pub use self::recorder::{ClosedConnection, CompletedHandshake, ConnectionRecorder, Rejection};
#[cfg(feature = "rustls")]
pub use self::tls::{TlsIo, TlsListener};

use self::log_limit::LogLimit;

/// Bucket bounds of the durations of connections, in seconds.
#[cfg(any(feature = "opentelemetry", feature = "prometheus"))]
pub(crate) const CONNECTION_BOUNDS: [f64; 14] = [
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
];

/// Measures the connections of a server and limits their number.
///
/// Clones share the limit. Servers that share a recorder but not the limit, such as
/// those of two ports, use one `Connections` each.
///
/// See the [module documentation](self).
pub struct Connections<R>(Arc<Shared<R>>);

/// State that all connections share.
#[derive(Debug)]
struct Shared<R> {
    recorder: R,
    max: usize,
    #[cfg(feature = "rustls")]
    handshake_timeout: std::time::Duration,
    open: AtomicUsize,
    limit_log: LogLimit,
}

/// Error of [`Connections::wrap`]: the connection exceeded the limit and was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("connection limit of {max} reached")]
#[non_exhaustive]
pub struct ConnectionLimitReached {
    /// The limit, as set by [`ConnectionsBuilder::max_connections`].
    pub max: usize,
}

impl<R: ConnectionRecorder> Connections<R> {
    /// Creates a builder that records to `recorder`.
    pub fn builder(recorder: R) -> ConnectionsBuilder<R> {
        ConnectionsBuilder::new(recorder)
    }

    /// Wraps the I/O of an accepted connection, which is open from now on.
    ///
    /// # Errors
    ///
    /// Returns an error if the limit is reached. The connection is closed and recorded as
    /// rejected.
    pub fn wrap<T>(&self, io: T) -> Result<ConnectionIo<T, R>, ConnectionLimitReached> {
        match Permit::acquire(&self.0) {
            Some(permit) => Ok(ConnectionIo::new(io, permit)),
            None => {
                drop(io);
                self.0.recorder.rejected(Rejection::Limit);
                let max = self.0.max;
                if let Some(count) = self.0.limit_log.check() {
                    tracing::warn!(max, count, "connection limit reached, connections rejected");
                }
                Err(ConnectionLimitReached { max })
            }
        }
    }

    /// Wraps a listener, which accepts connections up to the limit.
    ///
    /// The result implements axum's `Listener`, with the feature `axum`. Use
    #[cfg_attr(
        feature = "axum",
        doc = "[`axum_listener`](Self::axum_listener) for a listener that implements"
    )]
    #[cfg_attr(
        not(feature = "axum"),
        doc = "`axum_listener` for a listener that implements"
    )]
    /// axum's `Listener` and not [`Accept`].
    pub fn listener<L: Accept>(&self, listener: L) -> ConnectionListener<L, R> {
        ConnectionListener::new(listener, self.clone())
    }

    /// Wraps any listener of axum.
    ///
    /// Such a listener handles its accept errors itself, so that they are not counted.
    /// Prefer [`listener`](Self::listener) for `TcpListener` and `UnixListener`.
    #[cfg(feature = "axum")]
    pub fn axum_listener<L: axum::serve::Listener>(
        &self,
        listener: L,
    ) -> ConnectionListener<AxumListener<L>, R> {
        self.listener(AxumListener(listener))
    }

    /// Records a failed attempt to accept a connection, for accept loops that do not use a
    /// [`ConnectionListener`].
    pub fn accept_failed(&self) {
        self.0.recorder.rejected(Rejection::AcceptError);
    }

    /// Returns the number of open connections that count toward the limit.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }
}

impl<R> Clone for Connections<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R> fmt::Debug for Connections<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections")
            .field("max", &self.0.max)
            .field("open", &self.0.open)
            .finish_non_exhaustive()
    }
}

/// Share of the limit, which a connection returns after its socket has closed.
#[derive(Debug)]
struct Permit<R>(Arc<Shared<R>>);

impl<R> Permit<R> {
    fn acquire(shared: &Arc<Shared<R>>) -> Option<Self> {
        // A rejected connection must not count for a moment: another one, for which there
        // is room, would be rejected.
        let next = |open| (open < shared.max).then_some(open + 1);
        let acquired = shared
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        acquired.ok().map(|_| Self(Arc::clone(shared)))
    }
}

impl<R> Drop for Permit<R> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
