//! RED metrics for every tower service: Rate, Errors and Duration per route,
//! in Prometheus, counted right.
//!
//! ```
//! # #[cfg(feature = "axum")] {
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
//! # What is counted
//!
//! Every request exactly once, whatever becomes of it:
//!
//! | what happens | status | error type | an error? |
//! |---|---|---|---|
//! | response sent whole | its status | what the response's [`ErrorType`] says; otherwise the code of a 5xx, or empty | if 5xx, or if an [`ErrorType`] says so |
//! | dropped before the head: the client hung up | empty | `cancelled` | no |
//! | the inner service returns `Err` | empty | `service_error`, or what a classifier says | yes |
//! | the inner service panics | empty | `panic` | yes |
//! | the body fails in mid-stream | its status | `body_error` | yes |
//! | the body is dropped before its end | its status | `body_cancelled` | no |
//! | a gRPC call, where switched on | its status | the code's name for a server's error | if a server's error |
//!
//! - A response ends with its head where no body can follow (`HEAD`, 1xx, 204,
//!   304), else with its last byte or trailers, an error, or its drop.
//! - The duration runs from `call` to that end. The duration of event streams and
//!   upgrades ends at the head, and a client that leaves them is their ordinary
//!   end; they are in flight, and counted, until their body ends. What passes over
//!   an upgraded connection, such as a WebSocket, no layer sees.
//! - A request's size is its `Content-Length` or exact size, at most 1 TiB, or, with
//!   [`count_request_bytes`](MetricsLayerBuilder::count_request_bytes), what the
//!   service read of it. Sums saturate.
//! - The gauge of requests in flight returns to where it was in every case.
//! - Series are bounded: the route is the matched template, never the path;
//!   unknown methods are `_OTHER`; routes and custom labels have caps and at most
//!   128 bytes, and what goes beyond is counted as `_OTHER` and in
//!   `tower_metrics_overflow_total`.
//!
//! Around a [client](guides::clients) a 4xx is an error too, and so is every gRPC
//! status but `OK`.
//!
//! Errors of the service are those whose error type is neither empty nor
//! `cancelled` nor `body_cancelled`.
//!
//! # What it costs
//!
//! A request takes no lock and allocates nothing once its series exist. Each
//! thread counts on cells of its own, which a scrape adds up, so that threads
//! share no cache line that anybody writes. `cargo bench` in the project's
//! repository compares it with others; on two cores, as in its README:
//!
//! | added to a bare tower service | ns | allocations |
//! |---|---|---|
//! | this layer | 96 | 0 |
//! | a layer on `HistogramVec`, by hand | 185 | 0 |
//! | axum-otel-metrics 0.14 | 862 | 2 |
//! | axum-prometheus 0.10 | 1,059 | 34 |
//! | opentelemetry-instrumentation-tower 0.19 | 1,432 | 14 |
//!
//! In an axum router it allocates once, for the body that it wraps. A series
//! takes about 690 bytes, and a scrape of 15,000 series 20 ms.
//!
//! # Elsewhere than Prometheus
//!
//! Figures go to a [`Recorder`]: [`Prometheus`], OpenTelemetry's meter (feature
//! `opentelemetry`), both at once, or [one of your own](guides::custom_recorders).
//!
//! # Where to stand in a stack
//!
//! Outside everything that answers for the service (timeouts, load shedding,
//! catch-panic), so that their answers are counted. With axum, `Router::layer`
//! sees the route's template; around a whole `Router` used as a service there
//! is none yet. See the [axum guide](guides::axum).
//!
//! # Guides
//!
//! - [`guides::labels`]: custom labels, cardinality limits, series that start
//!   at zero, and bucket bounds.
//! - [`guides::axum`]: nesting, merging, fallbacks, and the layer's position.
//! - [`guides::tonic`]: gRPC statuses, and the layer's position among tonic's.
//! - [`guides::clients`]: hyper's client, reqwest, and tonic's channel.
//! - [`guides::from_axum_prometheus`]: migration with existing dashboards.
//! - [`guides::custom_recorders`]: recording to other systems.
//!
//! Whole programs to run and to copy, with
//! `cargo run -p tower-metrics --example NAME`: `axum`, `tonic`, `hyper`,
//! `client`.
//!
//! # Dashboards
//!
//! The crate `tower-metrics-dashboard` generates Grafana dashboards, recording
//! and alert rules, and a live page from the same names.
//!
//! # Features
//!
//! - `axum` (default): routes from axum's `MatchedPath`, and the exposition as
//!   an axum handler.
//! - `prometheus` (default): the recorder for Prometheus and its exposition.
//! - `gzip`: compresses the exposition for scrapers that accept it.
//! - `opentelemetry`: the recorder for an OpenTelemetry meter, instead of
//!   Prometheus or beside it.
//! - `quanta`: reads the clock from the processor's time stamp counter.
//! - `tracing-opentelemetry`: trace IDs of the current span as exemplars.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod body;
#[cfg(any(feature = "opentelemetry", feature = "prometheus"))]
mod bounds;
#[cfg(feature = "axum")]
mod by_address;
mod clock;
mod error;
mod flight;
mod future;
mod grpc;
#[cfg(all(any(doc, doctest), feature = "prometheus"))]
pub mod guides;
mod head;
mod label;
mod layer;
#[cfg(feature = "opentelemetry")]
pub mod opentelemetry;
mod outcome;
mod pool;
#[cfg(feature = "prometheus")]
pub mod prometheus;
#[cfg(feature = "prometheus")]
mod proto;
mod recorder;
mod request_body;
mod route;
mod service;
mod table;
mod trace_id;
pub use self::body::ResponseBody;
pub use self::error::BuildError;
pub use self::future::ResponseFuture;
pub use self::grpc::GrpcStatus;
pub use self::head::{RequestHead, ResponseHead};
pub use self::label::{Label, LabelKey, LabelValue, LabelValues, MAX_LABELS};
pub use self::layer::{
    ClassifyError, DurationTo, MetricsLayer, MetricsLayerBuilder, ServiceError, Skip,
};
#[cfg(feature = "opentelemetry")]
pub use self::opentelemetry::{OpenTelemetry, OpenTelemetryBuilder};
pub use self::outcome::{CompletedRequest, ErrorType, InitialSeries, Outcome};
#[cfg(feature = "prometheus")]
pub use self::prometheus::{Names, Prometheus, PrometheusBuilder};
pub use self::recorder::{LabelError, Limit, Recorder};
pub use self::request_body::{CountRequestBytes, RequestBody, RequestBodyService};
pub use self::route::Route;
pub use self::service::MetricsService;
pub use self::trace_id::TraceId;
