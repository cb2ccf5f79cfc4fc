//! Bytes on the wire, compared with what the client wrote and read.

use ::bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::AsyncWriteExt;

use crate::measured::{
    CLOSE, Client, Counts, GET, GET_AND_CLOSE, TEXT, UPGRADE, Watch, frame, serve, with_timeout,
};

/// Waits until the only connection has closed in an orderly way, and compares its bytes.
async fn assert_exact(watch: &mut Watch, counts: &Counts) {
    assert_eq!(watch.closed().await, "");
    let metrics = watch.metrics();
    assert_eq!(metrics.bytes(), counts.get());
    assert_eq!((metrics.open(), metrics.ended()), (0.0, 1.0));
}

#[tokio::test]
async fn http1_counts_heads_and_bodies_of_every_request() {
    let mut watch = Watch::new();
    let mut client = Client::connect(serve(&watch.connections()).await).await;
    for _ in 0..3 {
        client.send(GET).await;
        client.read_until(b"hello").await;
    }
    client
        .send("POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 100000\r\n\r\n")
        .await;
    client.send(vec![b'x'; 100_000]).await;
    client.read_until(b"\r\n\r\n100000").await;
    client.send(GET_AND_CLOSE).await;
    client.read_to_close().await;
    assert_exact(&mut watch, &client.counts).await;
}

#[tokio::test]
async fn http2_counts_frames() {
    let mut watch = Watch::new();
    let client = Client::connect(serve(&watch.connections()).await).await;
    let counts = client.counts.clone();
    let io = TokioIo::new(client);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let connection = tokio::spawn(connection);
    for path in ["/", "/large", "/", "/large"] {
        let body = Full::new(Bytes::from(vec![b'x'; 10_000]));
        let request = Request::post(format!("http://test{path}"))
            .body(body)
            .unwrap();
        let response = with_timeout(sender.send_request(request)).await.unwrap();
        with_timeout(response.into_body().collect()).await.unwrap();
    }
    drop(sender);
    with_timeout(connection).await.unwrap().unwrap();
    // The client may close before it has read everything, but all of it is acknowledged.
    let error_type = watch.closed().await;
    assert!(["", "reset"].contains(&error_type), "{error_type}");
    let (received, transmitted) = watch.metrics().bytes();
    let (written, read) = counts.get();
    assert_eq!(received, written);
    assert!(transmitted >= read && transmitted <= read + 64.0);
}

#[tokio::test]
async fn http2_is_exact_when_the_server_closes() {
    let mut watch = Watch::new();
    let address = serve(&watch.connections()).await;
    let mut client = Client::connect(address).await;
    // A preface that is followed by a frame of an invalid size: the server responds with
    // GOAWAY and closes.
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    client.send(b"\0\0\x05\x04\0\0\0\0\0\0\0\0\0\0").await;
    client.read_to_close().await;
    watch.closed().await;
    assert_eq!(watch.metrics().bytes(), client.counts.get());
}

#[tokio::test]
async fn websockets_are_counted_after_the_upgrade() {
    let mut watch = Watch::new();
    let mut client = Client::connect(serve(&watch.connections()).await).await;
    client.send(UPGRADE).await;
    client.read_until(b"\r\n\r\n").await;
    let before = watch.metrics().bytes();
    assert_eq!(before, client.counts.get());
    for message in ["first", "second", "third"] {
        client.send(frame(TEXT, message.as_bytes())).await;
        client.read_until(message.as_bytes()).await;
    }
    assert_eq!(watch.metrics().open(), 1.0);
    client.send(frame(CLOSE, &1000_u16.to_be_bytes())).await;
    client.read_to_close().await;
    assert_exact(&mut watch, &client.counts).await;
}

#[tokio::test]
async fn aborted_uploads_count_what_has_arrived() {
    let mut watch = Watch::new();
    let mut client = Client::connect(serve(&watch.connections()).await).await;
    client
        .send("POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 100000\r\n\r\n")
        .await;
    client.send(vec![b'x'; 50_000]).await;
    client.shutdown().await.unwrap();
    client.read_to_close().await;
    assert_exact(&mut watch, &client.counts).await;
}

#[tokio::test]
async fn bytes_of_an_open_connection_are_visible() {
    let watch = Watch::new();
    let mut client = Client::connect(serve(&watch.connections()).await).await;
    client.send(GET).await;
    client.read_until(b"hello").await;
    let metrics = watch.metrics();
    assert_eq!(metrics.bytes(), client.counts.get());
    assert_eq!((metrics.open(), metrics.ended()), (1.0, 0.0));
}
