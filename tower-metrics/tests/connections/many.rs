//! Many connections that end in every way.

use std::collections::BTreeMap;

use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use crate::measured::{
    CLOSE, Client, GET, GET_AND_CLOSE, TEXT, UPGRADE, Watch, frame, serve, with_timeout,
};

const WAYS: usize = 8;

/// Opens a connection, uses it, and ends it in one of eight ways. Returns the bytes that
/// the client wrote, unless a reset may have discarded some.
async fn open_and_end(address: std::net::SocketAddr, way: usize) -> Option<f64> {
    let mut client = Client::connect(address).await;
    match way {
        0 => {}
        1 => {
            client.send(GET).await;
            client.read_until(b"hello").await;
        }
        2 => {
            client.send(GET_AND_CLOSE).await;
            client.read_to_close().await;
        }
        3 => client.send("GET / HTTP/1.1\r\nho").await,
        4 => {
            let head = "POST /upload HTTP/1.1\r\nhost: test\r\ncontent-length: 9999\r\n\r\nx";
            client.send(head).await;
            client.shutdown().await.unwrap();
            client.read_to_close().await;
        }
        5 => {
            client.send(UPGRADE).await;
            client.read_until(b"\r\n\r\n").await;
            client.send(frame(TEXT, b"echo")).await;
            client.read_until(b"echo").await;
            client.send(frame(CLOSE, &1000_u16.to_be_bytes())).await;
            client.read_to_close().await;
        }
        6 => {
            // The client closes in the middle of a response.
            client
                .send("GET /pending HTTP/1.1\r\nhost: test\r\n\r\n")
                .await;
            client.shutdown().await.unwrap();
        }
        _ => {
            client.send(GET).await;
            client.read_until(b"hello").await;
            client.reset();
            return None;
        }
    }
    Some(client.counts.get().0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_connections_that_end_in_every_way_are_counted_exactly_once() {
    const CONNECTIONS: usize = 1000;
    let mut watch = Watch::new();
    let address = serve(&watch.connections()).await;
    let mut written = 0.0;
    // Fewer at once than the listen backlog holds.
    for _ in 0..CONNECTIONS / 50 {
        let mut clients = JoinSet::new();
        for way in 0..50 {
            clients.spawn(open_and_end(address, way % WAYS));
        }
        while let Some(bytes) = with_timeout(clients.join_next()).await {
            written += bytes.unwrap().unwrap_or(GET.len() as f64);
        }
    }
    let mut ended = BTreeMap::new();
    for _ in 0..CONNECTIONS {
        *ended.entry(watch.closed().await).or_insert(0) += 1;
    }
    let metrics = watch.metrics();
    assert_eq!((metrics.open(), metrics.ended()), (0.0, 1000.0));
    assert_eq!(metrics.bytes().0, written);
    for (error_type, count) in &ended {
        assert_eq!(metrics.ended_with(error_type), f64::from(*count));
    }
    // The last of eight ways, of 50 connections twenty times.
    assert_eq!(ended, BTreeMap::from([("", 880), ("reset", 120)]));
}
