//! Middleware that records rate, errors and duration (RED) metrics of tower services.
//!
//! ```
//! # #[cfg(all(feature = "axum", feature = "prometheus"))] {
//! use axum::{Router, routing::get};
//! use tower_metrics::{MetricsLayer, Prometheus};
//!
//! let prometheus = Prometheus::new();
//! let app: Router = Router::new()
//!     .route("/concerts/{id}", get(|| async { "hello" }))
//!     .layer(MetricsLayer::new(prometheus))
//!     .route_service("/metrics", prometheus.exposition());
//! # }
//! ```
//!
//! # Behavior
//!
//! Every request is recorded exactly once:
//!
//! | event | status | error type | error? |
//! |---|---|---|---|
//! | response sent completely | its status | the [`ErrorType`] in its extensions; otherwise the code of a 5xx, or empty | if 5xx, or if the [`ErrorType`] is an error |
//! | response future dropped before the head (client disconnected, outer timeout) | empty | `cancelled` | no |
//! | inner service returns `Err` | empty | `service_error`, or the result of a classifier | yes |
//! | inner service panics | empty | `panic` | yes |
//! | response body fails | its status | `body_error` | yes |
//! | response body dropped before its end | its status | `body_cancelled` | no |
//! | gRPC call, if gRPC is enabled | its status | the name of the code for a server error | if a server error |
//!
//! - A response ends with its head if no body can follow (`HEAD`, 1xx, 204, 304), and
//!   otherwise with its last byte, its trailers, an error, or when it is dropped.
//! - The duration runs from `call` to that end, or from the end of the request body with
//!   [`duration_from`](MetricsLayerBuilder::duration_from). The duration of event streams and of
//!   upgrades, such as WebSockets, ends at the head. They are in flight until their
//!   body ends, and are recorded then. A client that disconnects ends
//!   them normally. Bytes on an upgraded connection are not visible to a layer.
//! - The size of a request is its `Content-Length` or its exact size, at most 1 TiB.
//!   With [`count_request_bytes`](MetricsLayerBuilder::count_request_bytes), it is the
//!   number of bytes that the service read. Sums saturate.
//! - The gauge of requests in flight is decremented however the request ends. The age of
//!   the oldest request in flight of each route shows a request that never ends, until its
//!   duration is known.
//! - The number of series is bounded. The route is the matched template, not the path.
//!   Unknown methods are recorded as `_OTHER`. The number of routes and of label values
//!   is limited, and so is their length, to 128 bytes. Values beyond a limit are
//!   recorded as `_OTHER` and counted in `tower_metrics_overflow_total`.
//!
//! For a [client](guides::clients), a 4xx is an error as well, and so is every gRPC
//! status except `OK`.
//!
//! A request counts as an error of the service if it has any error type other than
//! `cancelled` and `body_cancelled`.
//!
//! # Cost
//!
//! Recording takes no lock and, once the series exist, does not allocate. Each thread
//! writes to its own cells, which a scrape adds up, so that threads share no modified
//! cache line. The benchmarks in the repository compare the layer with its
//! alternatives. On one core, as in the README:
//!
//! | added to a bare tower service | ns | allocations |
//! |---|---|---|
//! | this layer | 72 | 0 |
//! | a hand-written layer on `HistogramVec` | 220 | 0 |
//! | tower-otel 0.12 | 706 | 3 |
//! | axum-otel-metrics 0.14 | 742 | 2 |
//! | axum-prometheus 0.10 | 1,053 | 34 |
//! | opentelemetry-instrumentation-tower 0.19 | 1,508 | 14 |
//!
//! In an axum router, there is one allocation, for the wrapped body. A series takes
//! about 830 bytes, and a scrape of 15,000 series takes 15 ms. See
//! [`MetricsLayer`](MetricsLayer#memory) for the memory of a layer.
//!
//! # Recorders
//!
//! The layer records into a [`Recorder`]: `Prometheus`, an OpenTelemetry meter (feature
//! `opentelemetry`), both at once, or a [custom one](guides::custom_recorders).
//!
//! `Prometheus` exposes its metrics as text, OpenMetrics or protobuf, whichever the
//! scraper asks for. OpenMetrics and protobuf contain exemplars, and protobuf contains
//! native histograms, if `PrometheusBuilder::native_histogram` enables them.
//!
//! # Order of layers
//!
//! Add the layer outside of all layers that respond in place of the service, such as
//! timeouts, load shedding and catch-panic, so that their responses are recorded. In
//! axum, `Router::layer` sees the template of the route; a layer around a whole
//! `Router` sees none. See the [axum guide](guides::axum).
//!
//! # Guides
//!
//! - [`guides::labels`]: custom labels, cardinality limits, series that start
//!   at zero, and bucket bounds.
//! - [`guides::axum`]: the layer's position among routes and other layers, labels from
//!   extractors, timeouts, panics, and tests.
//! - [`guides::tonic`]: gRPC statuses, and the layer's position among tonic's.
//! - [`guides::clients`]: hyper's client, reqwest, and tonic's channel.
//! - [`guides::from_axum_prometheus`]: migration with existing dashboards.
//! - [`guides::custom_recorders`]: recording to other systems.
#![cfg_attr(
    all(
        feature = "admission",
        feature = "axum",
        feature = "connections",
        feature = "process",
        feature = "tokio"
    ),
    doc = "- [`guides::what_a_layer_cannot_see`]: connections, admission, saturation, and
  requests that do not end."
)]
//!
//! `cargo run -p tower-metrics --example NAME` runs a complete example: `axum`,
//! `tonic`, `hyper`, `client` or `hung_request`, and with `--all-features` also
//! `admission`, `connections`, `tls`, `saturation`, `opentelemetry`, `metrics_facade`
//! or `prometheus_client`.
//!
//! # Dashboards
//!
//! The crate `tower-metrics-dashboard` generates Grafana dashboards, recording and
//! alert rules, and a live page from the recorder.
//!
//! # Feature flags
//!
//! - `admission`: layer that measures the wait for admission.
//! - `axum` (default): routes from axum's `MatchedPath`, and the exposition as
//!   an axum handler.
//! - `prometheus` (default): the recorder for Prometheus and its exposition.
//! - `connections`: metrics of connections, their bytes and their limit.
//! - `metrics`: a recorder for the macros of the crate `metrics`, which the exposition shows
//!   as well.
//! - `prometheus-client`: registries of the crate `prometheus-client` in the exposition.
//! - `gzip`: compresses the exposition for scrapers that accept it.
//! - `opentelemetry`: the recorder for an OpenTelemetry meter.
//! - `process`: collector of the standard metrics of the process.
//! - `quanta`: reads the clock from the processor's time stamp counter.
//! - `rustls`: metrics of TLS handshakes, with tokio-rustls.
//! - `tokio`: collector of the metrics of a Tokio runtime, including its scheduling delay.
//! - `tracing-opentelemetry`: trace IDs of the current span as exemplars.
//!
//! To record with OpenTelemetry only, disable the default features. The feature `axum`
//! is still required for the routes of an axum router:
//!
//! ```toml
//! [dependencies]
//! tower-metrics = { version = "0.1", default-features = false, features = ["axum", "opentelemetry"] }
//! ```
//!
//! Without the feature `axum`, the route is empty unless
//! [`MetricsLayerBuilder::route`] sets it.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "admission")]
pub mod admission;
mod body;
#[cfg(any(feature = "opentelemetry", feature = "prometheus"))]
mod bounds;
mod builder;
#[cfg(any(feature = "opentelemetry", feature = "prometheus"))]
mod cell;
mod classify;
mod clock;
mod completed_request;
#[cfg(feature = "connections")]
pub mod connections;
mod error;
mod error_type;
mod future;
mod grpc;
mod guard;
#[cfg(all(any(doc, doctest), feature = "prometheus"))]
pub mod guides;
mod head;
mod initial_series;
mod label;
mod label_enum;
mod layer;
#[cfg(feature = "axum")]
mod matched_path_cache;
mod oldest_request;
#[cfg(feature = "opentelemetry")]
pub mod opentelemetry;
mod outcome;
mod pool;
#[cfg(feature = "process")]
mod process;
#[cfg(feature = "prometheus")]
pub mod prometheus;
mod protocol_version;
mod recorder;
mod request_body;
mod route;
mod routes;
#[cfg(feature = "tokio")]
mod runtime;
#[cfg(any(
    feature = "process",
    feature = "tokio",
    all(feature = "admission", feature = "prometheus")
))]
mod sampled;
mod service;
mod shared;
mod side;
#[cfg(any(feature = "opentelemetry", feature = "prometheus"))]
mod slots;
mod state;
mod sync;
mod table;
#[cfg(any(feature = "opentelemetry", feature = "prometheus"))]
mod thread_slot;
mod trace_id;

#[cfg(feature = "admission")]
pub use self::admission::{AdmissionLayer, AdmissionRecorder, AdmissionWait};
pub use self::body::ResponseBody;
pub use self::builder::MetricsLayerBuilder;
pub use self::classify::{ClassifyError, ServiceError};
pub use self::completed_request::CompletedRequest;
#[cfg(feature = "connections")]
pub use self::connections::{Connections, ConnectionsBuilder};
pub use self::error::{BuildError, LabelError};
pub use self::error_type::ErrorType;
pub use self::future::ResponseFuture;
pub use self::grpc::GrpcStatus;
pub use self::head::{RequestHead, ResponseHead};
pub use self::initial_series::InitialSeries;
pub use self::label::{Label, LabelKey, LabelValue, LabelValues, MAX_LABELS};
pub use self::layer::MetricsLayer;
pub use self::oldest_request::OldestRequest;
#[cfg(feature = "opentelemetry")]
pub use self::opentelemetry::{OpenTelemetry, OpenTelemetryBuilder};
pub use self::outcome::Outcome;
#[cfg(feature = "process")]
pub use self::process::ProcessCollector;
#[cfg(feature = "prometheus")]
pub use self::prometheus::{Names, Prometheus, PrometheusBuilder};
pub use self::recorder::{Limit, Recorder};
pub use self::request_body::{CountRequestBytes, RequestBody, RequestBodyService};
pub use self::route::{DurationFrom, DurationTo, Route, Skip};
#[cfg(feature = "tokio")]
pub use self::runtime::TokioCollector;
pub use self::service::MetricsService;
pub use self::trace_id::TraceId;
