//! The layer and its builder.

use std::collections::BTreeSet;
use std::fmt;
use std::marker::PhantomData;

use http::Method;
use tower_layer::Layer;

use crate::error::BuildError;
use crate::flight::Shared;
use crate::head::RequestHead;
use crate::label::{Label, LabelNumbers, LabelValues, MAX_LABELS};
use crate::outcome::{ErrorType, InitialSeries, Side};
use crate::recorder::{LabelError, Limit, Recorder};
use crate::request_body::{CountRequestBytes, RequestBodyService};
use crate::route::{Route, RouteSettings, Routes};
use crate::service::MetricsService;
use crate::trace_id::TraceId;

/// Leaves a request out of the figures.
///
/// In a response's extensions it marks a route, so that the route itself says
/// it. With axum:
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Extension, Router, routing::get};
/// use tower_metrics::Skip;
///
/// let app: Router = Router::new().route("/healthz", get(|| async { (Extension(Skip), "ok") }));
/// # }
/// ```
///
/// In a request's extensions, put there by a layer outside, it leaves out that
/// one request. A request that is dropped before its response is marked counts
/// as cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skip;

/// Where a request's duration ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum DurationTo {
    /// At the response's head: how long the server took to answer.
    Head,
    /// At the end of the response: how long the user waited.
    #[default]
    Body,
}

/// Tells what an error of the inner service is about: every
/// `Fn(&E) -> ErrorType`, which [`MetricsLayerBuilder::classify_error`] is given, and
/// [`ServiceError`]. Nothing else can implement it.
pub trait ClassifyError<E>: sealed::Sealed<E> {
    /// The error's type.
    fn classify(&self, error: &E) -> ErrorType;
}

mod sealed {
    use crate::outcome::ErrorType;

    impl<E, F: Fn(&E) -> ErrorType> Sealed<E> for F {}
    impl<E> Sealed<E> for super::ServiceError {}

    pub trait Sealed<E> {}
}

impl<E, F: Fn(&E) -> ErrorType> ClassifyError<E> for F {
    fn classify(&self, error: &E) -> ErrorType {
        self(error)
    }
}

/// Calls every error `service_error`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServiceError;

impl<E> ClassifyError<E> for ServiceError {
    fn classify(&self, _: &E) -> ErrorType {
        ErrorType::SERVICE_ERROR
    }
}

/// Counts the requests of the services it is put around, and tells them to a
/// [`Recorder`].
///
/// What it needs lives as long as the process: make one layer for a service,
/// not one for a request.
///
/// `C` tells errors of the service apart; `Q` is [`CountRequestBytes`] where
/// what is read of request bodies is counted.
pub struct MetricsLayer<R: Recorder, C: 'static = ServiceError, Q = ()> {
    shared: &'static Shared<R>,
    classify: &'static C,
    request_bodies: PhantomData<fn() -> Q>,
}

impl<R: Recorder> MetricsLayer<R> {
    /// A layer with the default settings.
    pub fn new(recorder: R) -> Self {
        MetricsLayerBuilder::new(recorder).finish()
    }

    /// A layer to be set up.
    pub fn builder(recorder: R) -> MetricsLayerBuilder<R> {
        MetricsLayerBuilder::new(recorder)
    }
}

impl<S, R: Recorder, C> Layer<S> for MetricsLayer<R, C> {
    type Service = MetricsService<S, R, C>;

    fn layer(&self, inner: S) -> Self::Service {
        MetricsService::new(inner, self.shared, self.classify)
    }
}

impl<S, R: Recorder, C> Layer<S> for MetricsLayer<R, C, CountRequestBytes> {
    type Service = MetricsService<RequestBodyService<S>, R, C>;

    fn layer(&self, inner: S) -> Self::Service {
        let inner = RequestBodyService::new(inner);
        MetricsService::new(inner, self.shared, self.classify)
    }
}

impl<R: Recorder, C, Q> Clone for MetricsLayer<R, C, Q> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R: Recorder, C, Q> Copy for MetricsLayer<R, C, Q> {}

impl<R: Recorder, C, Q> fmt::Debug for MetricsLayer<R, C, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsLayer")
            .field("route", &self.shared.route)
            .field("labels", &self.shared.labels)
            .field("counts_request_bytes", &self.shared.counts_request_bytes)
            .finish_non_exhaustive()
    }
}

/// Sets up a [`MetricsLayer`].
#[must_use = "a builder does nothing until `build`"]
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
    request_bodies: PhantomData<fn() -> Q>,
}

pub(crate) type TraceIdFn = Box<dyn Fn(&RequestHead<'_>) -> Option<TraceId> + Send + Sync>;

/// A table with more places is a mistake: its memory is taken at once.
const MAX_ROUTES: usize = 1_000_000;

/// More than Prometheus should take from one process.
const MAX_INITIAL_SERIES: usize = 100_000;

/// The methods of the OpenTelemetry HTTP convention, the frequent ones first.
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

impl<R: Recorder> MetricsLayerBuilder<R> {
    fn new(recorder: R) -> Self {
        let mut methods = Vec::from(METHODS);
        methods.extend(Method::from_bytes(b"QUERY"));
        Self {
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
            request_bodies: PhantomData,
        }
    }
}

impl<R: Recorder, C, Q> MetricsLayerBuilder<R, C, Q> {
    /// Where a request's route comes from. Default: axum's `MatchedPath` with
    /// the feature `axum`, otherwise no route.
    pub fn route(mut self, route: Route) -> Self {
        self.route = route;
        self
    }

    /// The methods that are told apart, 1 to 200; every other one is `_OTHER`.
    /// Default: those of the OpenTelemetry convention, `QUERY` among them.
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.methods = methods.into_iter().collect();
        self
    }

    /// How many routes are told apart, from as many as
    /// [`initialize`](Self::initialize) names to 1,000,000; those that come
    /// later are `_OTHER`. Default: 1,000. Each place takes some 200 bytes from
    /// the start.
    pub fn max_routes(mut self, max: usize) -> Self {
        self.max_routes = max;
        self
    }

    /// Routes that are left out, as templates.
    pub fn skip<I>(mut self, routes: I) -> Self
    where
        I: IntoIterator<Item: Into<String>>,
    {
        self.routes.skip.extend(routes.into_iter().map(Into::into));
        self
    }

    /// Shows a route's figures from the start, at zero, so that `increase()`
    /// sees its first request and its first error. Name the ways in which its
    /// requests may end, as [`InitialSeries`] has them: statuses, and, where a response
    /// carries an [`ErrorType`](crate::ErrorType), the error types too; for gRPC
    /// its own statuses. With [labels](Self::label) of an enum there is a series
    /// for each of its values, and one without; with several, for each
    /// combination. At most 100,000 series in all.
    pub fn initialize<I>(mut self, method: Method, route: impl Into<String>, endings: I) -> Self
    where
        I: IntoIterator<Item: Into<InitialSeries>>,
    {
        let route = route.into();
        let series = endings
            .into_iter()
            .map(|ending| (method.clone(), route.clone(), ending.into()));
        self.initialize.extend(series);
        self
    }

    /// Adds a label of your own; up to four.
    pub fn label(mut self, label: Label) -> Self {
        self.labels.push(label);
        self
    }

    /// Reads the status of gRPC calls and takes their path as the route.
    /// Requests are gRPC by their content type; others are as without it.
    /// Default: off.
    pub fn grpc(mut self, enabled: bool) -> Self {
        self.grpc = enabled;
        self
    }

    /// Sets whether the layer wraps a client instead of a server.
    ///
    /// For a client, 4xx responses are errors in addition to 5xx responses, and
    /// so is every gRPC status except `OK`, as the OpenTelemetry semantic
    /// conventions define it. Defaults to `false`.
    ///
    /// A 4xx that the caller expects can be excluded from the errors with
    /// [`ErrorType::NONE`] in the response's extensions:
    ///
    /// ```
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
    /// # Ok::<_, tower_metrics::BuildError>(())
    /// ```
    pub fn client(mut self, enabled: bool) -> Self {
        self.side = if enabled { Side::Client } else { Side::Server };
        self
    }

    /// Where the duration ends. Default: [`DurationTo::Body`].
    pub fn duration_to(mut self, to: DurationTo) -> Self {
        self.routes.duration_to = to;
        self
    }

    /// Where the duration ends, for one route. Of several for the same route
    /// the last one holds.
    pub fn route_duration_to(mut self, route: impl Into<String>, to: DurationTo) -> Self {
        self.routes.route_duration_to.push((route.into(), to));
        self
    }

    /// Records exemplars on the duration histogram, with the trace id that
    /// this finds in the request's head: that of a trace that is sampled, or
    /// the exemplar leads nowhere. With the feature
    /// `tracing-opentelemetry`, `TraceId::from_current_span` finds it too.
    /// Default: none.
    ///
    /// ```
    /// # use tower_metrics::{MetricsLayer, Prometheus, TraceId};
    /// # let prometheus = Prometheus::new();
    /// let layer = MetricsLayer::builder(prometheus)
    ///     .exemplars(|head| TraceId::from_traceparent(head.headers))
    ///     .build()?;
    /// # Ok::<_, tower_metrics::BuildError>(())
    /// ```
    pub fn exemplars<F>(mut self, trace_id: F) -> Self
    where
        F: Fn(&RequestHead<'_>) -> Option<TraceId> + Send + Sync + 'static,
    {
        self.trace_id = Some(Box::new(trace_id));
        self
    }

    /// Tells errors of the inner service apart, by a function of its error's
    /// type. Default: all are `service_error`.
    ///
    /// ```
    /// # use tower_metrics::{ErrorType, MetricsLayer, Prometheus};
    /// # let prometheus = Prometheus::new();
    /// let layer = MetricsLayer::builder(prometheus)
    ///     .classify_error(|error: &std::io::Error| match error.kind() {
    ///         std::io::ErrorKind::TimedOut => ErrorType::TIMEOUT,
    ///         _ => ErrorType::SERVICE_ERROR,
    ///     })
    ///     .build()?;
    /// # Ok::<_, tower_metrics::BuildError>(())
    /// ```
    pub fn classify_error<E, F>(self, classify: F) -> MetricsLayerBuilder<R, F, Q>
    where
        F: Fn(&E) -> ErrorType,
    {
        self.retype(|_| classify)
    }

    /// Takes as a request's size the bytes that the service has read of its
    /// body when the request ends. Default: its `Content-Length` or the
    /// body's exact size, without a look at the body: an upload in chunks
    /// counts as 0, and one that the service refused unread as a whole. Around
    /// a [client](Self::client) it is what was sent.
    ///
    /// The service inside then meets its requests' bodies within a
    /// [`RequestBody`](crate::RequestBody). Routers of axum and tonic and most
    /// layers take any body; for one right inside that insists on axum's, such
    /// as `axum::middleware::from_fn` in the same `ServiceBuilder`, put
    /// `.map_request(|request: Request<_>| request.map(Body::new))` between.
    /// It costs three or four small allocations a request and a look at each
    /// frame.
    ///
    /// ```
    /// # #[cfg(feature = "axum")] {
    /// use axum::{Router, body::Bytes, routing::put};
    /// use tower_metrics::{MetricsLayer, Prometheus};
    ///
    /// let prometheus = Prometheus::new();
    /// let metrics = MetricsLayer::builder(prometheus)
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
        self.retype(|classify| classify)
    }

    /// The same settings in a builder of another type.
    fn retype<D, P>(self, classify: impl FnOnce(C) -> D) -> MetricsLayerBuilder<R, D, P> {
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
            request_bodies: PhantomData,
        }
    }

    /// Makes the layer.
    ///
    /// # Errors
    ///
    /// Where a setting is out of range, or the recorder cannot take a label.
    pub fn build(self) -> Result<MetricsLayer<R, C, Q>, BuildError> {
        if self.labels.len() > MAX_LABELS {
            return Err(BuildError::TooManyLabels {
                count: self.labels.len(),
                max: MAX_LABELS,
            });
        }
        if self.methods.is_empty() || self.methods.len() > 200 {
            return Err(BuildError::Methods {
                count: self.methods.len(),
            });
        }
        let named: BTreeSet<_> = self.initialize.iter().map(|(_, route, _)| route).collect();
        let named = named.iter().filter(|route| !route.is_empty()).count();
        if !(named..=MAX_ROUTES).contains(&self.max_routes) {
            return Err(BuildError::MaxRoutes {
                max: self.max_routes,
                named,
            });
        }
        self.check_routes()?;
        let series = self
            .initialize
            .iter()
            .map(|(_, _, ending)| LabelNumbers::count_known(&self.labels, ending.status.is_some()));
        let count = series.fold(0, usize::saturating_add);
        if count > MAX_INITIAL_SERIES {
            return Err(BuildError::InitialSeries {
                count,
                max: MAX_INITIAL_SERIES,
            });
        }
        let names: Vec<_> = self.labels.iter().map(Label::name).collect();
        let routes = Limit::Routes.as_str();
        if names.contains(&routes) {
            let why = "the limit of routes has this name in tower_metrics_overflow_total";
            return Err(LabelError::new(routes, why).into());
        }
        self.recorder.declare_labels(&names)?;
        Ok(self.finish())
    }

    /// Checks that requests can have the routes that the settings name.
    fn check_routes(&self) -> Result<(), BuildError> {
        let skip = self.routes.skip.iter().map(|route| ("skip", route));
        let initialize = self
            .initialize
            .iter()
            .map(|(_, route, _)| ("initialize", route));
        let duration_to = self.routes.route_duration_to.iter();
        let duration_to = duration_to.map(|(route, _)| ("route_duration_to", route));
        let named = skip.chain(initialize).chain(duration_to);
        let named = named.map(|(setting, route)| (setting, &**route));
        let fixed = self.route.fixed_name().map(|route| ("route", route));
        for (setting, route) in named.chain(fixed) {
            if let Some(why) = self.route.refuses(route) {
                return Err(BuildError::Route {
                    setting,
                    route: route.to_owned(),
                    why,
                });
            }
        }
        Ok(())
    }

    fn finish(self) -> MetricsLayer<R, C, Q> {
        let shared: &'static Shared<R> = Box::leak(Box::new(Shared {
            time_to_head: self.recorder.wants_time_to_head(),
            asks: self.grpc
                || !self.labels.is_empty()
                || self.trace_id.is_some()
                || self.counts_request_bytes,
            counts_request_bytes: self.counts_request_bytes,
            recorder: self.recorder,
            route: self.route,
            routes: Routes::new(self.methods, self.max_routes, self.routes),
            labels: self.labels,
            grpc: self.grpc,
            side: self.side,
            trace_id: self.trace_id,
        }));
        for (method, route, ending) in self.initialize {
            let entry = shared.routes.take(&route).unwrap_or_else(|other| other);
            let method = shared.routes.method(&method);
            let target = shared.target(method, entry);
            let ending = self.side.ending(ending);
            for numbers in LabelNumbers::known(&shared.labels, ending.status.is_some()) {
                let labels = &shared.labels;
                let labels = LabelValues { labels, numbers };
                let recorder = &shared.recorder;
                recorder.initialize(target.series, ending, labels);
            }
        }
        MetricsLayer {
            shared,
            classify: Box::leak(Box::new(self.classify)),
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
            .finish_non_exhaustive()
    }
}
