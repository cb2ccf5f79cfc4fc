//! Slow, silent and numerous clients.

use std::process::Stdio;
use std::sync::mpsc;

use axum::body::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::{Server, new_concert, order, program, send, sqlite, until, value};

/// Longer than any test runs: a timeout that must not elapse.
const NEVER: &str = "1h";

async fn connect(url: &str) -> TcpStream {
    let address = url.strip_prefix("http://").unwrap();
    TcpStream::connect(address).await.unwrap()
}

async fn connect_and_send(url: &str, bytes: &str) -> TcpStream {
    let mut stream = connect(url).await;
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream
}

/// Reads until the server closes the connection.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A reset also closes it.
    _ = stream.read_to_end(&mut text).await;
    String::from_utf8(text).unwrap()
}

/// Reads one response whose length is declared.
async fn read_response(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    loop {
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.unwrap();
        assert_ne!(read, 0, "the connection closed after {text:?}");
        text += str::from_utf8(&buffer[..read]).unwrap();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        if body.len() == length.unwrap().parse::<usize>().unwrap() {
            return text;
        }
    }
}

fn half_body() -> String {
    let body = new_concert(1).to_string();
    format!(
        "POST /concerts HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{}",
        body.len(),
        &body[..body.len() / 2],
    )
}

const HALF_HEAD: &str = "GET /concerts HTTP/1.1\r\nhost: test\r\nx-slow: ";

#[tokio::test]
async fn connections_with_an_incomplete_head_are_closed_on_both_ports() {
    let server = Server::start(&["--header-timeout", "200ms"]);
    for url in [&server.api_url, &server.ops_url] {
        let mut half: Vec<_> = join_all((0..20).map(|_| connect_and_send(url, HALF_HEAD))).await;
        half.push(connect(url).await);
        for stream in &mut half {
            assert_eq!(read_to_end(stream).await, "");
        }
    }
    assert_eq!(server.requests(&[]).await, 0.0);
}

#[tokio::test]
async fn the_head_of_a_second_request_has_a_timeout_too() {
    let server = Server::start(&["--header-timeout", "1s", "--keep-alive", NEVER]);
    let request = "GET /concerts HTTP/1.1\r\nhost: test\r\n\r\n";
    let mut stream = connect_and_send(&server.api_url, request).await;
    read_response(&mut stream).await;
    stream.write_all(HALF_HEAD.as_bytes()).await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, "");
}

#[tokio::test]
async fn idle_connections_are_closed_after_the_keep_alive_timeout() {
    let server = Server::start(&["--keep-alive", "1s", "--header-timeout", NEVER]);
    let request = "GET /concerts HTTP/1.1\r\nhost: test\r\n\r\n";
    let mut stream = connect_and_send(&server.api_url, request).await;
    assert!(read_response(&mut stream).await.starts_with("HTTP/1.1 200"));
    assert_eq!(read_to_end(&mut stream).await, "");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_408_and_not_a_server_error() {
    let server = Server::start(&["--body-timeout", "200ms"]);
    let mut stream = connect_and_send(&server.api_url, &half_body()).await;
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("/docs#body-timeout"), "{answer}");
    assert_eq!(server.requests(&["\"408\"", "error_type=\"\""]).await, 1.0);
}

#[tokio::test]
async fn requests_hold_no_permit_while_their_body_arrives() {
    let server = Server::start(&[
        "--max-concurrency",
        "1",
        "--queue-timeout",
        "0",
        "--body-timeout",
        NEVER,
    ]);
    let request = half_body();
    let slow = join_all((0..20).map(|_| connect_and_send(&server.api_url, &request))).await;
    until("all have arrived", async || {
        server.in_flight().await == 20.0
    })
    .await;
    let answer = server.post("/concerts", &new_concert(1)).await;
    assert_eq!(answer.status, 201);
    drop(slow);
    until("all have ended", async || server.in_flight().await == 0.0).await;
}

#[tokio::test]
async fn requests_wait_for_a_permit_before_they_are_shed() {
    let server = Server::start(&["--max-concurrency", "1", "--queue-timeout", NEVER]);
    let slow = json!({ "faults": [
        { "operation": "list_concerts", "delay": { "fixed": { "ms": 20 } } },
    ] });
    server.put_faults(&slow).await;
    let answers = join_all((0..20).map(|_| server.api.get("/concerts"))).await;
    for answer in answers {
        assert_eq!(answer.unwrap().status, 200);
    }
}

#[tokio::test]
async fn an_idle_connection_makes_room_for_a_new_one() {
    let server = Server::start(&["--max-connections", "2", "--keep-alive", NEVER]);
    let request = "GET /concerts HTTP/1.1\r\nhost: test\r\n\r\n";
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut stream = connect_and_send(&server.api_url, request).await;
        assert!(read_response(&mut stream).await.starts_with("HTTP/1.1 200"));
        streams.push(stream);
    }
    server.logs("connection limit reached, new connections wait");
    // The first two were closed to make room.
    assert_eq!(read_to_end(&mut streams[0]).await, "");
    assert_eq!(read_to_end(&mut streams[1]).await, "");
}

#[tokio::test]
async fn connections_and_their_bytes_are_measured() {
    let server = Server::start(&["--header-timeout", "1s", "--keep-alive", NEVER]);
    let open = async || server.metric("http_server_open_connections", &[]).await;
    let ended = async |error_type: &str| {
        let label = format!("error_type=\"{error_type}\"");
        let name = "http_server_connection_duration_seconds_count";
        server.metric(name, &[&label]).await
    };
    let bytes = async |direction: &str| {
        let label = format!("network_io_direction=\"{direction}\"");
        let name = "http_server_network_io_bytes_total";
        server.metric(name, &[&label]).await
    };
    // The scrapes use the ops port, which is not part of these metrics.
    assert_eq!((open().await, ended("").await), (0.0, 0.0));
    assert_eq!(bytes("receive").await, 0.0);

    let request = "GET /concerts HTTP/1.1\r\nhost: test\r\n\r\n";
    let mut stream = connect_and_send(&server.api_url, request).await;
    let response = read_response(&mut stream).await;
    assert_eq!(open().await, 1.0);
    assert_eq!(bytes("receive").await, request.len() as f64);
    // A client may read a response before the server has counted its bytes.
    until("the response is counted", async || {
        bytes("transmit").await == response.len() as f64
    })
    .await;
    drop(stream);
    until("it has closed", async || ended("").await == 1.0).await;

    let mut half = connect_and_send(&server.api_url, HALF_HEAD).await;
    assert_eq!(read_to_end(&mut half).await, "");
    assert_eq!(ended("timeout").await, 1.0);
    assert_eq!(open().await, 0.0);
}

#[tokio::test]
async fn connections_are_rejected_and_counted_if_none_closes() {
    let server = Server::start(&["--max-connections", "1", "--request-timeout", NEVER]);
    let slow = json!({ "faults": [
        { "operation": "list_concerts", "delay": { "fixed": { "ms": 60_000 } } },
    ] });
    server.put_faults(&slow).await;
    let request = "GET /concerts HTTP/1.1\r\nhost: test\r\n\r\n";
    let busy = connect_and_send(&server.api_url, request).await;
    until("it has arrived", async || server.in_flight().await == 1.0).await;
    for _ in 0..2 {
        let mut rejected = connect(&server.api_url).await;
        assert_eq!(read_to_end(&mut rejected).await, "");
    }
    server.logs("connection limit reached, connections rejected");
    let name = "http_server_rejected_connections_total";
    assert_eq!(server.metric(name, &["reason=\"limit\""]).await, 2.0);
    assert_eq!(
        server.metric("http_server_open_connections", &[]).await,
        1.0
    );
    drop(busy);
    // Its slot is free again.
    let path = "/purchases/0192f0c1-2345-7000-8000-000000000000";
    until("a connection is accepted", async || {
        server
            .api
            .get(path)
            .await
            .is_ok_and(|answer| answer.status == 404)
    })
    .await;
}

#[tokio::test]
async fn the_ops_port_responds_when_clients_exhaust_the_api_connections() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["--header-timeout", NEVER];
    let server = Server::with_open_files(256, &sqlite(folder.path()), &arguments);
    let half = join_all((0..300).map(|_| connect_and_send(&server.api_url, HALF_HEAD))).await;
    server.logs("connection limit reached, new connections wait");
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(server.ops.get(path).await.unwrap().status, 200, "{path}");
    }
    drop(half);
    assert_eq!(server.api.get("/concerts").await.unwrap().status, 200);
    for (limit, value) in [("connections", 160.0), ("concurrency", 1024.0)] {
        let label = format!("\"{limit}\"");
        let metric = server.metric("example_server_limit", &[&label]).await;
        assert_eq!(metric, value, "{limit}");
    }
}

#[tokio::test]
async fn probes_succeed_when_slow_bodies_exhaust_the_ops_port_connections() {
    let server = Server::start(&["--body-timeout", NEVER]);
    let body = "PUT /faults HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 100\r\n\r\n{";
    let slow = join_all((0..300).map(|_| connect_and_send(&server.ops_url, body))).await;
    assert_eq!(server.ops.get("/livez").await.unwrap().status, 200);
    drop(slow);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_408_on_the_ops_port() {
    let server = Server::start(&["--body-timeout", "200ms"]);
    let body = "PUT /faults HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 100\r\n\r\n{";
    let mut stream = connect_and_send(&server.ops_url, body).await;
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn an_incomplete_head_does_not_delay_the_shutdown() {
    for signal in ["TERM", "HUP"] {
        let mut server = Server::start(&["--header-timeout", NEVER, "--request-timeout", NEVER]);
        let mut half = connect_and_send(&server.api_url, HALF_HEAD).await;
        let mut silent = connect(&server.ops_url).await;
        assert_eq!(server.api.get("/concerts").await.unwrap().status, 200);
        server.signal(signal);
        assert_eq!(read_to_end(&mut half).await, "");
        assert_eq!(read_to_end(&mut silent).await, "");
        assert!(server.ended().await.success());
    }
}

#[tokio::test]
async fn a_request_id_is_kept_if_it_is_short_and_visible_ascii() {
    let server = Server::start(&[]);
    let longest = "x".repeat(128);
    for (id, kept) in [
        ("4f1c-9a", true),
        (longest.as_str(), true),
        (&"x".repeat(129), false),
        (&"x".repeat(10_000), false),
        ("two words", false),
        ("", false),
    ] {
        let headers = [("x-request-id", id)];
        let answer = send(&server.api, http::Method::GET, "/concerts", &headers, None).await;
        let answered = answer.headers["x-request-id"].to_str().unwrap();
        assert_eq!(answered == id, kept, "{answered:?}");
        assert!((1..=128).contains(&answered.len()));
    }
}

#[tokio::test]
async fn a_head_beyond_the_limit_is_431() {
    let server = Server::start(&[]);
    let head = format!("GET /{} HTTP/1.1\r\nhost: test\r\n\r\n", "x".repeat(40_000));
    let mut stream = connect(&server.api_url).await;
    // The server may close the connection before it has read everything.
    _ = stream.write_all(head.as_bytes()).await;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert!([*b"HTTP/1.1 431", *b"HTTP/1.1 414"].contains(&answer));
}

#[tokio::test]
async fn the_api_responds_while_standard_output_is_blocked() {
    let folder = tempfile::tempdir().unwrap();
    let mut child = program()
        .args(["serve", "--log-format", "json", "--log", "debug"])
        .args(["--database-url", &sqlite(folder.path())])
        .envs([("LISTEN", "127.0.0.1:0"), ("OPS_LISTEN", "127.0.0.1:0")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // Read up to the addresses and no further: the pipe fills up.
    let stdout = child.stdout.take().unwrap();
    let (sender, lines) = mpsc::channel();
    let (stop, stopped) = mpsc::channel::<()>();
    let reader = std::thread::spawn(move || {
        use std::io::{BufRead, BufReader};
        let mut stdout = BufReader::with_capacity(64, stdout);
        let mut line = String::new();
        while stdout.read_line(&mut line).is_ok_and(|read| read > 0) {
            if line.contains("\"serving\"") {
                sender.send(std::mem::take(&mut line)).unwrap();
                break;
            }
            line.clear();
        }
        _ = stopped.recv();
        drop(stdout);
    });
    let serving: serde_json::Value = serde_json::from_str(&lines.recv().unwrap()).unwrap();
    let client = |name: &str| {
        let url = serving["fields"][name].as_str().unwrap();
        crate::client::Client::new(url.parse().unwrap())
    };
    let (api, ops) = (client("api"), client("ops"));
    let dropped = async || {
        let metrics = ops.get("/metrics").await.unwrap().body;
        let metrics = String::from_utf8(metrics.to_vec()).unwrap();
        let name = "example_server_log_lines_dropped_total ";
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().parse::<f64>().unwrap()
    };
    // Each request writes a line at this level.
    until("lines are dropped", async || {
        for answer in join_all((0..500).map(|_| api.get("/nothing"))).await {
            assert_eq!(answer.unwrap().status, 404);
        }
        dropped().await > 0.0
    })
    .await;
    assert_eq!(api.get("/concerts").await.unwrap().status, 200);
    let pid = child.id().to_string();
    let sent = std::process::Command::new("kill")
        .args(["-TERM", &pid])
        .status();
    assert!(sent.unwrap().success());
    assert!(child.wait().unwrap().success());
    drop(stop);
    reader.join().unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_its_responses_is_disconnected() {
    let server = Server::start(&["--write-timeout", "200ms"]);
    let mut stream = connect(&server.api_url).await;
    // Pipelined, until the kernel's buffers are full and the server closes the connection.
    let requests = "GET /openapi.json HTTP/1.1\r\nhost: test\r\n\r\n".repeat(100);
    while stream.write_all(requests.as_bytes()).await.is_ok() {}
    until("the request has ended", async || {
        server.in_flight().await == 0.0
    })
    .await;
}

#[tokio::test]
async fn event_streams_leave_connections_for_the_probes() {
    let server = Server::start(&[]);
    let request = "GET /api/stream HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut streams = Vec::new();
    let mut refused = 0;
    for _ in 0..100 {
        let mut stream = connect_and_send(&server.ops_url, request).await;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await.unwrap();
        match &head {
            b"HTTP/1.1 200" => streams.push(stream),
            b"HTTP/1.1 503" => refused += 1,
            _ => panic!("{:?}", str::from_utf8(&head)),
        }
    }
    assert_eq!((streams.len(), refused), (64, 36));
    assert_eq!(server.ops.get("/livez").await.unwrap().status, 200);
}

#[tokio::test]
async fn http2_requests_are_served() {
    let server = Server::start(&[]);
    let client = legacy::Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http::<Full<Bytes>>();
    let requests = (0..50).map(async |_| {
        let request = http::Request::post(format!("{}/concerts", server.api_url))
            .header("content-type", "application/json")
            .body(Full::from(new_concert(1).to_string()));
        let response = client.request(request.unwrap()).await.unwrap();
        assert_eq!(response.version(), http::Version::HTTP_2);
        assert_eq!(response.status(), 201);
        response.into_body().collect().await.unwrap()
    });
    join_all(requests).await;
    assert_eq!(server.requests(&["\"201\""]).await, 50.0);
}

#[tokio::test]
async fn http2_connections_announce_their_limits() {
    let server = Server::start(&[]);
    // The preface, empty SETTINGS, and the acknowledgment of those of the server.
    let mut stream = connect(&server.api_url).await;
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "SETTINGS come first");
    let mut settings = vec![0; usize::from(head[2])];
    stream.read_exact(&mut settings).await.unwrap();
    let setting = |id: u16| {
        let mut settings = settings.chunks_exact(6);
        let found = settings.find(|setting| setting[..2] == id.to_be_bytes());
        found.map(|setting| u32::from_be_bytes(setting[2..].try_into().unwrap()))
    };
    assert_eq!(setting(3), Some(128), "SETTINGS_MAX_CONCURRENT_STREAMS");
    assert_eq!(setting(6), Some(16_384), "SETTINGS_MAX_HEADER_LIST_SIZE");
}

/// The preface of an HTTP/2 client whose streams may not receive any data, and `GET path`.
fn http2_without_window(path: &str) -> Vec<u8> {
    let mut block = b"\x82\x86\x01\x04test\x04".to_vec();
    block.push(path.len() as u8);
    block.extend_from_slice(path.as_bytes());
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS with SETTINGS_INITIAL_WINDOW_SIZE = 0, then HEADERS of stream 1.
    bytes.extend_from_slice(b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0");
    bytes.extend_from_slice(&[0, 0, block.len() as u8, 1, 5, 0, 0, 0, 1]);
    bytes.extend(block);
    bytes
}

#[tokio::test]
async fn http2_clients_that_keep_their_window_closed_are_disconnected_on_both_ports() {
    let server = Server::start(&["--write-timeout", "200ms", "--keep-alive", NEVER]);
    for (url, path) in [
        (&server.api_url, "/concerts"),
        (&server.ops_url, "/metrics"),
    ] {
        let mut stream = connect(url).await;
        stream.write_all(&http2_without_window(path)).await.unwrap();
        // Ends when the server closes the connection.
        _ = stream.read_to_end(&mut Vec::new()).await;
    }
}

#[tokio::test]
async fn http2_clients_that_keep_their_window_closed_make_room_for_others() {
    let server = Server::start(&["--max-connections", "1", "--write-timeout", NEVER]);
    let mut stream = connect(&server.api_url).await;
    let request = http2_without_window("/concerts");
    stream.write_all(&request).await.unwrap();
    // The head of the response, which no window limits.
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.unwrap();
        if head[3] == 1 {
            break;
        }
    }
    let request = "GET /concerts HTTP/1.1\r\nhost: test\r\n\r\n";
    let mut other = connect_and_send(&server.api_url, request).await;
    assert!(read_response(&mut other).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn event_streams_over_http2_outlast_the_write_timeout() {
    let server = Server::start(&["--write-timeout", "1s", "--header-timeout", "1s"]);
    let client = legacy::Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http::<Full<Bytes>>();
    let request = http::Request::get(format!("{}/api/stream", server.ops_url))
        .header("accept", "text/event-stream")
        .body(Full::default());
    let response = client.request(request.unwrap()).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut events = response.into_body();
    // There is at most one a second.
    for _ in 0..4 {
        events.frame().await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn purchases_survive_a_retry_storm() {
    let server = Server::start(&["--max-concurrency", "4"]);
    let concert = server.concert(10_000).await;
    let path = format!("/concerts/{concert}/purchases");
    let body = order("Ada", 1);
    let answers = join_all((0..200).map(|_| server.post(&path, &body))).await;
    assert!(answers.iter().all(|answer| answer.status == 201));
    let ids: std::collections::HashSet<_> = answers
        .iter()
        .map(|answer| value(answer)["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 200);
}
