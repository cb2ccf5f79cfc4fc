//! TLS handshakes and encrypted bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::net::TcpListener;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tower_metrics::Connections;
use tower_metrics::connections::TlsIo;

use crate::measured::{Client, GET_AND_CLOSE, Recorder, Watch, app, with_timeout};

/// Configurations of a server and of a client that trusts it.
struct Tls {
    acceptor: TlsAcceptor,
    connector: TlsConnector,
}

impl Tls {
    fn new() -> Self {
        let certified = rcgen::generate_simple_self_signed(["test".to_owned()]).unwrap();
        let certificate = certified.cert.der().clone();
        let key = PrivateKeyDer::try_from(certified.signing_key.serialize_der()).unwrap();
        let mut server = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        Self {
            acceptor: Arc::new(server).into(),
            connector: connector(roots, &[b"http/1.1"]),
        }
    }
}

fn connector(roots: RootCertStore, protocols: &[&[u8]]) -> TlsConnector {
    let mut config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Arc::new(config).into()
}

fn name() -> ServerName<'static> {
    "test".try_into().unwrap()
}

/// Client and server of a connection in memory.
fn pair(
    connections: &Connections<Recorder>,
    tls: &Tls,
) -> (DuplexStream, TlsIo<DuplexStream, Recorder>) {
    let (client, server) = tokio::io::duplex(16 * 1024);
    let io = connections.wrap(server).unwrap();
    (client, io.tls(&tls.acceptor))
}

#[tokio::test]
async fn encrypted_bytes_are_counted_as_they_cross_the_network() {
    let mut watch = Watch::new();
    let tls = Tls::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listener = watch.connections().listener(listener).tls(tls.acceptor);
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app()).await });

    let client = Client::connect(address).await;
    let counts = client.counts.clone();
    let mut client = tls.connector.connect(name(), client).await.unwrap();
    client.write_all(GET_AND_CLOSE.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    with_timeout(client.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.ends_with(b"hello"));
    assert_eq!(watch.closed().await, "");
    let metrics = watch.metrics();
    assert_eq!(metrics.bytes(), counts.get());
    assert!(metrics.bytes().1 > 500.0, "the certificate alone is larger");
    assert_eq!((metrics.handshakes(""), metrics.open()), (1.0, 0.0));
}

#[tokio::test]
async fn the_negotiated_protocol_is_available_after_the_handshake() {
    let watch = Watch::new();
    let tls = Tls::new();
    let (client, mut server) = pair(&watch.connections(), &tls);
    assert!(server.tls_connection().is_none());
    let client = async {
        let mut client = tls.connector.connect(name(), client).await.unwrap();
        client.write_all(b"x").await.unwrap();
        client.flush().await.unwrap();
        client
    };
    let (_client, byte) = tokio::join!(client, server.read_u8());
    assert_eq!(byte.unwrap(), b'x');
    let protocol = server.tls_connection().unwrap().alpn_protocol();
    assert_eq!(protocol, Some(&b"http/1.1"[..]));
    assert_eq!(watch.metrics().handshakes(""), 1.0);
}

/// Returns the handshake's error type after the server has failed to read.
async fn failed(watch: &mut Watch, server: TlsIo<impl Io, Recorder>, error_type: &str) {
    let mut server = server;
    let error = with_timeout(server.read_u8()).await.unwrap_err();
    // The connection has already closed.
    assert_eq!(watch.closed().await, "tls_handshake_failed");
    let metrics = watch.metrics();
    assert_eq!(
        metrics.handshakes(error_type),
        1.0,
        "{error:?} {metrics:#?}"
    );
    assert_eq!((metrics.open(), metrics.ended()), (0.0, 1.0));
    let again = server.write_u8(0).await.unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::NotConnected);
    drop(server);
    assert_eq!(watch.metrics().handshakes(error_type), 1.0);
}

trait Io: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

#[tokio::test]
async fn plain_http_is_a_protocol_error() {
    let mut watch = Watch::new();
    let (mut client, server) = pair(&watch.connections(), &Tls::new());
    client.write_all(GET_AND_CLOSE.as_bytes()).await.unwrap();
    failed(&mut watch, server, "protocol_error").await;
}

#[tokio::test]
async fn a_client_that_closes_during_the_handshake_is_counted() {
    let mut watch = Watch::new();
    let (client, server) = pair(&watch.connections(), &Tls::new());
    drop(client);
    failed(&mut watch, server, "closed").await;
}

#[tokio::test]
async fn a_client_that_does_not_trust_the_certificate_is_counted() {
    let mut watch = Watch::new();
    let (client, server) = pair(&watch.connections(), &Tls::new());
    let connector = connector(RootCertStore::empty(), &[]);
    let client = tokio::spawn(async move { connector.connect(name(), client).await });
    failed(&mut watch, server, "alert_received").await;
    client.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_client_without_a_common_protocol_is_counted() {
    let mut watch = Watch::new();
    let tls = Tls::new();
    let (client, server) = pair(&watch.connections(), &tls);
    let connector = connector(RootCertStore::empty(), &[b"smtp"]);
    let client = tokio::spawn(async move { connector.connect(name(), client).await });
    failed(&mut watch, server, "incompatible").await;
    client.await.unwrap().unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_silent_times_out() {
    let mut watch = Watch::new();
    let connections = Connections::builder(watch.recorder())
        .handshake_timeout(Duration::from_secs(3))
        .build()
        .unwrap();
    let (_client, server) = pair(&connections, &Tls::new());
    let started = tokio::time::Instant::now();
    failed(&mut watch, server, "timeout").await;
    assert_eq!(started.elapsed().as_secs(), 3);
}

#[tokio::test]
async fn a_handshake_that_is_cancelled_is_recorded_once() {
    let mut watch = Watch::new();
    let (_client, mut server) = pair(&watch.connections(), &Tls::new());
    tokio::select! {
        biased;
        _ = server.read_u8() => unreachable!("the client is silent"),
        () = std::future::ready(()) => {}
    }
    drop(server);
    assert_eq!(watch.closed().await, "aborted");
    assert_eq!(watch.metrics().handshakes("cancelled"), 1.0);

    let (_client, mut server) = pair(&watch.connections(), &Tls::new());
    server.shutdown().await.unwrap();
    assert_eq!(watch.closed().await, "");
    assert_eq!(watch.metrics().handshakes("cancelled"), 2.0);
}

/// The task that completes the handshake wakes the other one.
#[tokio::test]
async fn halves_can_be_used_in_two_tasks_from_the_beginning() {
    let watch = Watch::new();
    let tls = Tls::new();
    let (client, server) = pair(&watch.connections(), &tls);
    let (mut read, mut write) = tokio::io::split(server);
    let reader = tokio::spawn(async move { read.read_u8().await.unwrap() });
    tokio::task::yield_now().await;
    let writer = tokio::spawn(async move {
        write.write_u8(b'w').await.unwrap();
        write.flush().await.unwrap();
        write
    });
    tokio::task::yield_now().await;
    let mut client = with_timeout(tls.connector.connect(name(), client))
        .await
        .unwrap();
    client.write_u8(b'r').await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(with_timeout(client.read_u8()).await.unwrap(), b'w');
    assert_eq!(with_timeout(reader).await.unwrap(), b'r');
    drop(with_timeout(writer).await.unwrap());
    assert_eq!(watch.metrics().handshakes(""), 1.0);
}

/// Waits for a slow client only in its own task.
#[tokio::test]
async fn a_silent_client_does_not_delay_others() {
    let mut watch = Watch::new();
    let tls = Tls::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listener = watch.connections().listener(listener).tls(tls.acceptor);
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app()).await });
    let _silent = Client::connect(address).await;
    watch.opened().await;
    let client = Client::connect(address).await;
    let mut client = with_timeout(tls.connector.connect(name(), client))
        .await
        .unwrap();
    client.write_all(GET_AND_CLOSE.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    with_timeout(client.read_to_end(&mut answer)).await.unwrap();
    assert!(answer.ends_with(b"hello"));
    assert_eq!(watch.closed().await, "");
    let metrics = watch.metrics();
    assert_eq!((metrics.open(), metrics.handshakes("")), (1.0, 1.0));
}

#[test]
fn vectored_writes_are_announced_before_the_handshake() {
    let watch = Watch::new();
    let (_client, mut server) = pair(&watch.connections(), &Tls::new());
    assert!(server.is_write_vectored());
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(Pin::new(&mut server).poll_flush(&mut cx).is_ready());
}
