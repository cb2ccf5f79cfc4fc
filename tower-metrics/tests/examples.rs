//! Runs each example as a process, sends requests to it, and stops it with Ctrl-C.
//!
//! `cargo test` builds the examples together with the tests, whereas `cargo test
//! --test examples` runs those of the last `cargo build --examples`.

#![cfg(all(unix, feature = "axum"))]

mod scrape;
#[cfg(feature = "rustls")]
mod tls_client;

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tonic::Code;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use self::scrape::Samples;

/// Generous, so that a busy machine does not fail the test.
const TIMEOUT: Duration = Duration::from_secs(60);

fn program(example: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(2).unwrap();
    let program: PathBuf = target.join("examples").join(example);
    assert!(
        program.exists(),
        "{program:?} is not built: cargo build -p tower-metrics --examples"
    );
    Command::new(program)
}

/// A running example.
struct Server {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Server {
    fn start(example: &str) -> Self {
        Self::run(program(example))
    }

    fn run(mut program: Command) -> Self {
        let mut child = program.stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.lines() {
                // Fails if the test has ended.
                let _ = sender.send(line.unwrap());
            }
        });
        Self { child, lines }
    }

    /// Returns the next address that the example prints.
    fn address(&self) -> String {
        let line = self.lines.recv_timeout(TIMEOUT).unwrap();
        let (scheme, address) = line.split_once("://").unwrap();
        assert!(["http", "https"].contains(&scheme), "{line}");
        assert!(address.starts_with("127.0.0.1:"), "{line}");
        line
    }

    /// Sends SIGINT and waits for a successful exit. Runs on another thread so
    /// that the test can close its connections in between.
    async fn stop(self) {
        tokio::task::spawn_blocking(|| self.stop_blocking())
            .await
            .unwrap();
    }

    fn stop_blocking(mut self) {
        interrupt(&self.child);
        let end = self.lines.recv_timeout(TIMEOUT);
        assert_eq!(end, Err(mpsc::RecvTimeoutError::Disconnected));
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Still running only if the test has failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends SIGINT.
fn interrupt(child: &Child) {
    let pid = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(sent.success());
}

async fn get_with(url: String, headers: HeaderMap) -> (StatusCode, String) {
    let client = Client::builder(TokioExecutor::new()).build_http::<String>();
    let mut request = Request::get(url).body(String::new()).unwrap();
    *request.headers_mut() = headers;
    let answer = async {
        let response = client.request(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.into()).unwrap())
    };
    tokio::time::timeout(TIMEOUT, answer).await.unwrap()
}

async fn get(url: String) -> (StatusCode, String) {
    get_with(url, HeaderMap::new()).await
}

async fn samples(url: String) -> Samples {
    let (status, text) = get(url).await;
    assert_eq!(status, StatusCode::OK);
    let samples = Samples::parse(&text);
    assert_eq!(samples.in_flight(), 0.0);
    samples
}

#[tokio::test]
async fn axum_records_templates_and_a_custom_label() {
    let server = Server::start("axum");
    let url = server.address();
    let metrics = format!("{url}/metrics");

    let concert = "/api/concerts/{id}";
    let samples_before = samples(metrics.clone()).await;
    for status in ["200", "500"] {
        let at_zero = [
            ("http_route", concert),
            ("http_response_status_code", status),
        ];
        assert_eq!(samples_before.requests(&at_zero), 0.0);
    }

    let app =
        |name: &str| HeaderMap::from_iter([("x-app".parse().unwrap(), name.parse().unwrap())]);
    for (path, headers, status) in [
        ("/api/concerts/7", app("ios"), 200),
        ("/api/concerts/8", app("ios"), 200),
        ("/api/concerts/0", app("web"), 500),
        ("/api/concerts/100", app("anything else"), 404),
        ("/healthz", HeaderMap::new(), 200),
        ("/.env", HeaderMap::new(), 404),
    ] {
        let (answer, _) = get_with(format!("{url}{path}"), headers).await;
        assert_eq!(answer, status, "{path}");
    }

    let samples = samples(metrics).await;
    let count = |app, route, status, error_type| {
        samples.requests(&[
            ("app", app),
            ("http_route", route),
            ("http_response_status_code", status),
            ("error_type", error_type),
        ])
    };
    assert_eq!(count("ios", concert, "200", ""), 2.0);
    assert_eq!(count("web", concert, "500", "500"), 1.0);
    assert_eq!(count("", concert, "404", ""), 1.0);
    assert_eq!(count("", "", "404", ""), 1.0);
    // Without health checks and scrapes.
    assert_eq!(samples.requests(&[]), 5.0);
    server.stop().await;
}

#[tokio::test]
async fn hyper_records_the_templates_of_its_function() {
    let server = Server::start("hyper");
    let url = server.address();
    for (path, status) in [
        // A template becomes a route whatever its first response is.
        ("/hello/", 404),
        ("/hello/world", 200),
        ("/", 200),
        ("/.env", 404),
    ] {
        assert_eq!(get(format!("{url}{path}")).await.0, status, "{path}");
    }
    let samples = samples(format!("{url}/metrics")).await;
    let count = |route, status| {
        samples.requests(&[("http_route", route), ("http_response_status_code", status)])
    };
    assert_eq!(count("/hello/{name}", "404"), 1.0);
    assert_eq!(count("/hello/{name}", "200"), 1.0);
    assert_eq!(count("/", "200"), 1.0);
    assert_eq!(count("", "404"), 1.0);
    assert_eq!(samples.requests(&[]), 4.0);
    server.stop().await;
}

#[tokio::test]
async fn tonic_records_the_statuses_of_unary_and_streaming_calls() {
    let server = Server::start("tonic");
    let (url, metrics) = (server.address(), server.address());
    let channel = Endpoint::from_shared(url).unwrap().connect().await.unwrap();
    let mut client = HealthClient::new(channel);
    let ask = |service: &str| HealthCheckRequest {
        service: service.into(),
    };
    client.check(ask("tickets")).await.unwrap();
    let refused = client.check(ask("payments")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let unknown = client.check(ask("nothing")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let mut whole = client.watch(ask("tickets")).await.unwrap().into_inner();
    while whole.message().await.unwrap().is_some() {}
    let mut broken = client.watch(ask("payments")).await.unwrap().into_inner();
    for _ in 0..2 {
        assert!(broken.message().await.unwrap().is_some());
    }
    let end = broken.message().await.unwrap_err();
    assert_eq!(end.code(), Code::Internal);

    let samples = samples(metrics).await;
    let calls = "rpc_server_call_duration_seconds_count";
    let count = |method, status, error_type| {
        let labels = [
            ("rpc_system_name", "grpc"),
            ("rpc_method", method),
            ("rpc_status_code", status),
            ("error_type", error_type),
        ];
        samples.sum(calls, &labels)
    };
    let (check, watch) = ("grpc.health.v1.Health/Check", "grpc.health.v1.Health/Watch");
    assert_eq!(count(check, "OK", ""), 1.0);
    assert_eq!(count(check, "UNAVAILABLE", "UNAVAILABLE"), 1.0);
    assert_eq!(count(check, "NOT_FOUND", ""), 1.0);
    assert_eq!(count(watch, "OK", ""), 1.0);
    assert_eq!(count(watch, "INTERNAL", "INTERNAL"), 1.0);
    assert_eq!(samples.sum(calls, &[]), 5.0);
    assert_eq!(samples.sum("rpc_server_active_requests", &[]), 0.0);
    drop((client, whole, broken));
    server.stop().await;
}

#[cfg(feature = "connections")]
#[tokio::test]
async fn connections_are_measured_and_limited() {
    let server = Server::start("connections");
    let url = server.address();
    let address = url.strip_prefix("http://").unwrap();
    let mut open = Vec::new();
    for _ in 0..3 {
        open.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    let (status, text) = get(format!("{url}/")).await;
    assert_eq!((status, &*text), (StatusCode::OK, "hello 127.0.0.1\n"));
    let metrics = format!("{url}/metrics");
    let traffic = async |direction| {
        let labels = [("network_io_direction", direction)];
        let samples = samples(metrics.clone()).await;
        samples.sum("http_server_network_io_bytes_total", &labels)
    };
    for direction in ["receive", "transmit"] {
        // A client may read a response before the server has counted its bytes.
        let counted = async { while traffic(direction).await <= 50.0 {} };
        tokio::time::timeout(TIMEOUT, counted).await.unwrap();
    }
    let samples = samples(metrics).await;
    // One more for the scrapes. That of the request may have closed.
    let connections = samples.sum("http_server_open_connections", &[]);
    assert!((4.0..=5.0).contains(&connections), "{connections}");
    drop(open);
    server.stop().await;
}

#[cfg(feature = "rustls")]
#[tokio::test]
async fn tls_measures_handshakes_that_succeed_and_that_fail() {
    use std::sync::Arc;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    let server = Server::start("tls");
    let (url, metrics) = (server.address(), server.address());
    let address = url.strip_prefix("https://").unwrap();
    let connect = || TcpStream::connect(address);

    let mut plain = connect().await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    // Ends with an alert, or with a reset.
    let _ = plain.read_to_end(&mut Vec::new()).await;

    let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
    let distrustful = TlsConnector::from(Arc::new(config.with_no_client_auth()));
    let name = "127.0.0.1".try_into().unwrap();
    let refused = distrustful.connect(name, connect().await.unwrap()).await;
    refused.unwrap_err();

    let trustful = tls_client::connector();
    let name = "127.0.0.1".try_into().unwrap();
    let mut client = trustful
        .connect(name, connect().await.unwrap())
        .await
        .unwrap();
    let request = "GET / HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    client.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    let _ = client.read_to_string(&mut response).await;
    assert!(response.ends_with("hello\n"), "{response}");

    let handshakes = async |error_type| {
        let samples = Samples::parse(&get(metrics.clone()).await.1);
        let count = "http_server_tls_handshake_duration_seconds_count";
        samples.sum(count, &[("error_type", error_type)])
    };
    for error_type in ["", "alert_received", "protocol_error"] {
        // A client ends before the server has read its alert.
        let counted = async {
            while handshakes(error_type).await == 0.0 {}
            assert_eq!(handshakes(error_type).await, 1.0, "{error_type}");
        };
        tokio::time::timeout(TIMEOUT, counted).await.unwrap();
    }
    server.stop().await;
}

/// The process has file descriptors for a few connections only.
#[cfg(feature = "connections")]
#[tokio::test]
async fn a_lack_of_file_descriptors_is_counted_and_does_not_spin() {
    let example = program("connections");
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "ulimit -n 20 && exec \"$0\""])
        .arg(example.get_program());
    let server = Server::run(limited);
    let url = server.address();
    let address = url.strip_prefix("http://").unwrap();
    let mut first = tokio::net::TcpStream::connect(address).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..30 {
        // The kernel establishes them whether the server accepts them or not.
        open.push(tokio::net::TcpStream::connect(address).await.unwrap());
    }
    let started = std::time::Instant::now();
    let mut errors = 0.0;
    while errors == 0.0 {
        let samples = tokio::time::timeout(TIMEOUT, scrape_over(&mut first));
        errors = samples.await.unwrap().sum(
            "http_server_rejected_connections_total",
            &[("reason", "accept_error")],
        );
    }
    // Attempts follow after 5, 10, 20, … ms, and then after a second each.
    let most = 9.0 + started.elapsed().as_secs_f64();
    assert!(errors < most, "{errors}");
    // Waiting connections are accepted once descriptors are available.
    drop(open);
    let (status, _) = get(format!("{url}/")).await;
    assert_eq!(status, StatusCode::OK);
    drop(first);
    server.stop().await;
}

/// Scrapes over an open connection.
#[cfg(feature = "connections")]
async fn scrape_over(connection: &mut tokio::net::TcpStream) -> Samples {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let request = "GET /metrics HTTP/1.1\r\nhost: test\r\n\r\n";
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    loop {
        assert_ne!(connection.read_buf(&mut text).await.unwrap(), 0);
        let text = str::from_utf8(&text).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if length.unwrap().parse() == Ok(body.len()) {
                return Samples::parse(body);
            }
        }
    }
}

#[test]
fn the_client_records_responses_and_failures() {
    let output = program("client").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, exposition) = text.split_once("# HELP").unwrap();
    let samples = Samples::parse(&format!("# HELP{exposition}"));
    let count = |template, status, error_type| {
        samples.sum(
            "http_client_request_duration_seconds_count",
            &[
                ("url_template", template),
                ("http_response_status_code", status),
                ("error_type", error_type),
                ("server_address", "127.0.0.1"),
            ],
        )
    };
    assert_eq!(count("/concerts/{id}", "200", ""), 2.0);
    assert_eq!(count("/concerts/{id}", "404", "404"), 1.0);
    assert_eq!(count("/slow", "", "timeout"), 1.0);
    assert_eq!(count("/slow", "", "connection"), 1.0);
    assert_eq!(samples.sum("http_client_active_requests", &[]), 0.0);
}

#[tokio::test]
async fn a_request_that_hangs_is_visible_until_its_client_disconnects() {
    let server = Server::start("hung_request");
    let url = server.address();
    let metrics = format!("{url}/metrics");
    let age = async || {
        let samples = Samples::parse(&get(metrics.clone()).await.1);
        samples.sum(
            "http_server_oldest_request_seconds",
            &[("http_route", "/hang")],
        )
    };
    let started = std::time::Instant::now();
    let hung = tokio::spawn(get(format!("{url}/hang")));
    let mut first = age().await;
    while first == 0.0 {
        assert!(started.elapsed() < TIMEOUT, "it is not visible");
        first = age().await;
    }
    // The age and the clock here differ by the time that the request and a scrape take.
    let mut later = age().await;
    while later < first + 1.0 {
        assert!(started.elapsed().as_secs_f64() >= later);
        assert!(started.elapsed() < TIMEOUT, "{first}, {later}");
        later = age().await;
    }
    let recorded = || get(metrics.clone());
    assert_eq!(Samples::parse(&recorded().await.1).requests(&[]), 0.0);
    hung.abort();
    let cancelled = [("http_route", "/hang"), ("error_type", "cancelled")];
    while Samples::parse(&recorded().await.1).requests(&cancelled) == 0.0 {
        assert!(started.elapsed() < TIMEOUT);
    }
    assert_eq!(age().await, 0.0);
    server.stop().await;
}

#[cfg(all(feature = "connections", feature = "opentelemetry"))]
#[tokio::test]
async fn opentelemetry_exports_requests_and_connections_when_the_server_ends() {
    let mut server = Server::start("opentelemetry");
    let url = server.address();
    for _ in 0..2 {
        assert_eq!(get(format!("{url}/concerts/7")).await.0, StatusCode::OK);
    }
    interrupt(&server.child);
    let mut exported = String::new();
    while let Ok(line) = server.lines.recv_timeout(TIMEOUT) {
        exported += line.trim();
        exported += "\n";
    }
    assert!(server.child.wait().unwrap().success());
    for name in [
        "http.server.request.duration",
        "http.server.active_requests",
        "http.server.open_connections",
        "http.server.connection.duration",
        "http.server.network.io",
    ] {
        let of_metric = exported.contains(&format!("Name         : {name}\n"));
        assert!(of_metric, "{name} is not in {exported}");
    }
    let (_, durations) = exported
        .split_once("http.server.request.duration\n")
        .unwrap();
    assert!(durations.contains("->  http.route: /concerts/{id}\n"));
    assert!(durations.contains("Count        : 2"), "{durations}");
}

#[cfg(feature = "admission")]
#[tokio::test]
async fn admission_measures_the_wait_of_every_request() {
    const REQUESTS: usize = 20;
    let server = Server::start("admission");
    let url = server.address();
    let requests = (0..REQUESTS).map(|_| tokio::spawn(get(url.clone())));
    for request in requests.collect::<Vec<_>>() {
        let (status, _) = request.await.unwrap();
        let expected = [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE];
        assert!(expected.contains(&status), "{status}");
    }
    let samples = samples(format!("{url}/metrics")).await;
    let waits = |outcome| {
        let count = "http_server_admission_wait_seconds_count";
        samples.sum(count, &[("outcome", outcome)])
    };
    assert!(waits("admitted") >= 1.0);
    assert_eq!(waits("admitted") + waits("cancelled"), REQUESTS as f64);
    assert_eq!(samples.sum("http_server_admission_queued", &[]), 0.0);
    server.stop().await;
}

#[cfg(all(feature = "process", feature = "tokio"))]
#[tokio::test]
async fn saturation_shows_a_blocked_runtime_during_the_block_and_after_it() {
    let server = Server::start("saturation");
    let (url, metrics) = (server.address(), server.address());
    let block = tokio::spawn(get(format!("{url}/block")));
    // The example blocks its runtime for 3 s.
    let during = loop {
        let (_, text) = get(metrics.clone()).await;
        let samples = Samples::parse(&text);
        if samples.sum("tokio_blocked_seconds", &[("runtime", "api")]) > 0.5 {
            break samples;
        }
        assert!(!block.is_finished(), "{samples:#?}");
    };
    assert_eq!(during.series("process_open_fds"), 1);
    assert_eq!(block.await.unwrap().0, StatusCode::OK);
    let late = |samples: &Samples, le| {
        let labels = [("runtime", "api"), ("le", le)];
        samples.sum("tokio_scheduling_delay_seconds_bucket", &labels)
    };
    let mut after = samples(metrics.clone()).await;
    while late(&after, "inf") < 10.0 {
        after = samples(metrics.clone()).await;
    }
    assert!(late(&after, "inf") - late(&after, "1") >= 10.0);
    server.stop().await;
}

#[cfg(any(feature = "metrics", feature = "prometheus-client"))]
async fn buys_tickets_and_reads_them_from_the_exposition(example: &str) -> Samples {
    let server = Server::start(example);
    let url = server.address();
    let client = Client::builder(TokioExecutor::new()).build_http::<String>();
    for concert in [7, 7, 8] {
        let purchase = format!("{url}/concerts/{concert}/purchases");
        let request = Request::post(purchase).body(String::new()).unwrap();
        assert_eq!(client.request(request).await.unwrap().status(), 200);
    }
    let samples = samples(format!("{url}/metrics")).await;
    let sold = |concert| samples.sum("tickets_sold_total", &[("concert", concert)]);
    assert_eq!([sold("7"), sold("8")], [2.0, 1.0]);
    let route = "/concerts/{id}/purchases";
    assert_eq!(samples.requests(&[("http_route", route)]), 3.0);
    drop(client);
    server.stop().await;
    samples
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn the_metrics_facade_shows_what_the_macros_record() {
    let example = "metrics_facade";
    let samples = buys_tickets_and_reads_them_from_the_exposition(example).await;
    let bucket = |le| samples.sum("ticket_price_euros_bucket", &[("le", le)]);
    assert_eq!([bucket("50"), bucket("100")], [0.0, 3.0]);
    assert_eq!(samples.sum("payment_seconds_count", &[]), 3.0);
}

#[cfg(feature = "prometheus-client")]
#[tokio::test]
async fn the_registry_of_prometheus_client_is_shown() {
    let example = "prometheus_client";
    let samples = buys_tickets_and_reads_them_from_the_exposition(example).await;
    assert_eq!(samples.sum("build_info", &[]), 1.0);
}
