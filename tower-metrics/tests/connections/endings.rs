//! How connections end.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower_metrics::ErrorType;

use crate::measured::{Client, GET, UPGRADE, Watch, serve, with_timeout};

#[tokio::test]
async fn a_client_that_closes_ends_the_connection_without_an_error() {
    let mut watch = Watch::new();
    let address = serve(&watch.connections()).await;
    drop(Client::connect(address).await);
    assert_eq!(watch.closed().await, "");

    let mut client = Client::connect(address).await;
    client.send(GET).await;
    client.read_until(b"hello").await;
    drop(client);
    assert_eq!(watch.closed().await, "");
    assert_eq!(watch.metrics().ended_with(""), 2.0);
}

#[tokio::test]
async fn a_reset_is_an_error_type() {
    let mut watch = Watch::new();
    let address = serve(&watch.connections()).await;
    for request in ["", GET, "GET / HTTP/1.1\r\nhost: te"] {
        let mut client = Client::connect(address).await;
        client.send(request).await;
        if request == GET {
            client.read_until(b"hello").await;
        }
        watch.opened().await;
        client.reset();
        assert_eq!(watch.closed().await, "reset", "{request:?}");
    }
    let metrics = watch.metrics();
    assert_eq!((metrics.ended_with("reset"), metrics.open()), (3.0, 0.0));
}

#[tokio::test]
async fn an_upgraded_connection_can_be_reset() {
    let mut watch = Watch::new();
    let mut client = Client::connect(serve(&watch.connections()).await).await;
    client.send(UPGRADE).await;
    client.read_until(b"\r\n\r\n").await;
    client.reset();
    assert_eq!(watch.closed().await, "reset");
    assert_eq!(watch.metrics().ended(), 1.0);
}

#[tokio::test]
async fn a_cancelled_task_aborts_the_connection() {
    let mut watch = Watch::new();
    let (_client, server) = tokio::io::duplex(64);
    let mut io = watch.connections().wrap(server).unwrap();
    let task = tokio::spawn(async move { io.read_u8().await });
    tokio::task::yield_now().await;
    task.abort();
    assert!(with_timeout(task).await.unwrap_err().is_cancelled());
    assert_eq!(watch.closed().await, "aborted");
}

#[tokio::test]
async fn a_task_that_is_cancelled_during_a_write_aborts_the_connection() {
    let mut watch = Watch::new();
    let (_client, server) = tokio::io::duplex(64);
    let mut io = watch.connections().wrap(server).unwrap();
    let task = tokio::spawn(async move { io.write_all(&[0; 65]).await });
    tokio::task::yield_now().await;
    task.abort();
    assert!(with_timeout(task).await.unwrap_err().is_cancelled());
    assert_eq!(watch.closed().await, "aborted");
    assert_eq!(watch.metrics().bytes(), (0.0, 64.0));
}

#[tokio::test]
async fn a_panic_closes_the_connection() {
    let mut watch = Watch::new();
    let (mut client, server) = tokio::io::duplex(64);
    let mut io = watch.connections().wrap(server).unwrap();
    client.write_all(b"x").await.unwrap();
    let task = tokio::spawn(async move {
        io.read_u8().await.unwrap();
        // Without the message of the default hook.
        std::panic::resume_unwind(Box::new(()));
    });
    assert!(with_timeout(task).await.unwrap_err().is_panic());
    assert_eq!(watch.closed().await, "");
    assert_eq!(watch.metrics().open(), 0.0);
}

#[tokio::test]
async fn a_server_that_shuts_down_its_direction_ends_the_connection_without_an_error() {
    let mut watch = Watch::new();
    let (_client, server) = tokio::io::duplex(64);
    let mut io = watch.connections().wrap(server).unwrap();
    let mut buffer = [0; 8];
    tokio::select! {
        biased;
        _ = io.read(&mut buffer) => unreachable!("the client sends nothing"),
        () = std::future::ready(()) => {}
    }
    io.shutdown().await.unwrap();
    drop(io);
    assert_eq!(watch.closed().await, "");
}

#[tokio::test]
async fn the_server_can_say_why_it_closed_a_connection() {
    let mut watch = Watch::new();
    let (_client, server) = tokio::io::duplex(64);
    let io = watch.connections().wrap(server).unwrap();
    let handle = io.handle();
    io.handle().set_error_type(ErrorType::TIMEOUT);
    handle.set_error_type(ErrorType::new("too_late"));
    drop(io);
    assert_eq!(watch.closed().await, "timeout");
    handle.set_error_type(ErrorType::new("too_late"));
    let metrics = watch.metrics();
    assert_eq!((metrics.ended_with("timeout"), metrics.ended()), (1.0, 1.0));
}

#[test]
fn a_connection_that_is_dropped_with_a_threads_locals_is_recorded() {
    use std::cell::RefCell;

    use crate::measured::Recorder;
    use tower_metrics::connections::ConnectionIo;

    thread_local! {
        static HELD: RefCell<Option<ConnectionIo<(), Recorder>>> = const { RefCell::new(None) };
    }
    let watch = Watch::new();
    let connections = watch.connections();
    std::thread::spawn(move || {
        // Initialized before the thread's cells, and destroyed after them.
        HELD.set(None);
        let io = connections.wrap(()).unwrap();
        HELD.set(Some(io));
    })
    .join()
    .unwrap();
    let metrics = watch.metrics();
    assert_eq!((metrics.open(), metrics.ended()), (0.0, 1.0));
}
