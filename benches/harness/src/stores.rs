//! The same series in several libraries.

mod exporter;
mod fast;
mod measured;

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body::Body;
use http_body_util::{Empty, Full};
use prometheus::{HistogramOpts, HistogramVec, IntGaugeVec, Opts, Registry, TextEncoder};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use tower_layer::Layer;
use tower_metrics::prometheus::Exposition;
use tower_metrics::{MetricsLayer, MetricsService, Prometheus, Route};
use tower_service::Service;

use crate::drive::drive;
use crate::layers::BOUNDS;

pub use self::exporter::{MetricsExporter, TowerMetricsFacade};
pub use self::fast::FastMetrics;
pub use self::measured::Measured;

const LABELS: [&str; 5] = [
    "http_request_method",
    "http_route",
    "http_response_status_code",
    "error_type",
    "url_scheme",
];

/// Request to record.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Method.
    pub method: Method,
    /// Path, which is also the route.
    pub uri: Uri,
    /// Route as a label value.
    pub route: &'static str,
    /// Status of the response.
    pub status: StatusCode,
}

/// Library that records requests and exposes the metrics.
pub trait Store: Clone + Send + 'static {
    /// Name in the table.
    const NAME: &'static str;

    /// Records a request.
    fn observe(&mut self, observed: &Observation);

    /// Renders the exposition and returns its size in bytes.
    fn scrape(&self) -> usize;
}

/// tower-metrics: records through its layer and reads the exposition's body.
#[derive(Clone, Debug)]
pub struct TowerMetrics {
    layer: MetricsLayer<Prometheus>,
    exposition: Exposition,
}

impl TowerMetrics {
    /// Creates a store for at most this many routes.
    pub fn new(routes: usize) -> Self {
        Self::recorded_by(Prometheus::new(), routes)
    }

    /// Creates a store with native histograms for at most this many routes.
    pub fn native(routes: usize) -> Self {
        let prometheus = Prometheus::builder().native_histogram(true).build();
        Self::recorded_by(prometheus.expect("the settings are valid"), routes)
    }

    fn recorded_by(prometheus: Prometheus, routes: usize) -> Self {
        let layer = MetricsLayer::builder(prometheus)
            .route(Route::path())
            .max_routes(routes)
            .build();
        Self {
            layer: layer.expect("the settings are valid"),
            exposition: prometheus.exposition(),
        }
    }
}

/// Service that responds with a status and a small body.
#[derive(Clone, Copy, Debug)]
struct Respond(StatusCode);

impl Service<Request<Empty<Bytes>>> for Respond {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Empty<Bytes>>) -> Self::Future {
        let mut response = Response::new(Full::from(Bytes::from_static(b"response.")));
        *response.status_mut() = self.0;
        ready(Ok(response))
    }
}

impl Store for TowerMetrics {
    const NAME: &'static str = "tower-metrics";

    fn observe(&mut self, observed: &Observation) {
        let mut service: MetricsService<_, _> = self.layer.layer(Respond(observed.status));
        let mut request = Request::new(Empty::new());
        *request.method_mut() = observed.method.clone();
        *request.uri_mut() = observed.uri.clone();
        drive(&mut service, request);
    }

    fn scrape(&self) -> usize {
        self.respond(Request::new(Empty::new()))
    }
}

impl TowerMetrics {
    /// Renders the exposition in the format that this `Accept` asks for.
    pub fn scrape_as(&self, accept: &str, gzip: bool) -> usize {
        let encoding = if gzip { "gzip" } else { "identity" };
        let request = Request::builder()
            .header(header::ACCEPT, accept)
            .header(header::ACCEPT_ENCODING, encoding)
            .body(Empty::new());
        self.respond(request.expect("the request is valid"))
    }

    /// Reads the response to a scrape and returns its size in bytes.
    fn respond(&self, request: Request<Empty<Bytes>>) -> usize {
        let mut exposition = self.exposition;
        let Ok(response) = exposition.call(request).into_inner();
        let mut body = response.into_body();
        let mut body = std::pin::Pin::new(&mut body);
        let mut cx = Context::from_waker(Waker::noop());
        let mut bytes = 0;
        while let Poll::Ready(Some(Ok(frame))) = body.as_mut().poll_frame(&mut cx) {
            bytes += frame.data_ref().map_or(0, Bytes::len);
        }
        bytes
    }
}

/// The crate `prometheus`: vectors and `TextEncoder`.
#[derive(Clone, Debug)]
pub struct PrometheusVectors {
    registry: Registry,
    duration: HistogramVec,
    request_size: HistogramVec,
    response_size: HistogramVec,
    in_flight: IntGaugeVec,
}

impl PrometheusVectors {
    /// Creates the vectors in a new registry.
    pub fn new() -> Self {
        let histogram = |name: &str, buckets: &[f64]| {
            let opts = HistogramOpts::new(name, "Same as in tower-metrics.");
            HistogramVec::new(opts.buckets(buckets.into()), &LABELS).expect("the name is valid")
        };
        // Only `+Inf`, because the sum and the count are sufficient.
        let none = [f64::INFINITY];
        let in_flight = Opts::new("http_server_active_requests", "Same as in tower-metrics.");
        let vectors = Self {
            registry: Registry::new(),
            duration: histogram("http_server_request_duration_seconds", &BOUNDS),
            request_size: histogram("http_server_request_body_size_bytes", &none),
            response_size: histogram("http_server_response_body_size_bytes", &none),
            in_flight: IntGaugeVec::new(in_flight, &[LABELS[0], LABELS[1], LABELS[4]])
                .expect("the name is valid"),
        };
        let collectors: [Box<dyn prometheus::core::Collector>; 4] = [
            Box::new(vectors.duration.clone()),
            Box::new(vectors.request_size.clone()),
            Box::new(vectors.response_size.clone()),
            Box::new(vectors.in_flight.clone()),
        ];
        for collector in collectors {
            let registered = vectors.registry.register(collector);
            registered.expect("the registry is new");
        }
        vectors
    }
}

impl Default for PrometheusVectors {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns the error type of a status.
fn error_type(status: &StatusCode) -> &str {
    if status.is_server_error() {
        status.as_str()
    } else {
        ""
    }
}

impl Store for PrometheusVectors {
    const NAME: &'static str = "prometheus";

    fn observe(&mut self, observed: &Observation) {
        let Observation {
            method,
            route,
            status,
            ..
        } = observed;
        let in_flight = [method.as_str(), route, "http"];
        let in_flight = self.in_flight.with_label_values(&in_flight);
        in_flight.inc();
        let error_type = error_type(status);
        let labels = [method.as_str(), route, status.as_str(), error_type, "http"];
        self.duration.with_label_values(&labels).observe(1e-6);
        self.request_size.with_label_values(&labels).observe(0.0);
        self.response_size.with_label_values(&labels).observe(9.0);
        in_flight.dec();
    }

    fn scrape(&self) -> usize {
        let text = TextEncoder::new().encode_to_string(&self.registry.gather());
        text.expect("the metrics are valid").len()
    }
}

/// The crate `prometheus-client`: families and its text encoder.
#[derive(Clone, Debug)]
pub struct PrometheusClient {
    registry: std::sync::Arc<prometheus_client::registry::Registry>,
    duration: Family<Labels, Histogram, fn() -> Histogram>,
    request_size: Family<Labels, Histogram, fn() -> Histogram>,
    response_size: Family<Labels, Histogram, fn() -> Histogram>,
    in_flight: Family<InFlight, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    http_request_method: &'static str,
    http_route: &'static str,
    http_response_status_code: u16,
    error_type: &'static str,
    url_scheme: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InFlight {
    http_request_method: &'static str,
    http_route: &'static str,
    url_scheme: &'static str,
}

impl PrometheusClient {
    /// Creates the families in a new registry.
    pub fn new() -> Self {
        let mut registry = prometheus_client::registry::Registry::default();
        let help = "Same as in tower-metrics";
        let mut histogram = |name: &str, new: fn() -> Histogram| {
            let family = Family::new_with_constructor(new);
            registry.register(name, help, Family::clone(&family));
            family
        };
        let duration = histogram("http_server_request_duration_seconds", || {
            Histogram::new(BOUNDS)
        });
        let request_size = histogram("http_server_request_body_size_bytes", || Histogram::new([]));
        let response_size = histogram(
            "http_server_response_body_size_bytes",
            || Histogram::new([]),
        );
        let in_flight = Family::default();
        registry.register(
            "http_server_active_requests",
            help,
            Family::clone(&in_flight),
        );
        Self {
            registry: registry.into(),
            duration,
            request_size,
            response_size,
            in_flight,
        }
    }
}

impl Default for PrometheusClient {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns a method as a `'static` label value.
fn method(method: &Method) -> &'static str {
    match *method {
        Method::POST => "POST",
        Method::DELETE => "DELETE",
        _ => "GET",
    }
}

impl Store for PrometheusClient {
    const NAME: &'static str = "prometheus-client";

    fn observe(&mut self, observed: &Observation) {
        let in_flight = InFlight {
            http_request_method: method(&observed.method),
            http_route: observed.route,
            url_scheme: "http",
        };
        self.in_flight.get_or_create(&in_flight).inc();
        let labels = Labels {
            http_request_method: method(&observed.method),
            http_route: observed.route,
            http_response_status_code: observed.status.as_u16(),
            error_type: if observed.status.is_server_error() {
                "500"
            } else {
                ""
            },
            url_scheme: "http",
        };
        self.duration.get_or_create(&labels).observe(1e-6);
        self.request_size.get_or_create(&labels).observe(0.0);
        self.response_size.get_or_create(&labels).observe(9.0);
        self.in_flight.get_or_create(&in_flight).dec();
    }

    fn scrape(&self) -> usize {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("writing to a string does not fail");
        text.len()
    }
}
