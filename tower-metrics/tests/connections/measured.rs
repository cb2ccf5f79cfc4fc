//! Server whose connections are measured, and clients that count bytes themselves.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::routing::{any, get, post};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tower_metrics::connections::{ClosedConnection, ConnectionRecorder, Rejection};
use tower_metrics::{Connections, Prometheus};

use crate::scrape::Samples;

/// Timeout of operations that take milliseconds.
const TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) async fn with_timeout<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(TIMEOUT, future)
        .await
        .expect("it never happened")
}

/// Call of a recorder.
#[derive(Debug, PartialEq)]
pub(crate) enum Event {
    Opened,
    Closed(&'static str),
    Rejected(Rejection),
}

/// Recorder that sends events to a channel. It is the second of a pair, so that the
/// first has recorded an event when it is sent.
#[derive(Clone, Debug)]
pub(crate) struct EventSender(mpsc::UnboundedSender<Event>);

impl EventSender {
    fn send(&self, event: Event) {
        // Fails if the test has finished.
        let _ = self.0.send(event);
    }
}

impl ConnectionRecorder for EventSender {
    fn opened(&self) {
        self.send(Event::Opened);
    }
    fn closed(&self, connection: &ClosedConnection) {
        self.send(Event::Closed(connection.error_type.as_str()));
    }
    fn received(&self, _: u64) {}
    fn transmitted(&self, _: u64) {}
    fn rejected(&self, reason: Rejection) {
        self.send(Event::Rejected(reason));
    }
}

pub(crate) type Recorder = (Prometheus, EventSender);

/// Recorder with a channel of events to wait for.
pub(crate) struct Watch {
    pub(crate) prometheus: Prometheus,
    sender: EventSender,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Watch {
    pub(crate) fn new() -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        Self {
            prometheus: Prometheus::new(),
            sender: EventSender(sender),
            events,
        }
    }

    pub(crate) fn recorder(&self) -> Recorder {
        (self.prometheus, self.sender.clone())
    }

    pub(crate) fn connections(&self) -> Connections<Recorder> {
        Connections::builder(self.recorder()).build().unwrap()
    }

    /// Returns the next event.
    pub(crate) async fn event(&mut self) -> Event {
        with_timeout(self.events.recv())
            .await
            .expect("we hold a sender")
    }

    /// Waits until a connection has closed, and returns its error type.
    pub(crate) async fn closed(&mut self) -> &'static str {
        loop {
            if let Event::Closed(error_type) = self.event().await {
                return error_type;
            }
        }
    }

    pub(crate) async fn opened(&mut self) {
        while self.event().await != Event::Opened {}
    }

    pub(crate) fn metrics(&self) -> Metrics {
        Metrics::of(&self.prometheus)
    }
}

/// Metrics of connections.
#[derive(Debug)]
pub(crate) struct Metrics(Samples);

impl Metrics {
    pub(crate) fn of(prometheus: &Prometheus) -> Self {
        Self(Samples::of(prometheus))
    }

    pub(crate) fn open(&self) -> f64 {
        self.0.sum("http_server_open_connections", &[])
    }

    /// Returns the number of connections that have ended.
    pub(crate) fn ended(&self) -> f64 {
        let name = "http_server_connection_duration_seconds_count";
        self.0.sum(name, &[])
    }

    pub(crate) fn ended_with(&self, error_type: &str) -> f64 {
        let name = "http_server_connection_duration_seconds_count";
        self.0.sum(name, &[("error_type", error_type)])
    }

    pub(crate) fn rejected(&self, reason: &str) -> f64 {
        let name = "http_server_rejected_connections_total";
        self.0.sum(name, &[("reason", reason)])
    }

    /// Returns the bytes received and transmitted.
    pub(crate) fn bytes(&self) -> (f64, f64) {
        let of = |direction| {
            let labels = [("network_io_direction", direction)];
            self.0.sum("http_server_network_io_bytes_total", &labels)
        };
        (of("receive"), of("transmit"))
    }

    #[cfg(feature = "rustls")]
    pub(crate) fn handshakes(&self, error_type: &str) -> f64 {
        let name = "http_server_tls_handshake_duration_seconds_count";
        self.0.sum(name, &[("error_type", error_type)])
    }
}

/// Routes for every kind of request.
pub(crate) fn app() -> Router {
    let echo = |upgrade: WebSocketUpgrade| async {
        upgrade.on_upgrade(|mut socket| async move {
            while let Some(Ok(message)) = socket.recv().await {
                if matches!(message, Message::Text(_) | Message::Binary(_)) {
                    socket.send(message).await.unwrap();
                }
            }
        })
    };
    Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/large", get(|| async { "x".repeat(300_000) }))
        .route(
            "/upload",
            post(|body: axum::body::Bytes| async move { body.len().to_string() }),
        )
        .route("/pending", get(std::future::pending::<()>))
        .route("/ws", any(echo))
}

/// Serves on a free port until the test's runtime shuts down.
pub(crate) async fn serve(connections: &Connections<Recorder>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = connections.listener(listener);
    tokio::spawn(async { axum::serve(listener, app()).await });
    address
}

/// Client that counts the bytes that cross its socket.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    pub(crate) counts: Arc<Counts>,
}

/// Bytes that a client has written and read.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    written: AtomicU64,
    read: AtomicU64,
}

impl Counts {
    /// Returns the bytes written and read.
    pub(crate) fn get(&self) -> (f64, f64) {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64;
        (get(&self.written), get(&self.read))
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self {
            stream: with_timeout(TcpStream::connect(address)).await.unwrap(),
            counts: Arc::default(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        with_timeout(self.write_all(bytes.as_ref())).await.unwrap();
    }

    /// Reads until these bytes have arrived, and returns everything.
    pub(crate) async fn read_until(&mut self, end: &[u8]) -> Vec<u8> {
        let mut all = Vec::new();
        while !all.ends_with(end) {
            let read = with_timeout(self.read_buf(&mut all)).await.unwrap();
            assert_ne!(read, 0, "closed after {all:?}");
        }
        all
    }

    /// Reads until the server closes the connection.
    pub(crate) async fn read_to_close(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        with_timeout(self.read_to_end(&mut all)).await.unwrap();
        all
    }

    /// Resets the connection.
    pub(crate) fn reset(self) {
        self.stream.set_zero_linger().unwrap();
    }
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let bytes = buffer.filled().len() - before;
        self.counts.read.fetch_add(bytes as u64, Ordering::Relaxed);
        result
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(bytes)) = result {
            let written = &self.counts.written;
            written.fetch_add(bytes as u64, Ordering::Relaxed);
        }
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

pub(crate) const GET: &str = "GET / HTTP/1.1\r\nhost: test\r\n\r\n";
pub(crate) const GET_AND_CLOSE: &str = "GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
pub(crate) const UPGRADE: &str = "GET /ws HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Returns a masked WebSocket frame with a payload of up to 125 bytes.
pub(crate) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut frame = vec![0x80 | opcode, 0x80 | payload.len() as u8];
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    frame
}

pub(crate) const TEXT: u8 = 1;
pub(crate) const CLOSE: u8 = 8;
