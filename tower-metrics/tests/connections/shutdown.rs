//! Connections at a shutdown of the server.

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::measured::{Client, GET, Watch, app, with_timeout};

#[tokio::test]
async fn a_graceful_shutdown_ends_connections_without_an_error() {
    let mut watch = Watch::new();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let listener = watch.connections().listener(listener);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, app()).with_graceful_shutdown(async {
        _ = stopped.await;
    });
    let server = tokio::spawn(server.into_future());
    let mut clients = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(address).await;
        client.send(GET).await;
        client.read_until(b"hello").await;
        clients.push(client);
    }
    stop.send(()).unwrap();
    for client in &mut clients {
        assert_eq!(client.read_to_close().await, b"");
        assert_eq!(watch.closed().await, "");
    }
    with_timeout(server).await.unwrap().unwrap();
    let metrics = watch.metrics();
    assert_eq!((metrics.open(), metrics.ended()), (0.0, 3.0));
}

#[test]
fn connections_that_are_cut_at_a_shutdown_are_aborted() {
    let mut watch = Watch::new();
    let server = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let client = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let connections = watch.connections();
    let address = server.block_on(crate::measured::serve(&connections));
    client.block_on(async {
        let mut idle = Client::connect(address).await;
        idle.send(GET).await;
        idle.read_until(b"hello").await;
        let mut waiting = Client::connect(address).await;
        let pending = "GET /pending HTTP/1.1\r\nhost: test\r\n\r\n";
        waiting.send(pending).await;
        // Wait until the server has read the request, after which it waits for more.
        while watch.metrics().bytes().0 < (GET.len() + pending.len()) as f64 {
            tokio::task::yield_now().await;
        }
        // Drops the tasks of the connections.
        server.shutdown_background();
        for _ in 0..2 {
            assert_eq!(watch.closed().await, "aborted");
        }
        let metrics = watch.metrics();
        assert_eq!((metrics.open(), metrics.ended()), (0.0, 2.0));
    });
}
