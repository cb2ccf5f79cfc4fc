//! Builder for the recorder.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, RwLock};
use std::time::Duration;

use prometheus::Registry;

use super::cells::Layout;
use super::collector::{LIMIT, METRIC, RecorderMetrics, RequestMetrics};
use super::names::label_names;
use super::oldest_request::Watched;
use super::registry::RegistryAdditions;
use super::{Endpoints, Inner, Names, Prometheus, exposition};
use crate::bounds::{DURATION_BOUNDS, duration_bounds, size_bounds};
use crate::error::{BuildError, LabelError};
use crate::recorder::Limit;
use crate::table::Table;

/// Builder for a [`Prometheus`] recorder.
///
/// ```
/// use tower_metrics::{Names, Prometheus};
///
/// let prometheus = Prometheus::builder()
///     .names(Names::classic())
///     .prefix("shop")
///     .build()?;
/// assert_eq!(prometheus.names().in_flight, "shop_http_requests_in_flight");
/// # Ok::<_, tower_metrics::BuildError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct PrometheusBuilder {
    registry: Option<Registry>,
    names: Names,
    prefix: Option<String>,
    scheme: String,
    constant: Vec<(String, String)>,
    duration_bounds: Vec<f64>,
    route_duration_bounds: Vec<(String, Vec<f64>)>,
    objectives: Vec<Duration>,
    request_size_bounds: Vec<f64>,
    response_size_bounds: Vec<f64>,
    time_to_head: bool,
    native_histogram: bool,
    oldest_request: bool,
    group_statuses: bool,
}

impl Default for PrometheusBuilder {
    fn default() -> Self {
        Self {
            registry: None,
            names: Names::default(),
            prefix: None,
            scheme: "http".into(),
            constant: Vec::new(),
            duration_bounds: DURATION_BOUNDS.into(),
            route_duration_bounds: Vec::new(),
            objectives: Vec::new(),
            request_size_bounds: Vec::new(),
            response_size_bounds: Vec::new(),
            time_to_head: false,
            native_histogram: false,
            oldest_request: true,
            group_statuses: false,
        }
    }
}

impl PrometheusBuilder {
    /// Sets the registry in which the metrics are registered. Defaults to a
    /// new one.
    ///
    /// The prefix and the labels of [`Registry::new_custom`] are part of
    /// [`Prometheus::names`] and [`Prometheus::constant_labels`]. A registry
    /// reveals them only in its output, so [`build`](Self::build) gathers the
    /// registry once.
    pub fn registry(mut self, registry: Registry) -> Self {
        self.registry = Some(registry);
        self
    }

    /// Sets the names of metrics and labels. Defaults to
    /// [`Names::open_telemetry`].
    pub fn names(mut self, names: Names) -> Self {
        self.names = names;
        self
    }

    /// Prepends a prefix and an underscore to the name of every request metric.
    /// Defaults to no prefix, which an empty string restores.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Sets the value of the constant label for the URL scheme. Defaults to
    /// `http`. Has no effect if [`Names::scheme`] is `None`.
    pub fn scheme(mut self, scheme: impl Into<String>) -> Self {
        self.scheme = scheme.into();
        self
    }

    /// Adds a label that has the same value on every sample, except for those of
    /// `tower_metrics_overflow_total` and `tower_metrics_series`. Its name must match
    /// `[a-zA-Z_][a-zA-Z0-9_]*` and differ from every other label's. Prometheus
    /// sets `job` and `instance` itself.
    pub fn constant_label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.constant.push((name.into(), value.into()));
        self
    }

    /// Sets the bucket bounds of the duration histogram in seconds.
    ///
    /// Bounds must be ascending and between one nanosecond and 1,000,000,000 s.
    /// Without bounds, only the count and the sum are recorded. Defaults to the
    /// recommendation of the OpenTelemetry semantic conventions: 0.005, 0.01, 0.025,
    /// 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5 and 10.
    pub fn duration_bounds(mut self, seconds: impl IntoIterator<Item = f64>) -> Self {
        self.duration_bounds = seconds.into_iter().collect();
        self
    }

    /// Sets the bucket bounds of the duration histogram in seconds for one
    /// route. The last call for a route wins. Defaults to
    /// [`duration_bounds`](Self::duration_bounds).
    pub fn route_duration_bounds(
        mut self,
        route: impl Into<String>,
        seconds: impl IntoIterator<Item = f64>,
    ) -> Self {
        self.route_duration_bounds
            .push((route.into(), seconds.into_iter().collect()));
        self
    }

    /// Adds the threshold of a latency objective to the bucket bounds of every
    /// duration histogram, so that the ratio of requests within it is exact.
    /// Must be between one nanosecond and 1,000,000,000 s.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tower_metrics::Prometheus;
    /// let prometheus = Prometheus::builder()
    ///     .objective(Duration::from_millis(300))
    ///     .build()?;
    /// assert!(prometheus.has_duration_bound(0.3));
    /// # Ok::<_, tower_metrics::BuildError>(())
    /// ```
    pub fn objective(mut self, threshold: Duration) -> Self {
        self.objectives.push(threshold);
        self
    }

    /// Sets the bucket bounds of the request size histogram in bytes. Bounds
    /// must be ascending and at most 2^53. Defaults to none, which records the
    /// count and the sum only.
    pub fn request_size_bounds(mut self, bytes: impl IntoIterator<Item = u64>) -> Self {
        self.request_size_bounds = bytes.into_iter().map(|bytes| bytes as f64).collect();
        self
    }

    /// Sets the bucket bounds of the response size histogram in bytes. Bounds
    /// must be ascending and at most 2^53. Defaults to none, which records the
    /// count and the sum only.
    pub fn response_size_bounds(mut self, bytes: impl IntoIterator<Item = u64>) -> Self {
        self.response_size_bounds = bytes.into_iter().map(|bytes| bytes as f64).collect();
        self
    }

    /// Sets whether the time to the response head is recorded in a second
    /// histogram. Defaults to `false`. It costs one additional clock
    /// read per request.
    pub fn time_to_head(mut self, enabled: bool) -> Self {
        self.time_to_head = enabled;
        self
    }

    /// Sets whether the duration histogram also has native buckets, for
    /// quantiles with a relative error of at most 4.5 % at any duration. Defaults
    /// to `false`.
    ///
    /// Prometheus scrapes them as protobuf, with `scrape_native_histograms: true`.
    /// It keeps the classic buckets as well with
    /// `always_scrape_classic_histograms: true`. The text formats contain the
    /// classic buckets only, as without this option: scrapers that cannot read
    /// native histograms, such as Google Cloud Managed Service for Prometheus,
    /// lose nothing.
    ///
    /// The buckets are those of schema 3, eight per power of two seconds, with a
    /// zero bucket for durations of zero. A series with more than 160 populated
    /// buckets, which are 20 octaves, is exposed in the highest schema at which it
    /// has at most 160.
    ///
    /// Each thread that records a series needs 64 bytes more for each octave of
    /// durations that occurs, and 272 to 1,296 bytes for tables: about 500 bytes
    /// for durations between 5 and 100 ms, and never more than 5,456 bytes.
    ///
    /// ```
    /// # use tower_metrics::Prometheus;
    /// let prometheus = Prometheus::builder().native_histogram(true).build()?;
    /// assert!(prometheus.records_native_histogram());
    /// # Ok::<_, tower_metrics::BuildError>(())
    /// ```
    pub fn native_histogram(mut self, enabled: bool) -> Self {
        self.native_histogram = enabled;
        self
    }

    /// Sets whether the age of the oldest request in flight of each route is exposed
    /// as a gauge, so that a request that never ends is visible. Defaults to `true`.
    ///
    /// A request counts until its duration ends: an event stream or an upgrade until
    /// its response head. It costs two stores per request, and a scrape reads 64 bytes
    /// for each request in flight.
    pub fn oldest_request(mut self, enabled: bool) -> Self {
        self.oldest_request = enabled;
        self
    }

    /// Sets whether the label for the status is the class of the status, `1xx` to
    /// `5xx`, instead of its code. Defaults to `false`. An error type that is the
    /// code of the status becomes the class as well.
    ///
    /// A route that answers with 200, 201, 404, 409, 422, 500 and 503 has three
    /// series of each metric instead of seven: fewer to store and to scrape, and
    /// less memory.
    ///
    /// Queries for a class by regular expression (`5..`, `[45]..`) and by error
    /// type (`error_type!=""`) return the same. What is lost:
    ///
    /// - A query for one status (`429`, `404`) finds nothing. An alert on it never
    ///   fires.
    /// - Errors of the same class are not distinguished: whether requests failed
    ///   with 500, 503 or 504 is in logs and traces only. Error types other than
    ///   statuses, such as `panic`, `timeout` and `shed`, remain.
    /// - Durations of a class are in one histogram: those of 429 are among those
    ///   of 404.
    /// - Changing the option renames the series. Ranges that contain the change
    ///   show both names.
    ///
    /// ```
    /// # use tower_metrics::Prometheus;
    /// let prometheus = Prometheus::builder().group_statuses(true).build()?;
    /// assert!(prometheus.groups_statuses());
    /// # Ok::<_, tower_metrics::BuildError>(())
    /// ```
    pub fn group_statuses(mut self, enabled: bool) -> Self {
        self.group_statuses = enabled;
        self
    }

    /// Builds the recorder and registers its metrics.
    ///
    /// # Errors
    ///
    /// Returns an error that names the value and what is allowed if
    ///
    /// - a metric or label name is invalid or used twice,
    /// - a bucket bound is out of range or the bounds are not ascending,
    /// - the registry adds a label that the metrics already have, or
    /// - the registry already contains a metric of the same name.
    pub fn build(self) -> Result<Prometheus, BuildError> {
        let mut names = self.names;
        let prefix = self.prefix.filter(|prefix| !prefix.is_empty());
        if let Some(prefix) = &prefix {
            names = names.prefixed(prefix);
        }
        let name = names.duration.clone();
        let failed = |error: prometheus::Error| BuildError::Registration {
            name: name.clone(),
            why: error.to_string(),
        };
        let additions = match &self.registry {
            Some(registry) => RegistryAdditions::read(registry).map_err(failed)?,
            None => RegistryAdditions::default(),
        };
        let exposed_names = match &additions.prefix {
            Some(prefix) => names.clone().prefixed(prefix),
            None => names.clone(),
        };
        check_metric_names(&exposed_names, self.time_to_head, self.oldest_request)?;

        let scheme = names.scheme.clone().map(|name| (name, self.scheme));
        let rpc_system = names
            .rpc_system
            .clone()
            .map(|name| (name, "grpc".to_owned()));
        let known = scheme.into_iter().chain(rpc_system);
        let constant: Vec<_> = known.chain(self.constant).collect();
        check_labels(&names, &constant, &additions.labels)?;

        let request_size =
            optional_bounds(names.request_size.as_deref(), &self.request_size_bounds)?;
        let response_size =
            optional_bounds(names.response_size.as_deref(), &self.response_size_bounds)?;
        let layout = |bounds: &[f64]| {
            let duration = duration_bounds(&names.duration, bounds, &self.objectives)?;
            let layout = Layout::new(
                &duration,
                &request_size,
                &response_size,
                self.time_to_head,
                self.native_histogram,
            );
            Ok::<&'static Layout, BuildError>(Box::leak(Box::new(layout)))
        };
        let default_layout = layout(&self.duration_bounds)?;
        let mut route_layouts = HashMap::new();
        for (route, bounds) in &self.route_duration_bounds {
            let (_, route) = names.label_values("", route);
            route_layouts.insert(route.to_owned(), layout(bounds)?);
        }

        let registry = self.registry.unwrap_or_default();
        let names: &'static Names = Box::leak(Box::new(names));
        let inner: &'static Inner = Box::leak(Box::new(Inner {
            registry,
            additions,
            names,
            exposed_names,
            constant: constant.leak(),
            prefix,
            #[cfg(feature = "connections")]
            connections: super::connections::PreparedSeries::new(),
            #[cfg(feature = "admission")]
            waits: super::admission::PreparedWaits::new(),
            custom_labels: Mutex::default(),
            layout: default_layout,
            route_layouts,
            time_to_head: self.time_to_head,
            oldest_request: self.oldest_request,
            watched: Watched::default(),
            groups_statuses: self.group_statuses,
            endpoints: RwLock::new(Endpoints::default()),
            overflows: Table::new(64),
            renderers: exposition::Renderers::default(),
            sources: RwLock::default(),
        }));
        // Exposed from the start, so that `increase()` sees the first overflow.
        inner
            .overflows
            .get_or_insert(Limit::Routes.as_str(), AtomicU64::default);
        register(inner).map_err(failed)?;
        Ok(Prometheus(inner))
    }
}

/// Registers the recorder's collectors. If it fails, it leaves none in the registry.
fn register(inner: &'static Inner) -> prometheus::Result<()> {
    let registry = &inner.registry;
    // The metrics about the recorder come first, because they are identified by the
    // duration's name alone. Recorders that differ only in their constant labels would
    // share families, which only one of them could write.
    registry.register(Box::new(RecorderMetrics::new(inner)?))?;
    let request_metrics = RequestMetrics::new(inner);
    let registered = request_metrics.and_then(|metrics| registry.register(Box::new(metrics)));
    registered.or_else(|error| {
        registry.unregister(Box::new(RecorderMetrics::new(inner)?))?;
        Err(error)
    })
}

fn check_metric_names(
    names: &Names,
    time_to_head: bool,
    oldest_request: bool,
) -> Result<(), BuildError> {
    let metrics = names.metrics(time_to_head, oldest_request);
    for (i, name) in metrics.iter().enumerate() {
        let valid = name.bytes().enumerate().all(|(i, b)| {
            b.is_ascii_alphabetic() || b == b'_' || b == b':' || (i > 0 && b.is_ascii_digit())
        });
        if name.is_empty() || !valid {
            return Err(BuildError::MetricName {
                name: (*name).to_owned(),
            });
        }
        // The suffixes of a histogram's samples.
        let clashes = |other: &&str| {
            let rest = other.strip_prefix(*name);
            matches!(rest, Some("" | "_bucket" | "_count" | "_sum"))
        };
        let others = metrics[..i].iter().chain(&metrics[i + 1..]);
        if let Some(other) = others.into_iter().find(|other| clashes(other)) {
            return Err(BuildError::DuplicateMetric {
                name: (*other).to_owned(),
            });
        }
    }
    Ok(())
}

fn check_labels(
    names: &Names,
    constant: &[(String, String)],
    registry: &[(String, String)],
) -> Result<(), LabelError> {
    // The registry adds its labels to the recorder's own metrics too.
    let mut seen = BTreeSet::from([METRIC, LIMIT]);
    for (name, _) in registry {
        check_label_syntax(name)?;
        if !seen.insert(name) {
            return Err(LabelError {
                name: name.to_owned(),
                why: "the registry adds a label of this name, which the recorder uses as well"
                    .to_owned(),
            });
        }
    }
    seen.remove(METRIC);
    seen.remove(LIMIT);
    for name in label_names(names, constant) {
        check_label_name(name)?;
        if !seen.insert(name) {
            return Err(LabelError {
                name: name.to_owned(),
                why: "used twice".to_owned(),
            });
        }
    }
    Ok(())
}

/// Checks that the constant labels, and those that the registry adds, differ from the own
/// labels of metrics that are registered after the recorder was built.
#[cfg(any(feature = "admission", feature = "connections"))]
pub(super) fn check_own_labels(inner: &Inner, own: &[&str]) -> Result<(), LabelError> {
    let mut others = inner.constant.iter().chain(&inner.additions.labels);
    others
        .find(|(name, _)| own.contains(&&**name))
        .map_or(Ok(()), |(name, _)| {
            Err(LabelError {
                name: name.to_owned(),
                why: "the metrics already have a label of this name".to_owned(),
            })
        })
}

/// Checks the name of a label that the layer or the recorder sets.
pub(crate) fn check_label_name(name: &str) -> Result<(), LabelError> {
    if name == "job" || name == "instance" {
        return Err(LabelError {
            name: name.to_owned(),
            why: "Prometheus sets this label itself on everything it scrapes".to_owned(),
        });
    }
    check_label_syntax(name)
}

fn check_label_syntax(name: &str) -> Result<(), LabelError> {
    let valid = !name.is_empty()
        && name
            .bytes()
            .enumerate()
            .all(|(i, b)| b.is_ascii_alphabetic() || b == b'_' || (i > 0 && b.is_ascii_digit()));
    let why = if !valid {
        "must match [a-zA-Z_][a-zA-Z0-9_]*"
    } else if name.starts_with("__") {
        "names that start with two underscores are reserved by Prometheus"
    } else if name == "le" || name == "quantile" {
        "reserved for histograms and summaries"
    } else {
        return Ok(());
    };
    Err(LabelError {
        name: name.to_owned(),
        why: why.to_owned(),
    })
}

/// Returns no bounds if the names leave out the histogram.
fn optional_bounds(histogram: Option<&str>, bytes: &[f64]) -> Result<Vec<(u64, f64)>, BuildError> {
    histogram.map_or_else(|| Ok(Vec::new()), |histogram| size_bounds(histogram, bytes))
}
