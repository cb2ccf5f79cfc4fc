//! Builder of the layer.

mod build;

use std::fmt;
use std::marker::PhantomData;

use http::Method;

use crate::classify::ServiceError;
use crate::error_type::ErrorType;
use crate::head::RequestHead;
use crate::initial_series::InitialSeries;
use crate::label::Label;
use crate::layer::MetricsLayer;
use crate::recorder::Recorder;
use crate::request_body::CountRequestBytes;
use crate::route::{DurationFrom, DurationTo, Route};
use crate::routes::RouteSettings;
use crate::side::Side;
use crate::trace_id::{TraceId, TraceIdFn};

/// Methods of the OpenTelemetry semantic conventions. `QUERY` follows them.
const METHODS: [Method; 9] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::HEAD,
    Method::PATCH,
    Method::OPTIONS,
    Method::CONNECT,
    Method::TRACE,
];

impl<R: Recorder> MetricsLayer<R> {
    /// Creates a layer with the default settings.
    pub fn new(recorder: R) -> Self {
        Self::builder(recorder).finish()
    }

    /// Creates a builder with the default settings.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "prometheus")] {
    /// use tower_metrics::{MetricsLayer, Prometheus};
    ///
    /// let layer = MetricsLayer::builder(Prometheus::new())
    ///     .max_routes(200)
    ///     .skip(["/healthz"])
    ///     .build()?;
    /// # }
    /// # Ok::<_, tower_metrics::BuildError>(())
    /// ```
    pub fn builder(recorder: R) -> MetricsLayerBuilder<R> {
        let mut methods = Vec::from(METHODS);
        methods.extend(Method::from_bytes(b"QUERY"));
        MetricsLayerBuilder {
            recorder,
            classify: ServiceError,
            route: Route::default(),
            methods,
            max_routes: 1000,
            routes: RouteSettings::default(),
            initialize: Vec::new(),
            labels: Vec::new(),
            grpc: false,
            side: Side::Server,
            trace_id: None,
            counts_request_bytes: false,
            duration_from: DurationFrom::Head,
            network_protocol_version: false,
            request_bodies: PhantomData,
        }
    }
}

/// Builder for [`MetricsLayer`].
///
/// [`MetricsLayer::builder`] creates it.
#[must_use = "builders do nothing unless you call `build`"]
pub struct MetricsLayerBuilder<R: Recorder, C: 'static = ServiceError, Q = ()> {
    recorder: R,
    classify: C,
    route: Route,
    methods: Vec<Method>,
    max_routes: usize,
    routes: RouteSettings,
    initialize: Vec<(Method, String, InitialSeries)>,
    labels: Vec<Label>,
    grpc: bool,
    side: Side,
    trace_id: Option<TraceIdFn>,
    counts_request_bytes: bool,
    duration_from: DurationFrom,
    network_protocol_version: bool,
    request_bodies: PhantomData<fn() -> Q>,
}

impl<R: Recorder, C, Q> MetricsLayerBuilder<R, C, Q> {
    /// Sets the source of the route.
    ///
    /// Defaults to `Route::matched_path()` with the feature `axum`, and otherwise to
    /// the empty route.
    pub fn route(mut self, route: Route) -> Self {
        self.route = route;
        self
    }

    /// Sets the methods that are recorded individually. All others are recorded as
    /// `_OTHER`.
    ///
    /// 1 to 200 methods are allowed. Defaults to the methods of the OpenTelemetry
    /// semantic conventions: `GET`, `POST`, `PUT`, `DELETE`, `HEAD`, `PATCH`,
    /// `OPTIONS`, `CONNECT`, `TRACE` and `QUERY`.
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods = methods.into_iter().collect();
        self
    }

    /// Sets the maximum number of routes. Further routes are recorded as `_OTHER` and
    /// counted in `tower_metrics_overflow_total`.
    ///
    /// Must be between the number of routes passed to [`initialize`](Self::initialize)
    /// and 1,000,000. Defaults to 1,000. A slot takes no memory until it is used.
    pub fn max_routes(mut self, max: usize) -> Self {
        self.max_routes = max;
        self
    }

    /// Excludes routes from the metrics, in addition to those of previous calls.
    ///
    /// Routes are templates such as `/users/{id}`. [`Skip`](crate::Skip) excludes
    /// requests by their extensions.
    ///
    /// # Errors
    ///
    /// [`build`](Self::build) returns an error for a route that the layer can
    /// never record, such as `healthz` without a slash for
    /// [`Route::path`](crate::Route::path).
    pub fn skip<I>(mut self, routes: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.routes.skip.extend(routes.into_iter().map(Into::into));
        self
    }

    /// Creates series of a route before their first request, in addition to those of
    /// previous calls.
    ///
    /// They are exported with the value 0, so that `increase()` sees the first request
    /// and the first error. See [`InitialSeries`] for what a series can be created
    /// from. Labels with enum values multiply the number of series: there is one for
    /// each combination of values, including the empty ones.
    ///
    /// At most 100,000 series are allowed in total. Defaults to none.
    ///
    /// # Errors
    ///
    /// [`build`](Self::build) returns an error for a route that the layer can never
    /// record, and for too many series.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "prometheus")] {
    /// use http::{Method, StatusCode};
    /// use tower_metrics::{ErrorType, InitialSeries, MetricsLayer, Prometheus};
    ///
    /// let layer = MetricsLayer::builder(Prometheus::new())
    ///     .initialize(
    ///         Method::POST,
    ///         "/concerts/{id}/purchases",
    ///         [
    ///             InitialSeries::from(StatusCode::CREATED),
    ///             (StatusCode::SERVICE_UNAVAILABLE, ErrorType::SHED).into(),
    ///             ErrorType::CANCELLED.into(),
    ///         ],
    ///     )
    ///     .build()?;
    /// # }
    /// # Ok::<_, tower_metrics::BuildError>(())
    /// ```
    pub fn initialize<I>(mut self, method: Method, route: impl Into<String>, series: I) -> Self
    where
        I: IntoIterator<Item: Into<InitialSeries>>,
    {
        let route = route.into();
        let series = series
            .into_iter()
            .map(|series| (method.clone(), route.clone(), series.into()));
        self.initialize.extend(series);
        self
    }

    /// Adds a custom label, in addition to those of previous calls.
    ///
    /// At most [`MAX_LABELS`](crate::MAX_LABELS) labels are allowed. Defaults to none.
    ///
    /// # Errors
    ///
    /// [`build`](Self::build) returns an error for a name that the recorder does not
    /// accept, and for `routes`, which
    /// `tower_metrics_overflow_total` reserves for the route limit.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "prometheus")] {
    /// use tower_metrics::{Label, MetricsLayer, Prometheus};
    ///
    /// let layer = MetricsLayer::builder(Prometheus::new())
    ///     .label(Label::from_request("tenant", 50, |head| {
    ///         Some(head.headers.get("x-tenant")?.to_str().ok()?.into())
    ///     }))
    ///     .build()?;
    /// # }
    /// # Ok::<_, tower_metrics::BuildError>(())
    /// ```
    pub fn label(mut self, label: Label) -> Self {
        self.labels.push(label);
        self
    }

    /// Sets whether to add the label `network_protocol_version` of the OpenTelemetry
    /// semantic conventions, whose values are `1.0`, `1.1`, `2` and `3`.
    ///
    /// It is the version of the request, and around a [client](Self::client) that of the
    /// response, because the connection decides it. It counts as one of the
    /// [`MAX_LABELS`](crate::MAX_LABELS) custom labels. The OpenTelemetry recorder names it
    /// `network.protocol.version`. Defaults to `false`.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "prometheus")] {
    /// use tower_metrics::{MetricsLayer, Prometheus};
    ///
    /// let layer = MetricsLayer::builder(Prometheus::new())
    ///     .network_protocol_version(true)
    ///     .build()?;
    /// # }
    /// # Ok::<_, tower_metrics::BuildError>(())
    /// ```
    pub fn network_protocol_version(mut self, enabled: bool) -> Self {
        self.network_protocol_version = enabled;
        self
    }

    /// Sets whether to record the status of gRPC calls.
    ///
    /// The route of a call is its path, `/package.Service/Method`, and its status comes
    /// from the trailers or from the head. A request is a gRPC call if its content type
    /// is `application/grpc`; other requests are not affected. A method gets a slot
    /// among the routes as described at [`Route::from_fn`]; around a
    /// [client](Self::client) it always gets one.
    ///
    /// Defaults to `false`.
    pub fn grpc(mut self, enabled: bool) -> Self {
        self.grpc = enabled;
        self
    }

    /// Sets whether the layer wraps a client instead of a server.
    ///
    /// For a client, 4xx responses are errors in addition to 5xx responses, and so is
    /// every gRPC status except `OK`, following the OpenTelemetry semantic
    /// conventions.
    ///
    /// Defaults to `false`.
    ///
    /// # Examples
    ///
    /// [`ErrorType::NONE`] in the extensions of a response excludes a 4xx that the
    /// caller expects from the errors:
    ///
    /// ```
    /// # #[cfg(feature = "prometheus")] {
    /// # use http::{Response, StatusCode};
    /// # use tower::ServiceBuilder;
    /// # use tower_metrics::{ErrorType, MetricsLayer, Names, Prometheus};
    /// let prometheus = Prometheus::builder().names(Names::open_telemetry_client()).build()?;
    /// let layers = ServiceBuilder::new()
    ///     .layer(MetricsLayer::builder(prometheus).client(true).build()?)
    ///     .map_response(|mut response: Response<String>| {
    ///         if response.status() == StatusCode::NOT_FOUND {
    ///             response.extensions_mut().insert(ErrorType::NONE);
    ///         }
    ///         response
    ///     });
    /// # }
    /// # Ok::<_, tower_metrics::BuildError>(())
    /// ```
    pub fn client(mut self, enabled: bool) -> Self {
        self.side = if enabled { Side::Client } else { Side::Server };
        self
    }

    /// Sets where the duration of requests starts.
    ///
    /// With [`DurationFrom::Body`], the duration and the time to the response head start
    /// when the service last read from the request body, so that slow uploads do not
    /// count as time of the server. The time before that, such as in a queue or in an
    /// authentication layer, does not count either. For a request without a body, or
    /// whose body the service does not read, the duration starts when the service is
    /// called. For a bidirectional stream, it starts at the last message of the client.
    /// Around a [client](Self::client), it starts when the request was sent.
    ///
    /// The inner service receives request bodies wrapped in
    /// [`RequestBody`](crate::RequestBody), as described at
    /// [`count_request_bytes`](Self::count_request_bytes). It costs as much, and a clock
    /// read per frame.
    ///
    /// Defaults to [`DurationFrom::Head`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(all(feature = "axum", feature = "prometheus"))] {
    /// use axum::{Router, body::Bytes, routing::put};
    /// use tower_metrics::{DurationFrom, MetricsLayer, Prometheus};
    ///
    /// let metrics = MetricsLayer::builder(Prometheus::new())
    ///     .duration_from(DurationFrom::Body)
    ///     .build()?;
    /// let app: Router = Router::new()
    ///     .route("/photos/{id}", put(|_photo: Bytes| async { "thank you" }))
    ///     .layer(metrics);
    /// # }
    /// # Ok::<_, tower_metrics::BuildError>(())
    /// ```
    pub fn duration_from(
        mut self,
        from: DurationFrom,
    ) -> MetricsLayerBuilder<R, C, CountRequestBytes> {
        self.duration_from = from;
        self.with_types(|classify| classify)
    }

    /// Sets where the duration of requests ends.
    ///
    /// Defaults to [`DurationTo::Body`]. The duration of event streams and upgrades
    /// always ends at the head.
    pub fn duration_to(mut self, to: DurationTo) -> Self {
        self.routes.duration_to = to;
        self
    }

    /// Sets where the duration of one route's requests ends.
    ///
    /// Takes precedence over [`duration_to`](Self::duration_to). The last call for a
    /// route wins.
    ///
    /// # Errors
    ///
    /// [`build`](Self::build) returns an error for a route that the layer can never
    /// record.
    pub fn route_duration_to(mut self, route: impl Into<String>, to: DurationTo) -> Self {
        self.routes.route_duration_to.push((route.into(), to));
        self
    }

    /// Sets a function that returns the trace ID of a request, and records exemplars on
    /// the duration histogram with it.
    ///
    /// It should return the IDs of sampled traces only, because an exemplar must refer to
    /// a trace that can be looked up. [`TraceId::from_traceparent`] does, and so does
    /// `TraceId::from_current_span` with the feature `tracing-opentelemetry`.
    ///
    /// Prometheus scrapes exemplars in OpenMetrics and protobuf, and stores them with
    /// `--enable-feature=exemplar-storage`. To see them, run
    /// `curl -H 'Accept: application/openmetrics-text' http://127.0.0.1:8080/metrics`.
    ///
    /// Defaults to no exemplars.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "prometheus")] {
    /// # use tower_metrics::{MetricsLayer, Prometheus, TraceId};
    /// let layer = MetricsLayer::builder(Prometheus::new())
    ///     .exemplars(|head| TraceId::from_traceparent(head.headers))
    ///     .build()?;
    /// # }
    /// # Ok::<_, tower_metrics::BuildError>(())
    /// ```
    pub fn exemplars<F>(mut self, trace_id: F) -> Self
    where
        F: Fn(&RequestHead<'_>) -> Option<TraceId> + Send + Sync + 'static,
    {
        self.trace_id = Some(Box::new(trace_id));
        self
    }

    /// Sets a function that classifies the errors of the inner service.
    ///
    /// Defaults to [`ErrorType::SERVICE_ERROR`] for all errors.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(feature = "prometheus")] {
    /// # use tower_metrics::{ErrorType, MetricsLayer, Prometheus};
    /// let layer = MetricsLayer::builder(Prometheus::new())
    ///     .classify_error(|error: &std::io::Error| match error.kind() {
    ///         std::io::ErrorKind::TimedOut => ErrorType::TIMEOUT,
    ///         _ => ErrorType::SERVICE_ERROR,
    ///     })
    ///     .build()?;
    /// # }
    /// # Ok::<_, tower_metrics::BuildError>(())
    /// ```
    pub fn classify_error<E, F>(self, classify: F) -> MetricsLayerBuilder<R, F, Q>
    where
        F: Fn(&E) -> ErrorType,
    {
        self.with_types(|_| classify)
    }

    /// Sets whether the size of a request is the number of bytes that the service has
    /// read of its body when the request ends.
    ///
    /// By default, the size is the exact size of the body or its `Content-Length`, and
    /// the body is not inspected: a chunked upload counts as 0 bytes, and an upload that
    /// the service rejects without reading it counts in full. Around a
    /// [client](Self::client), the bytes that were sent are counted.
    ///
    /// The inner service receives request bodies wrapped in
    /// [`RequestBody`](crate::RequestBody), whether counting is enabled or not. Routers
    /// of axum and tonic and most layers accept any body. For a layer that requires
    /// axum's own, such as `axum::middleware::from_fn` in the same `ServiceBuilder`, add
    /// `.map_request(|request: Request<_>| request.map(Body::new))` before it.
    ///
    /// Counting costs three or four small allocations per request and an atomic
    /// addition per frame.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[cfg(all(feature = "axum", feature = "prometheus"))] {
    /// use axum::{Router, body::Bytes, routing::put};
    /// use tower_metrics::{MetricsLayer, Prometheus};
    ///
    /// let metrics = MetricsLayer::builder(Prometheus::new())
    ///     .count_request_bytes(true)
    ///     .build()?;
    /// let app: Router = Router::new()
    ///     .route("/photos/{id}", put(|_photo: Bytes| async { "thank you" }))
    ///     .layer(metrics);
    /// # }
    /// # Ok::<_, tower_metrics::BuildError>(())
    /// ```
    pub fn count_request_bytes(
        mut self,
        enabled: bool,
    ) -> MetricsLayerBuilder<R, C, CountRequestBytes> {
        self.counts_request_bytes = enabled;
        self.with_types(|classify| classify)
    }

    fn with_types<D, P>(self, classify: impl FnOnce(C) -> D) -> MetricsLayerBuilder<R, D, P> {
        MetricsLayerBuilder {
            classify: classify(self.classify),
            recorder: self.recorder,
            route: self.route,
            methods: self.methods,
            max_routes: self.max_routes,
            routes: self.routes,
            initialize: self.initialize,
            labels: self.labels,
            grpc: self.grpc,
            side: self.side,
            trace_id: self.trace_id,
            counts_request_bytes: self.counts_request_bytes,
            duration_from: self.duration_from,
            network_protocol_version: self.network_protocol_version,
            request_bodies: PhantomData,
        }
    }
}

impl<R: Recorder, C, Q> fmt::Debug for MetricsLayerBuilder<R, C, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsLayerBuilder")
            .field("route", &self.route)
            .field("methods", &self.methods)
            .field("max_routes", &self.max_routes)
            .field("routes", &self.routes)
            .field("initialize", &self.initialize)
            .field("labels", &self.labels)
            .field("grpc", &self.grpc)
            .field("side", &self.side)
            .field("counts_request_bytes", &self.counts_request_bytes)
            .field("duration_from", &self.duration_from)
            .field("network_protocol_version", &self.network_protocol_version)
            .finish_non_exhaustive()
    }
}
