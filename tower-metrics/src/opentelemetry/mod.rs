//! Recorder for an OpenTelemetry meter.

#[cfg(feature = "admission")]
mod admission;
mod builder;
#[cfg(feature = "connections")]
mod connections;
mod in_flight;
mod series;

use std::fmt;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter};

pub use self::builder::OpenTelemetryBuilder;

use self::series::{AllSeries, ERROR_TYPE, GRPC_STATUS, STATUS, Series, attribute_name};
use crate::completed_request::CompletedRequest;
use crate::error::LabelError;
use crate::initial_series::InitialSeries;
use crate::label::LabelValues;
use crate::recorder::{Limit, Recorder};
use crate::table::Table;

/// Recorder for the instruments of an OpenTelemetry [`Meter`].
///
/// Follows the OpenTelemetry semantic conventions for HTTP. The meter is that of the
/// crate `opentelemetry` 0.33.
///
/// | instrument | kind | unit | attributes |
/// |---|---|---|---|
/// | `http.server.request.duration` | histogram | s | all |
/// | `http.server.request.body.size` | histogram | By | all |
/// | `http.server.response.body.size` | histogram | By | all |
/// | `http.server.active_requests` | observable up-down counter | {request} | method, route, scheme |
/// | `tower_metrics.overflow` | counter | {request} | `metric`, `limit` |
///
/// The attributes are `http.request.method`, `http.route`,
/// `http.response.status_code` (an integer), `error.type`, `url.scheme`,
/// `rpc.status_code` for gRPC, and the custom labels of the layer. Empty
/// attributes are omitted. `http.route` on the up-down counter is not part of
/// the conventions.
///
/// Set the global meter provider before obtaining a meter from it: a meter obtained
/// earlier records nothing. Exemplars are not recorded.
///
/// # Cost
///
/// Histograms are bound to each combination of attributes once and never released, so
/// that a request neither allocates nor looks up attributes in the SDK. Requests in flight
/// are counted in the recorder, in 1,088 bytes per method and route, and an observable
/// instrument reports them. What remains are three histograms of the SDK, each behind a
/// mutex. Beside Prometheus, they make a request cost one and a half to two times as much.
///
/// Bound instruments are an experimental feature of the crates `opentelemetry` and
/// `opentelemetry_sdk`, which the feature `opentelemetry` enables in both. The meter must be
/// that of the SDK, because other implementations of the API may not support them.
///
/// The SDK limits each instrument to 2,000 sets of attributes, unless a view changes
/// it, and records further ones with the attribute `otel.metric.overflow`.
///
/// # Examples
///
/// ```
/// # use tower_metrics::{MetricsLayer, OpenTelemetry};
/// let meter = opentelemetry::global::meter("my-service");
///
/// let layer = MetricsLayer::new(OpenTelemetry::new(&meter));
/// ```
///
/// With a meter provider, in an axum router. The routes require the feature `axum`,
/// which `default-features = false` disables; without it, `http.route` is absent unless
/// [`MetricsLayerBuilder::route`](crate::MetricsLayerBuilder::route) sets the route:
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Router, routing::get};
/// use opentelemetry::global;
/// use opentelemetry_sdk::metrics::SdkMeterProvider;
/// use tower_metrics::{MetricsLayer, OpenTelemetry};
///
/// // Add a reader with the exporter, such as that of `opentelemetry-otlp`.
/// let provider = SdkMeterProvider::builder().build();
/// global::set_meter_provider(provider.clone());
///
/// let meter = global::meter("my-service");
/// let app: Router = Router::new()
///     .route("/concerts/{id}", get(|| async { "hello" }))
///     .layer(MetricsLayer::new(OpenTelemetry::new(&meter)));
///
/// // After the server has shut down, exports what was recorded since the last export.
/// provider.shutdown()?;
/// # }
/// # Ok::<_, opentelemetry_sdk::error::OTelSdkError>(())
/// ```
///
/// Together with Prometheus:
///
/// ```
/// # #[cfg(feature = "prometheus")] {
/// # use tower_metrics::{MetricsLayer, OpenTelemetry, Prometheus};
/// # let meter = opentelemetry::global::meter("my-service");
/// let layer = MetricsLayer::new((Prometheus::new(), OpenTelemetry::new(&meter)));
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct OpenTelemetry(&'static Inner);

struct Inner {
    names: &'static Names,
    scheme: &'static str,
    duration: Histogram<f64>,
    time_to_head: Option<Histogram<f64>>,
    request_size: Histogram<f64>,
    response_size: Histogram<f64>,
    series: &'static AllSeries,
    overflow: Counter<u64>,
    #[cfg(feature = "connections")]
    connections: connections::ConnectionInstruments,
    #[cfg(feature = "admission")]
    admission: admission::AdmissionInstruments,
    /// Limits that were exceeded, each of which is logged once.
    logged_limits: Table<()>,
}

/// Names of instruments and attributes for one side of a connection.
#[derive(Debug)]
struct Names {
    side: &'static str,
    duration: &'static str,
    time_to_head: &'static str,
    request_size: &'static str,
    response_size: &'static str,
    active: &'static str,
    route: &'static str,
    scheme: Option<&'static str>,
}

impl Names {
    const SERVER: Self = Self {
        side: "server",
        duration: "http.server.request.duration",
        time_to_head: "http.server.time_to_head",
        request_size: "http.server.request.body.size",
        response_size: "http.server.response.body.size",
        active: "http.server.active_requests",
        route: "http.route",
        scheme: Some("url.scheme"),
    };

    const CLIENT: Self = Self {
        side: "client",
        duration: "http.client.request.duration",
        time_to_head: "http.client.time_to_head",
        request_size: "http.client.request.body.size",
        response_size: "http.client.response.body.size",
        active: "http.client.active_requests",
        route: "url.template",
        scheme: None,
    };
}

const METHOD: &str = "http.request.method";

impl OpenTelemetry {
    /// Creates a recorder with the default settings, for a server.
    pub fn new(meter: &Meter) -> Self {
        Self::builder(meter)
            .build()
            .expect("the default bounds are valid")
    }

    /// Creates a builder with the default settings.
    pub fn builder(meter: &Meter) -> OpenTelemetryBuilder {
        OpenTelemetryBuilder::new(meter)
    }
}

impl Recorder for OpenTelemetry {
    type Series = &'static Series;
    type InFlight = ();

    fn series(&self, method: &'static str, route: &'static str) -> &'static Series {
        let names = self.0.names;
        let scheme = names.scheme.map(|name| (name, self.0.scheme));
        let attributes = [(METHOD, method), (names.route, route)];
        let attributes = attributes.into_iter().chain(scheme);
        let series = self.0.series;
        series.get_or_insert(method, route, || Series::new(attributes))
    }

    #[inline]
    fn begin(&self, series: &'static Series) {
        series.in_flight.begin();
    }

    fn end(&self, series: &'static Series, (): (), request: &CompletedRequest<'_>) {
        series.completed(self.0, request).record(request);
        series.in_flight.end();
    }

    fn abandon(&self, series: &'static Series, (): ()) {
        series.in_flight.end();
    }

    fn declare_labels(&self, names: &[&'static str]) -> Result<(), LabelError> {
        let reserved = [METHOD, self.0.names.route, STATUS, ERROR_TYPE, GRPC_STATUS];
        let reserved = reserved.iter().chain(&self.0.names.scheme);
        for (i, name) in names.iter().enumerate() {
            let why = if name.is_empty() {
                "must not be empty"
            } else if reserved.clone().any(|reserved| reserved == name) {
                "the semantic conventions define an attribute of this name"
            } else if names[..i]
                .iter()
                .any(|other| attribute_name(other) == attribute_name(name))
            {
                "used twice"
            } else {
                continue;
            };
            return Err(LabelError::new(*name, why));
        }
        Ok(())
    }

    /// Does nothing: the up-down counter of active requests shows every series.
    ///
    /// A histogram has no data point before its first value. It has a start time
    /// instead, which lets a backend treat the first value as an increase.
    fn initialize(&self, _: &'static Series, _: InitialSeries, _: LabelValues<'_>) {}

    fn overflowed(&self, limit: Limit) {
        let (metric, limit) = (self.0.names.duration, limit.as_str());
        let attributes = [
            KeyValue::new("limit", limit),
            KeyValue::new("metric", metric),
        ];
        self.0.overflow.add(1, &attributes);
        let mut is_first = false;
        self.0
            .logged_limits
            .get_or_insert(limit, || is_first = true);
        if is_first {
            tracing::warn!(
                metric,
                limit,
                "cardinality limit reached; further values are recorded as _OTHER"
            );
        }
    }

    fn wants_time_to_head(&self) -> bool {
        self.0.time_to_head.is_some()
    }
}

/// Converts a duration to seconds.
///
/// Rounds once, so that a duration that equals a bound converts to the same number.
/// `as_secs_f64` rounds twice.
fn seconds(duration: std::time::Duration) -> f64 {
    let nanos = duration.as_secs().saturating_mul(1_000_000_000);
    nanos.saturating_add(duration.subsec_nanos().into()) as f64 / 1e9
}

impl fmt::Debug for OpenTelemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenTelemetry")
            .field("names", self.0.names)
            .finish_non_exhaustive()
    }
}
