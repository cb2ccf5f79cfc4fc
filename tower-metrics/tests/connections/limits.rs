//! Connection limit and accept errors.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::DuplexStream;
use tokio::time::Instant;
use tower_metrics::connections::{Accept, Rejection};
use tower_metrics::{BuildError, Connections, Prometheus};

use crate::measured::{Client, Event, GET, Watch, serve};

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once_and_counted() {
    let mut watch = Watch::new();
    let connections = Connections::builder(watch.recorder())
        .max_connections(2)
        .build()
        .unwrap();
    let address = serve(&connections).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(address).await;
        client.send(GET).await;
        client.read_until(b"hello").await;
        open.push(client);
    }
    for _ in 0..3 {
        let mut rejected = Client::connect(address).await;
        assert_eq!(rejected.read_to_close().await, b"");
    }
    let metrics = watch.metrics();
    assert_eq!((metrics.open(), metrics.rejected("limit")), (2.0, 3.0));
    assert_eq!((metrics.ended(), connections.open()), (0.0, 2));

    drop(open.pop());
    assert_eq!(watch.closed().await, "");
    // The permit is returned after the event.
    while connections.open() > 1 {
        tokio::task::yield_now().await;
    }
    let mut client = Client::connect(address).await;
    client.send(GET).await;
    client.read_until(b"hello").await;
    let metrics = watch.metrics();
    assert_eq!((metrics.open(), metrics.rejected("limit")), (2.0, 3.0));
}

#[test]
fn clones_share_the_limit() {
    let watch = Watch::new();
    let connections = Connections::builder(watch.recorder())
        .max_connections(1)
        .build()
        .unwrap();
    let io = connections.wrap(()).unwrap();
    let error = connections.clone().wrap(()).unwrap_err();
    assert_eq!(error.to_string(), "connection limit of 1 reached");
    drop(io);
    connections.wrap(()).unwrap();
    // Another port has its own limit.
    let other = watch.connections();
    let _io = (connections.wrap(()).unwrap(), other.wrap(()).unwrap());
    assert_eq!(watch.metrics().open(), 2.0);
}

#[test]
fn rejected_connections_never_count_toward_the_limit() {
    let connections = Prometheus::new().connections();
    let connections = connections.max_connections(1).build().unwrap();
    let _held = connections.wrap(()).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    connections.wrap(()).unwrap_err();
                }
            });
        }
        let most = (0..1_000_000).map(|_| connections.open()).max();
        done.store(true, Ordering::Relaxed);
        assert_eq!(most, Some(1));
    });
}

#[test]
fn a_limit_of_zero_is_rejected() {
    let result = Watch::new()
        .prometheus
        .connections()
        .max_connections(0)
        .build();
    let error = result.unwrap_err();
    assert_eq!(error, BuildError::MaxConnections { max: 0 });
    assert_eq!(error.to_string(), "max_connections 0: must be at least 1");
}

/// Listener with scripted results.
struct Scripted {
    results: VecDeque<io::Result<DuplexStream>>,
    attempts: Vec<Instant>,
}

impl Accept for Scripted {
    type Io = DuplexStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        self.attempts.push(Instant::now());
        match self.results.pop_front() {
            Some(result) => result.map(|io| (io, ([127, 0, 0, 1], 1).into())),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(([127, 0, 0, 1], 80).into())
    }
}

fn exhausted() -> io::Error {
    // EMFILE.
    io::Error::from_raw_os_error(24)
}

fn scripted(results: impl IntoIterator<Item = io::Result<DuplexStream>>) -> Scripted {
    Scripted {
        results: results.into_iter().collect(),
        attempts: Vec::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn accept_errors_are_counted_and_retried_after_a_growing_pause() {
    let watch = Watch::new();
    let errors = (0..10).map(|_| Err(exhausted()));
    let connection = Ok(tokio::io::duplex(1).0);
    let again = [Err(exhausted()), Ok(tokio::io::duplex(1).0)];
    let script = scripted(errors.chain([connection]).chain(again));
    let mut listener = watch.connections().listener(script);
    let (_first, _) = listener.accept().await;
    let (_second, address) = listener.accept().await;
    assert_eq!(address.port(), 1);
    assert_eq!(listener.local_addr().unwrap().port(), 80);

    let attempts = &listener.get_ref().attempts;
    let pauses: Vec<_> = attempts
        .windows(2)
        .map(|pair| pair[1].duration_since(pair[0]).as_millis())
        .collect();
    let growing = [5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000];
    assert_eq!(pauses[..10], growing);
    // A success resets the pause.
    assert_eq!(pauses[10..], [0, 5]);
    assert_eq!(watch.metrics().rejected("accept_error"), 11.0);
    assert_eq!(watch.metrics().open(), 2.0);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_accept_does_not_shorten_the_pause() {
    let watch = Watch::new();
    let errors = (0..100).map(|_| Err(exhausted()));
    let mut listener = watch.connections().listener(scripted(errors));
    for _ in 0..1000 {
        let timeout = Duration::from_millis(1);
        _ = tokio::time::timeout(timeout, listener.accept()).await;
    }
    // 5 + 10 + … + 640 ms is more than a second.
    assert_eq!(listener.get_ref().attempts.len(), 8);
    assert_eq!(watch.metrics().rejected("accept_error"), 8.0);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_one_connection_does_not_pause_the_listener() {
    let mut watch = Watch::new();
    let kinds = [
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::ConnectionRefused,
        io::ErrorKind::Interrupted,
    ];
    let errors = kinds.map(|kind| Err(kind.into()));
    let connection = Ok(tokio::io::duplex(1).0);
    let mut listener = watch
        .connections()
        .listener(scripted(errors.into_iter().chain([connection])));
    let started = Instant::now();
    let (_io, _) = listener.accept().await;
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(watch.metrics().rejected("accept_error"), 0.0);
    assert_eq!(watch.event().await, Event::Opened);
}

#[tokio::test]
async fn a_custom_accept_loop_can_record_its_errors() {
    let mut watch = Watch::new();
    watch.connections().accept_failed();
    assert_eq!(watch.event().await, Event::Rejected(Rejection::AcceptError));
    assert_eq!(watch.metrics().rejected("accept_error"), 1.0);
}
