//! Memory after many requests without a scrape, and after many distinct values that
//! clients choose.
//!
//! Run with `cargo bench -p benches --bench memory`.
//!
//! Each row is measured in a separate process, so that none reuses memory that another
//! has freed. The benchmark also asserts that overflows are counted correctly.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Ready, ready};
use std::process::{Command, Stdio};
use std::task::{Context, Poll};

use axum::Router;
use bytes::Bytes;
use harness::alloc::resident;
use harness::candidates::Candidates;
use harness::drive::{Driven, drive};
use harness::extent;
use harness::layers::VectorsLayer;
use harness::services::{TENANT, router};
use harness::{peers, table};
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::Empty;
use prometheus::TextEncoder;
use prometheus_axum_middleware::PrometheusAxumLayer;
use tower_layer::Layer;
use tower_metrics::prometheus::Format;
use tower_metrics::{Label, MetricsLayer, Prometheus, Route};
use tower_service::Service;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [case, name, n] = &arguments[..] {
        let n = n.parse()?;
        match &**case {
            "requests" => requests(name, n),
            "layers" => layers(name, n),
            _ => values(case, name, n),
        }
        return Ok(());
    }
    // A test runs a thousandth of the requests.
    let few = |n: u64| match extent::is_test() {
        true => n / 1000,
        false => n,
    };

    let mut rows = Vec::new();
    for (name, n) in [
        ("no layer", 10_000_000),
        ("tower-metrics", 10_000_000),
        ("hand-written vectors", 10_000_000),
        ("axum-prometheus 0.10", 2_000_000),
        ("axum-otel-metrics 0.14", 2_000_000),
        ("otel-instrumentation-tower 0.19", 2_000_000),
        ("tower-otel 0.12", 2_000_000),
    ] {
        let n = few(n);
        let mut row = vec![name.to_owned(), n.to_string()];
        row.extend(child("requests", name, n)?);
        rows.push(row);
    }
    let header = ["", "requests", "MiB before", "MiB after"];
    table::print("Requests without a scrape", &header, &rows);

    let mut rows = Vec::new();
    for case in [SHARED, "one recorder each"] {
        let n = few(10_000);
        let mut row = vec![case.to_owned(), n.to_string()];
        row.extend(child("layers", case, n)?);
        rows.push(row);
    }
    let header = ["", "layers", "MiB before", "MiB after"];
    table::print("Layers", &header, &rows);

    let mut rows = Vec::new();
    for (case, name, n) in [
        ("unknown paths", "tower-metrics", 1_000_000),
        ("paths as routes", "tower-metrics", 1_000_000),
        ("methods", "tower-metrics", 1_000_000),
        ("label values", "tower-metrics", 1_000_000),
        ("gRPC paths", "tower-metrics", 1_000_000),
        ("unknown gRPC paths", "tower-metrics", 1_000_000),
        ("unknown paths", "axum-prometheus 0.10", 100_000),
        ("unknown paths", "prometheus-axum-middleware 0.4", 100_000),
        ("methods", "hand-written vectors", 100_000),
    ] {
        let n = few(n);
        let mut row = vec![name.to_owned(), format!("{n} distinct {case}")];
        row.extend(child(case, name, n)?);
        rows.push(row);
    }
    let header = ["", "", "MiB before", "MiB after", "series", "overflow"];
    table::print("Distinct values chosen by clients", &header, &rows);
    Ok(())
}

/// Runs a case in a child process, which prints the cells of its row.
fn child(case: &str, name: &str, n: u64) -> Result<Vec<String>, Box<dyn Error>> {
    let output = Command::new(std::env::current_exe()?)
        .args([case, name, &n.to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{name}, {case}: {}", output.status).into());
    }
    let cells = String::from_utf8(output.stdout)?;
    Ok(cells.trim_end().split('\t').map(str::to_owned).collect())
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1024.0 / 1024.0)
}

/// Sends many equal requests.
fn requests(name: &str, n: u64) {
    let mut candidate = Candidates::named(name).bare.swap_remove(0);
    candidate.send(1000);
    let before = resident();
    candidate.send(n);
    println!("{}\t{}", mebibytes(before), mebibytes(resident()));
}

/// Case of layers that share a recorder.
const SHARED: &str = "one recorder";

/// Limit on the memory of 10,000 layers, such as a test suite builds in one process.
const LAYERS_LIMIT: u64 = 100_000_000;

/// Builds layers, each with a label, and sends a request through each. They share a
/// recorder, or have one each.
fn layers(case: &str, n: u64) {
    let shared = Prometheus::new();
    let before = resident();
    for _ in 0..n {
        let tenant = Label::from_request("tenant", VALUES as u16, |head| {
            Some(head.headers.get(TENANT)?.to_str().ok()?.into())
        });
        let recorder = match case {
            SHARED => shared,
            _ => Prometheus::new(),
        };
        let layer = MetricsLayer::builder(recorder).label(tenant);
        let layer = layer.build().expect("the settings are valid");
        scan(router().layer(layer))(0);
    }
    let after = resident();
    let added = after.saturating_sub(before);
    if case == SHARED {
        assert!(added < LAYERS_LIMIT, "{n} layers take {added} bytes");
    }
    println!("{}\t{}", mebibytes(before), mebibytes(after));
}

/// Sends requests that differ in one value each.
fn values(case: &str, name: &str, n: u64) {
    let mut workload = match name {
        "tower-metrics" => workload(case, n),
        _ => other_workload(name, case),
    };
    // Warm up until all limits are reached.
    let first = n / 50;
    (0..first).for_each(&mut workload.send);
    let before = mebibytes(resident());
    (first..n).for_each(&mut workload.send);
    let after = mebibytes(resident());
    let (series, overflow) = (workload.read)();
    println!("{before}\t{after}\t{series}\t{overflow}");
}

/// Requests with distinct values, and a way to read the metrics.
struct Workload {
    /// Sends the request with this number.
    send: Box<dyn FnMut(u64)>,
    /// Returns the number of series and of overflows.
    read: Box<dyn FnOnce() -> (usize, String)>,
}

/// Limits on routes and label values.
const ROUTES: u64 = 1000;
const VALUES: u64 = 100;

fn workload(case: &str, n: u64) -> Workload {
    let prometheus = Prometheus::new();
    let layer = MetricsLayer::builder(prometheus);
    // The number of requests that exceed a limit.
    let (layer, overflow) = match case {
        "unknown paths" => (layer, 0),
        "paths as routes" => (layer.route(Route::path()), n.saturating_sub(ROUTES)),
        "methods" => (layer.route(Route::fixed("/")), 0),
        "label values" => {
            let tenant = Label::from_request("tenant", VALUES as u16, |head| {
                Some(head.headers.get(TENANT)?.to_str().ok()?.into())
            });
            let layer = layer.route(Route::fixed("/")).label(tenant);
            (layer, n.saturating_sub(VALUES))
        }
        "gRPC paths" => (layer.grpc(true), n.saturating_sub(ROUTES)),
        "unknown gRPC paths" => (layer.grpc(true), 0),
        _ => panic!("{case}: no such case"),
    };
    let layer = layer.build().expect("the settings are valid");
    let send = match case {
        "unknown paths" => scan(router().layer(layer)),
        _ => send_distinct(case, layer.layer(Respond::for_case(case))),
    };
    Workload {
        send,
        read: Box::new(move || {
            let text = prometheus.exposition().render(Format::Text);
            let count = "http_server_request_duration_seconds_count";
            let counted: f64 = samples(&text, count).map(|(_, value)| value).sum();
            assert_eq!(counted, n as f64, "every request is counted once");
            let overflowed = samples(&text, "tower_metrics_overflow_total");
            let overflowed: f64 = overflowed.map(|(_, value)| value).sum();
            assert_eq!(overflowed, overflow as f64, "the overflow is counted");
            let other = samples(&text, count).filter(|(series, _)| {
                series.contains("http_route=\"_OTHER\"") || series.contains("tenant=\"_OTHER\"")
            });
            let other: f64 = other.map(|(_, value)| value).sum();
            assert_eq!(other, overflow as f64, "the overflow is in `_OTHER`");
            (samples(&text, count).count(), overflow.to_string())
        }),
    }
}

fn other_workload(name: &str, case: &str) -> Workload {
    let (send, text): (_, fn() -> (String, &'static str)) = match (name, case) {
        ("axum-prometheus 0.10", "unknown paths") => {
            (scan(router().layer(peers::axum_prometheus())), || {
                (
                    peers::axum_prometheus_handle().render(),
                    "axum_http_requests_total",
                )
            })
        }
        ("prometheus-axum-middleware 0.4", "unknown paths") => {
            (scan(router().layer(PrometheusAxumLayer::new())), || {
                (gathered(), "axum_http_requests_total")
            })
        }
        ("hand-written vectors", "methods") => (
            send_distinct(
                case,
                VectorsLayer::new(prometheus::default_registry()).layer(Respond::for_case(case)),
            ),
            || (gathered(), "requests_total"),
        ),
        _ => panic!("{name}, {case}: no such case"),
    };
    Workload {
        send,
        read: Box::new(move || {
            let (text, name) = text();
            (samples(&text, name).count(), "-".to_owned())
        }),
    }
}

fn gathered() -> String {
    let text = TextEncoder::new().encode_to_string(&prometheus::gather());
    text.expect("the metrics are valid")
}

/// Iterates over the samples with this name as series and value.
fn samples<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
    text.lines().filter_map(move |line| {
        let labels = line.strip_prefix(name)?;
        let (series, value) = labels.strip_prefix('{')?.rsplit_once("} ")?;
        Some((series, value.parse().ok()?))
    })
}

/// Requests unknown paths from a router.
fn scan(app: Router) -> Box<dyn FnMut(u64)> {
    let mut app = app.with_state(());
    Box::new(move |i| {
        let mut request = Request::new(axum::body::Body::empty());
        *request.uri_mut() = uri(&format!("/wp-admin/{i}.php"));
        drive(&mut app, request);
    })
}

/// Sends requests with a distinct value to a service.
fn send_distinct(case: &str, service: impl Driven<Empty<Bytes>> + 'static) -> Box<dyn FnMut(u64)> {
    let mut service = service;
    let case = case.to_owned();
    Box::new(move |i| {
        let mut request = Request::new(Empty::new());
        match &*case {
            "paths as routes" => *request.uri_mut() = uri(&format!("/{i}")),
            "methods" => {
                let method = format!("METHOD-{i}");
                *request.method_mut() = method.parse().expect("the method is a token");
            }
            "label values" => {
                let value = format!("tenant-{i}")
                    .parse()
                    .expect("the value is visible ASCII");
                request.headers_mut().insert(TENANT, value);
            }
            _ => {
                *request.uri_mut() = uri(&format!("/package.Service/Method{i}"));
                let grpc = HeaderValue::from_static("application/grpc");
                request.headers_mut().insert(header::CONTENT_TYPE, grpc);
            }
        }
        drive(&mut service, request);
    })
}

fn uri(path: &str) -> Uri {
    path.parse().expect("the path is valid")
}

/// Service that responds immediately, without a body.
#[derive(Clone, Copy, Debug)]
struct Respond {
    grpc_status: Option<&'static str>,
}

impl Respond {
    fn for_case(case: &str) -> Self {
        let grpc_status = match case {
            "gRPC paths" => Some("0"),
            "unknown gRPC paths" => Some("12"),
            _ => None,
        };
        Self { grpc_status }
    }
}

impl Service<Request<Empty<Bytes>>> for Respond {
    type Response = Response<Empty<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Empty<Bytes>>) -> Self::Future {
        let mut response = Response::new(Empty::new());
        if let Some(status) = self.grpc_status {
            let status = HeaderValue::from_static(status);
            response.headers_mut().insert("grpc-status", status);
        }
        ready(Ok(response))
    }
}
