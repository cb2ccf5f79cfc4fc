//! The recorder into an OpenTelemetry meter.

mod builder;

use std::collections::HashMap;
use std::fmt;
use std::sync::{PoisonError, RwLock};

use foldhash::fast::RandomState;
use http::StatusCode;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, UpDownCounter};

pub use self::builder::OpenTelemetryBuilder;

use crate::grpc::GrpcStatus;
use crate::label::{LabelKey, LabelValues};
use crate::outcome::{CompletedRequest, ErrorType, InitialSeries};
use crate::recorder::{LabelError, Limit, Recorder};
use crate::table::Table;

/// Records requests into the instruments of an OpenTelemetry [`Meter`], by the
/// semantic conventions for HTTP.
///
/// ```
/// # use tower_metrics::{MetricsLayer, OpenTelemetry, Prometheus};
/// let meter = opentelemetry::global::meter("my-service");
///
/// // Instead of Prometheus:
/// let layer = MetricsLayer::new(OpenTelemetry::new(&meter));
/// // Beside it, with the same figures:
/// let layer = MetricsLayer::new((Prometheus::new(), OpenTelemetry::new(&meter)));
/// ```
///
/// The meter is that of the crate `opentelemetry` 0.33. Set the meter provider
/// before: a global meter that was taken earlier records nothing.
///
/// | instrument | unit | attributes |
/// |---|---|---|
/// | `http.server.request.duration`, a histogram | s | all |
/// | `http.server.request.body.size`, a histogram | By | all |
/// | `http.server.response.body.size`, a histogram | By | all |
/// | `http.server.active_requests`, an up-down counter | {request} | method, route, scheme |
/// | `tower_metrics.overflow`, a counter | {request} | `metric`, `limit` |
///
/// The attributes are `http.request.method`, `http.route`,
/// `http.response.status_code` (a number), `error.type`, `url.scheme`,
/// `rpc.response.status_code` for gRPC, and the layer's custom labels under
/// their own names. One that is empty is absent. On the gauge, `http.route` is
/// our addition to the convention.
///
/// Attributes are made once for each way in which the requests of a route end,
/// and kept for the life of the process: a request allocates nothing here. The
/// SDK looks the attributes up at each call, which is most of the cost.
/// It keeps 2,000 sets of attributes for each instrument unless a view says
/// otherwise; what comes later goes to `otel.metric.overflow`.
///
/// Exemplars are not recorded.
#[derive(Clone, Copy)]
pub struct OpenTelemetry(&'static Inner);

struct Inner {
    names: &'static Names,
    scheme: &'static str,
    duration: Histogram<f64>,
    time_to_head: Option<Histogram<f64>>,
    request_size: Histogram<f64>,
    response_size: Histogram<f64>,
    active: UpDownCounter<i64>,
    overflow: Counter<u64>,
    /// The limits whose overflow was warned of.
    warned: Table<()>,
}

/// What the convention calls it on one side of a connection.
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
const STATUS: &str = "http.response.status_code";
const ERROR_TYPE: &str = "error.type";
const GRPC_STATUS: &str = "rpc.response.status_code";

impl OpenTelemetry {
    /// A recorder by the convention for HTTP servers.
    pub fn new(meter: &Meter) -> Self {
        Self::builder(meter)
            .build()
            .expect("the convention's bounds are valid")
    }

    /// A recorder to be set up.
    pub fn builder(meter: &Meter) -> OpenTelemetryBuilder {
        OpenTelemetryBuilder::new(meter)
    }
}

/// A method and route, and the attributes of its requests.
#[derive(Debug)]
pub struct Endpoint {
    /// Those of a request in flight.
    begun: Box<[KeyValue]>,
    /// Those of requests that have ended.
    ended: RwLock<HashMap<Key, &'static [KeyValue], RandomState>>,
}

/// What tells the attributes of an endpoint's requests apart.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    status: Option<StatusCode>,
    error_type: ErrorType,
    grpc_status: Option<GrpcStatus>,
    labels: LabelKey,
}

impl Endpoint {
    /// The attributes of a request that ended like this one.
    fn ended(&self, end: &CompletedRequest<'_>) -> &'static [KeyValue] {
        let key = Key {
            status: end.status,
            error_type: end.error_type,
            grpc_status: end.grpc_status,
            labels: end.labels.key(),
        };
        let known = self.ended.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(attributes) = known.get(&key) {
            return attributes;
        }
        drop(known);
        self.ended
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(key)
            .or_insert_with(|| Vec::leak(self.attributes(end)))
    }

    fn attributes(&self, end: &CompletedRequest<'_>) -> Vec<KeyValue> {
        let status = end.status.map(|status| i64::from(status.as_u16()));
        let texts = [
            (ERROR_TYPE, end.error_type.as_str()),
            (GRPC_STATUS, end.grpc_status.map_or("", GrpcStatus::as_str)),
        ];
        let mut attributes = self.begun.to_vec();
        attributes.extend(status.map(|status| KeyValue::new(STATUS, status)));
        attributes.extend(present(texts.into_iter().chain(end.labels.iter())));
        sorted(attributes)
    }
}

/// The attributes that have a value.
fn present(
    all: impl Iterator<Item = (&'static str, &'static str)>,
) -> impl Iterator<Item = KeyValue> {
    all.filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| KeyValue::new(name, value))
}

/// The SDK keeps attributes as they come and sorted: so they are the same.
fn sorted(mut attributes: Vec<KeyValue>) -> Vec<KeyValue> {
    attributes.sort_by(|a, b| a.key.cmp(&b.key));
    attributes
}

impl Recorder for OpenTelemetry {
    type Series = &'static Endpoint;
    type InFlight = ();

    fn series(&self, method: &'static str, route: &'static str) -> &'static Endpoint {
        let names = self.0.names;
        let scheme = names.scheme.map(|name| (name, self.0.scheme));
        let own = [(METHOD, method), (names.route, route)];
        let begun = present(own.into_iter().chain(scheme)).collect();
        Box::leak(Box::new(Endpoint {
            begun: sorted(begun).into(),
            ended: RwLock::default(),
        }))
    }

    fn begin(&self, endpoint: &'static Endpoint) {
        self.0.active.add(1, &endpoint.begun);
    }

    fn end(&self, endpoint: &'static Endpoint, (): (), end: &CompletedRequest<'_>) {
        let attributes = endpoint.ended(end);
        self.0.record_duration(attributes, end);
        self.0.record_sizes(attributes, end);
        self.0.active.add(-1, &endpoint.begun);
    }

    fn abandon(&self, endpoint: &'static Endpoint, (): ()) {
        self.0.active.add(-1, &endpoint.begun);
    }

    fn declare_labels(&self, names: &[&'static str]) -> Result<(), LabelError> {
        let own = [METHOD, self.0.names.route, STATUS, ERROR_TYPE, GRPC_STATUS];
        for (i, name) in names.iter().enumerate() {
            let why = if name.is_empty() {
                "must not be empty"
            } else if own
                .iter()
                .chain(&self.0.names.scheme)
                .any(|own| own == name)
            {
                "it is an attribute of the convention"
            } else if names[..i].contains(name) {
                "it is used twice"
            } else {
                continue;
            };
            return Err(LabelError {
                name: (*name).to_owned(),
                why: why.to_owned(),
            });
        }
        Ok(())
    }

    /// Only the requests in flight can be shown at zero: a histogram has no
    /// point before its first value. It has a start time instead, by which a
    /// backend sees the first value as an increase.
    fn initialize(&self, endpoint: &'static Endpoint, _: InitialSeries, _: LabelValues<'_>) {
        self.0.active.add(0, &endpoint.begun);
    }

    fn overflowed(&self, limit: Limit) {
        let (metric, limit) = (self.0.names.duration, limit.as_str());
        let attributes = [
            KeyValue::new("limit", limit),
            KeyValue::new("metric", metric),
        ];
        self.0.overflow.add(1, &attributes);
        let mut first = false;
        self.0.warned.get_or_add(limit, || first = true);
        if first {
            tracing::warn!(
                metric,
                limit,
                "no place left for a new value; it and those that follow are counted as _OTHER"
            );
        }
    }

    fn wants_time_to_head(&self) -> bool {
        self.0.time_to_head.is_some()
    }
}

impl Inner {
    fn record_duration(&self, attributes: &[KeyValue], end: &CompletedRequest<'_>) {
        self.duration.record(seconds(end.duration), attributes);
        if let (Some(histogram), Some(time)) = (&self.time_to_head, end.time_to_head) {
            histogram.record(seconds(time), attributes);
        }
    }

    fn record_sizes(&self, attributes: &[KeyValue], end: &CompletedRequest<'_>) {
        self.request_size
            .record(end.request_size as f64, attributes);
        self.response_size
            .record(end.response_size as f64, attributes);
    }
}

/// Divided once, so that a duration that is a bound becomes that bound's own
/// number: `as_secs_f64` rounds twice.
fn seconds(duration: std::time::Duration) -> f64 {
    duration.as_nanos() as f64 / 1e9
}

impl fmt::Debug for OpenTelemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenTelemetry")
            .field("names", self.0.names)
            .finish_non_exhaustive()
    }
}
