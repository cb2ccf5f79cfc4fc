//! Recorder for Prometheus, and the exposition of its registry.

#[cfg(feature = "admission")]
mod admission;
mod bound;
mod builder;
mod cells;
mod collector;
#[cfg(feature = "connections")]
mod connections;
mod directory;
mod exemplars;
mod exposition;
mod family;
mod key;
mod local;
mod metric_value;
mod names;
mod native;
mod oldest_request;
mod other;
mod reader;
mod registry;
mod series;
mod snapshot;
#[cfg(any(feature = "metrics", feature = "prometheus-client"))]
mod sources;
mod thread_endpoint;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

#[cfg(feature = "admission")]
pub use self::admission::AdmissionNames;
pub use self::bound::format_bound;
pub use self::builder::PrometheusBuilder;
#[cfg(feature = "connections")]
pub use self::connections::ConnectionNames;
pub use self::exposition::{Exposition, ExpositionBody, Format};
pub use self::metric_value::{counter_value, gauge_value};
pub use self::names::Names;
pub use self::reader::{ReadSeries, ReadValue, Reader};
#[cfg(feature = "prometheus-client")]
pub use self::sources::ClientRegistry;
#[cfg(feature = "metrics")]
pub use self::sources::{MetricsFacade, MetricsFacadeBuilder};
/// Re-exported from the version of the crate `prometheus` that this crate uses.
pub use prometheus::{Registry, proto};

use self::cells::Layout;
use self::other::{OtherFamily, Source};
use self::registry::RegistryAdditions;
use self::series::Endpoint;
use self::snapshot::Snapshot;
use self::thread_endpoint::ThreadEndpoint;
use crate::completed_request::CompletedRequest;
use crate::error::LabelError;
use crate::initial_series::InitialSeries;
use crate::label::LabelValues;
use crate::oldest_request::OldestRequest;
use crate::recorder::{Limit, Recorder};
use crate::sync;
use crate::table::Table;

/// Recorder that keeps its metrics in a Prometheus registry.
///
/// `Prometheus` is a reference, which implements `Copy`: pass it to every layer
/// that shares its metrics. The state that it refers to is never freed, which
/// spares each request a reference count.
///
/// ```
/// # #[cfg(feature = "axum")] {
/// use axum::{Router, routing::get};
/// use tower_metrics::{MetricsLayer, Prometheus};
///
/// let prometheus = Prometheus::new();
/// let app: Router = Router::new()
///     .route("/concerts/{id}", get(|| async { "hello" }))
///     .layer(MetricsLayer::new(prometheus))
///     .route_service("/metrics", prometheus.exposition());
/// # }
/// ```
///
/// # Other metrics
///
/// The exposition contains every metric in the [`registry`](Prometheus::registry).
/// Register the metrics of the program there, with version 0.14 of the crate
/// `prometheus`:
///
/// ```
/// use prometheus::IntCounter;
/// use tower_metrics::Prometheus;
/// use tower_metrics::prometheus::Format;
///
/// let recorder = Prometheus::new();
/// let sold = IntCounter::new("tickets_sold_total", "Number of tickets sold.")?;
/// recorder.registry().register(Box::new(sold.clone()))?;
///
/// sold.inc();
/// let exposition = recorder.exposition().render(Format::Text);
/// assert!(exposition.contains("tickets_sold_total 1\n"));
/// # Ok::<_, prometheus::Error>(())
/// ```
///
/// With the feature `metrics`, `Prometheus::metrics_facade` exposes what the macros of the crate
/// `metrics` record, and with `prometheus-client`, `Prometheus::add_client_registry` exposes a
/// registry of that crate.
///
/// To expose metrics that are registered elsewhere, such as in
/// `prometheus::default_registry()`, pass a clone of that registry to
/// [`PrometheusBuilder::registry`].
#[derive(Clone, Copy)]
pub struct Prometheus(&'static Inner);

pub(crate) struct Inner {
    registry: Registry,
    /// Prefix and labels that the registry adds.
    additions: RegistryAdditions,
    /// With the builder's prefix, as registered.
    names: &'static Names,
    /// With the registry's prefix too, as exposed.
    exposed_names: Names,
    constant: &'static [(String, String)],
    /// Prefix of the builder.
    prefix: Option<String>,
    #[cfg(feature = "connections")]
    connections: connections::PreparedSeries,
    #[cfg(feature = "admission")]
    waits: admission::PreparedWaits,
    /// Names of the layers' labels in the order of their declaration.
    custom_labels: Mutex<Vec<&'static str>>,
    layout: &'static Layout,
    route_layouts: HashMap<String, &'static Layout>,
    time_to_head: bool,
    oldest_request: bool,
    watched: oldest_request::Watched,
    groups_statuses: bool,
    endpoints: RwLock<Endpoints>,
    overflows: Table<AtomicU64>,
    renderers: exposition::Renderers,
    /// Sources beside the registry, in the order of their addition.
    sources: RwLock<Vec<Box<dyn Source>>>,
}

/// Endpoints of a recorder. Several layers may request the same one.
#[derive(Default)]
struct Endpoints {
    by_name: HashMap<(&'static str, &'static str), &'static Endpoint>,
    in_order: Vec<&'static Endpoint>,
}

impl Prometheus {
    /// Creates a recorder with the default settings: OpenTelemetry's names and a
    /// new registry.
    pub fn new() -> Self {
        PrometheusBuilder::default()
            .build()
            .expect("the defaults are valid, and nothing is registered yet")
    }

    /// Returns a builder for a recorder.
    pub fn builder() -> PrometheusBuilder {
        PrometheusBuilder::default()
    }

    /// Returns the registry that contains the metrics.
    pub fn registry(&self) -> &'static Registry {
        &self.0.registry
    }

    /// Returns the names of the metrics and labels as the exposition writes
    /// them, with the builder's [prefix](PrometheusBuilder::prefix) and the registry's.
    pub fn names(&self) -> &'static Names {
        &self.0.exposed_names
    }

    /// Returns the name under which a metric that is registered as `name` in
    /// the recorder's [`registry`](Self::registry) is exposed: with the prefix
    /// of [`Registry::new_custom`], if the registry has one.
    ///
    /// ```
    /// # use tower_metrics::Prometheus;
    /// use tower_metrics::prometheus::Registry;
    ///
    /// let registry = Registry::new_custom(Some("shop".into()), None)?;
    /// let prometheus = Prometheus::builder().registry(registry).build()?;
    /// assert_eq!(prometheus.exposed_name("orders_total"), "shop_orders_total");
    /// assert!(prometheus.names().duration.starts_with("shop_http_server_"));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    pub fn exposed_name(&self, name: &str) -> String {
        self.0.additions.exposed_name(name)
    }

    /// Returns the name of a metric with the prefix of the [builder](PrometheusBuilder::prefix) and
    /// that of the registry, as the exposition writes the recorder's own metrics.
    ///
    /// ```
    /// # use tower_metrics::Prometheus;
    /// let prometheus = Prometheus::builder().prefix("shop").build()?;
    /// assert_eq!(prometheus.prefixed_name("orders_total"), "shop_orders_total");
    /// # Ok::<_, tower_metrics::BuildError>(())
    /// ```
    pub fn prefixed_name(&self, name: &str) -> String {
        match &self.0.prefix {
            Some(prefix) => self.exposed_name(&format!("{prefix}_{name}")),
            None => self.exposed_name(name),
        }
    }

    /// Returns the labels with the same value on every sample of requests, as name and
    /// value: the scheme, the [constant labels](PrometheusBuilder::constant_label), and
    /// those that the registry adds.
    pub fn constant_labels(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let registry = &self.0.additions.labels;
        let labels = self.0.constant.iter().chain(registry);
        labels.map(|(name, value)| (&**name, &**value))
    }

    /// Returns the names of the custom labels that the layers built with this
    /// recorder so far have declared, sorted.
    pub fn custom_labels(&self) -> Vec<&'static str> {
        let labels = self.0.custom_labels.lock();
        let mut labels = labels.unwrap_or_else(PoisonError::into_inner).clone();
        labels.sort_unstable();
        labels
    }

    /// Returns the bucket bounds of the duration histogram in seconds,
    /// ascending, [objectives](PrometheusBuilder::objective) included.
    pub fn duration_bounds(&self) -> &'static [f64] {
        &self.0.layout.duration.bounds
    }

    /// Returns the routes with [their own](PrometheusBuilder::route_duration_bounds)
    /// bucket bounds of the duration histogram, and these bounds in seconds.
    pub fn route_duration_bounds(&self) -> impl Iterator<Item = (&'static str, &'static [f64])> {
        let layouts = self.0.route_layouts.iter();
        layouts.map(|(route, layout)| (&**route, &*layout.duration.bounds))
    }

    /// Returns whether every duration histogram has a bucket with this bound
    /// in seconds, so that a query can count the requests within it exactly.
    pub fn has_duration_bound(&self, seconds: f64) -> bool {
        let of_routes = self.route_duration_bounds().map(|(_, bounds)| bounds);
        std::iter::once(self.duration_bounds())
            .chain(of_routes)
            .all(|bounds| bounds.contains(&seconds))
    }

    /// Returns the bucket bounds of the request size histogram in bytes,
    /// ascending. Empty unless [set](PrometheusBuilder::request_size_bounds).
    pub fn request_size_bounds(&self) -> &'static [f64] {
        &self.0.layout.request_size.bounds
    }

    /// Returns the bucket bounds of the response size histogram in bytes,
    /// ascending. Empty unless [set](PrometheusBuilder::response_size_bounds).
    pub fn response_size_bounds(&self) -> &'static [f64] {
        &self.0.layout.response_size.bounds
    }

    /// Returns whether the recorder [records](PrometheusBuilder::time_to_head) the time
    /// to the response's head.
    pub fn records_time_to_head(&self) -> bool {
        self.0.time_to_head
    }

    /// Returns whether the label for the status is the
    /// [class](PrometheusBuilder::group_statuses) of the status, such as `2xx`.
    pub fn groups_statuses(&self) -> bool {
        self.0.groups_statuses
    }

    /// Returns whether the duration has
    /// [native buckets](PrometheusBuilder::native_histogram).
    pub fn records_native_histogram(&self) -> bool {
        self.0.layout.native.is_some()
    }

    /// Returns whether the recorder [exposes](PrometheusBuilder::oldest_request) the age
    /// of the oldest request in flight.
    pub fn exposes_oldest_request(&self) -> bool {
        self.0.oldest_request
    }

    /// Returns a [`Reader`] of the recorder's series, for evaluation inside the
    /// process.
    pub fn reader(&self) -> Reader {
        Reader::new(*self)
    }

    /// Adds a source whose metrics the exposition shows beside those of the
    /// registry.
    #[cfg_attr(
        not(any(feature = "metrics", feature = "prometheus-client")),
        allow(dead_code, reason = "called by features that add a source")
    )]
    pub(crate) fn add_source(&self, source: Box<dyn Source>) {
        let sources = self.0.sources.write();
        let mut sources = sources.unwrap_or_else(PoisonError::into_inner);
        sources.push(source);
    }

    /// Returns a service that exposes everything in the registry, for
    /// `Router::route_service` or any HTTP server.
    pub fn exposition(&self) -> Exposition {
        Exposition::new(self.0)
    }
}

impl Default for Prometheus {
    fn default() -> Self {
        Self::new()
    }
}

impl Inner {
    /// Returns the families of the sources beside the registry.
    fn other_families(&self) -> Vec<OtherFamily<'static>> {
        let sources = self.sources.read().unwrap_or_else(PoisonError::into_inner);
        let families = sources.iter().flat_map(|source| source.families());
        families.collect()
    }

    /// Returns all endpoints in the order of their creation.
    fn endpoints(&self) -> Vec<&'static Endpoint> {
        self.endpoints
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .in_order
            .clone()
    }

    /// Reads all series into a snapshot.
    fn read(&self, snapshot: &mut Snapshot) {
        snapshot.read(&self.endpoints());
        if self.oldest_request {
            snapshot.read_oldest_requests(&self.watched);
        }
    }

    fn endpoint(&'static self, method: &'static str, route: &'static str) -> &'static Endpoint {
        let mut endpoints = self
            .endpoints
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = endpoints.by_name.get(&(method, route)) {
            return endpoint;
        }
        let layout = self.route_layouts.get(route).unwrap_or(&self.layout);
        let endpoint: &Endpoint = Box::leak(Box::new(Endpoint::new(
            method,
            route,
            layout,
            self.names,
            self.constant,
            self.groups_statuses,
        )));
        endpoints.by_name.insert((method, route), endpoint);
        endpoints.in_order.push(endpoint);
        endpoint
    }
}

/// Records a request that began on another thread, is the first of its series, or has
/// one of many series.
#[inline(never)]
fn end_unlisted(endpoint: &'static Endpoint, end: &CompletedRequest<'_>) {
    local::with_cells(endpoint, end, |cells| cells.record(endpoint.layout, end));
}

impl Recorder for Prometheus {
    type Series = &'static Endpoint;
    type InFlight = &'static ThreadEndpoint;

    fn series(&self, method: &'static str, route: &'static str) -> &'static Endpoint {
        let (method, route) = self.0.names.label_values(method, route);
        self.0.endpoint(method, route)
    }

    #[inline(always)]
    fn begin(&self, endpoint: &'static Endpoint) -> &'static ThreadEndpoint {
        local::with_thread_endpoint(endpoint, |thread| {
            thread.begun.add(1);
            thread
        })
    }

    #[inline(always)]
    fn end(
        &self,
        endpoint: &'static Endpoint,
        began: &'static ThreadEndpoint,
        end: &CompletedRequest<'_>,
    ) {
        match local::listed_cells(began, end) {
            Some(cells) => cells.record(endpoint.layout, end),
            None => end_unlisted(endpoint, end),
        }
    }

    fn abandon(&self, endpoint: &'static Endpoint, _: &'static ThreadEndpoint) {
        local::with_thread_endpoint(endpoint, |thread| thread.begun.add(1u64.wrapping_neg()));
    }

    fn declare_labels(&self, names: &[&'static str]) -> Result<(), LabelError> {
        let inner = self.0;
        for (i, name) in names.iter().enumerate() {
            builder::check_label_name(name)?;
            let added = inner.additions.labels.iter().map(|(name, _)| &**name);
            let mut taken = names::label_names(inner.names, inner.constant).chain(added);
            if taken.any(|taken| taken == *name) || names[..i].contains(name) {
                return Err(LabelError {
                    name: (*name).to_owned(),
                    why: "the metrics already have a label of this name".to_owned(),
                });
            }
        }
        let mut declared = inner
            .custom_labels
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for name in names {
            if !declared.contains(name) {
                declared.push(name);
            }
        }
        drop(declared);
        // Exposed from the start, so that `increase()` sees the first overflow.
        for name in names {
            inner.overflows.get_or_insert(name, AtomicU64::default);
        }
        Ok(())
    }

    fn initialize(
        &self,
        endpoint: &'static Endpoint,
        series: InitialSeries,
        labels: LabelValues<'_>,
    ) {
        endpoint.initialize(series, &labels);
    }

    fn overflowed(&self, limit: Limit) {
        let name = limit.as_str();
        let known = self.0.overflows.get(name);
        let count = known.or_else(|| self.0.overflows.get_or_insert(name, AtomicU64::default));
        if count.is_some_and(|count| count.fetch_add(1, Ordering::Relaxed) == 0) {
            tracing::warn!(
                metric = self.0.names.duration,
                limit = name,
                "cardinality limit reached; further values are recorded as _OTHER"
            );
        }
    }

    fn wants_time_to_head(&self) -> bool {
        self.0.time_to_head
    }

    fn wants_oldest_request(&self) -> bool {
        self.0.oldest_request
    }

    fn watch_oldest_request(&self, endpoint: &'static Endpoint, oldest: OldestRequest) {
        if self.0.oldest_request {
            let inner = self.0;
            let (names, constant) = (inner.names, inner.constant);
            inner.watched.add(endpoint.route, oldest, names, constant);
        }
    }
}

impl fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prometheus")
            .field("names", self.0.names)
            .finish_non_exhaustive()
    }
}
