//! Listeners and I/O around and inside of measured ones.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::routing::get;
use axum::serve::{Listener, ListenerExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::measured::{Client, GET, GET_AND_CLOSE, Watch, app};

#[tokio::test]
async fn a_tapped_listener_passes_on_the_address_of_the_client() {
    let mut watch = Watch::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listener = watch
        .connections()
        .listener(listener)
        .tap_io(|io| io.get_ref().set_nodelay(true).unwrap());
    let address = Listener::local_addr(&listener).unwrap();
    let handler =
        |ConnectInfo(address): ConnectInfo<SocketAddr>| async move { address.to_string() };
    let app = Router::new().route("/", get(handler));
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async { axum::serve(listener, app).await });
    let mut client = Client::connect(address).await;
    client.send(GET_AND_CLOSE).await;
    let answer = String::from_utf8(client.read_to_close().await).unwrap();
    assert!(answer.contains("\r\n\r\n127.0.0.1:"), "{answer}");
    assert_eq!(watch.closed().await, "");
}

#[tokio::test]
async fn any_listener_of_axum_can_be_measured() {
    let mut watch = Watch::new();
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .tap_io(|_| {});
    let listener = watch.connections().axum_listener(listener);
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app()).await });
    let mut client = Client::connect(address).await;
    client.send(GET_AND_CLOSE).await;
    client.read_to_close().await;
    assert_eq!(watch.closed().await, "");
    assert_eq!(watch.metrics().bytes(), client.counts.get());
}

#[tokio::test]
async fn unix_sockets_can_be_measured() {
    let mut watch = Watch::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let listener = watch.connections().listener(listener);
    tokio::spawn(async { axum::serve(listener, app()).await });
    let mut client = tokio::net::UnixStream::connect(&path).await.unwrap();
    client.write_all(GET_AND_CLOSE.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    assert_eq!(watch.closed().await, "");
    let expected = (GET_AND_CLOSE.len() as f64, answer.len() as f64);
    assert_eq!(watch.metrics().bytes(), expected);
}

#[tokio::test]
async fn two_recorders_measure_a_connection_that_is_wrapped_twice() {
    let (mut inner, mut outer) = (Watch::new(), Watch::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = inner.connections().listener(listener);
    let listener = outer.connections().axum_listener(listener);
    tokio::spawn(async { axum::serve(listener, app()).await });
    let mut client = Client::connect(address).await;
    client.send(GET).await;
    client.read_until(b"hello").await;
    client.reset();
    assert_eq!(outer.closed().await, "reset");
    assert_eq!(inner.closed().await, "reset");
    assert_eq!(inner.metrics().bytes(), outer.metrics().bytes());
    assert_eq!(inner.metrics().open() + outer.metrics().open(), 0.0);
}

/// Reads on one thread and writes on another.
#[test]
fn halves_on_two_threads_lose_no_bytes() {
    const CHUNKS: usize = 20_000;
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    };
    let watch = Watch::new();
    let (client, server) = tokio::io::duplex(1 << 10);
    let io = watch.connections().wrap(server).unwrap();
    let (mut read, mut write) = tokio::io::split(io);
    let (mut client_read, mut client_write) = tokio::io::split(client);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            runtime().block_on(async {
                let mut all = Vec::new();
                read.read_to_end(&mut all).await.unwrap();
                assert_eq!(all.len(), CHUNKS * 7);
            });
        });
        scope.spawn(|| {
            runtime().block_on(async {
                for _ in 0..CHUNKS {
                    write.write_all(&[0; 5]).await.unwrap();
                }
                write.shutdown().await.unwrap();
            });
        });
        scope.spawn(|| {
            runtime().block_on(async {
                for _ in 0..CHUNKS {
                    client_write.write_all(&[0; 7]).await.unwrap();
                }
                client_write.shutdown().await.unwrap();
            });
        });
        runtime().block_on(async {
            let mut all = Vec::new();
            client_read.read_to_end(&mut all).await.unwrap();
            assert_eq!(all.len(), CHUNKS * 5);
        });
    });
    assert_eq!(watch.metrics().open(), 1.0);
    drop((read, write));
    let metrics = watch.metrics();
    assert_eq!((metrics.open(), metrics.ended_with("")), (0.0, 1.0));
    assert_eq!(metrics.bytes(), ((CHUNKS * 7) as f64, (CHUNKS * 5) as f64));
}
