//! Errors of the builders.

/// Error returned when a layer or a recorder cannot be built.
///
/// Its message names the invalid value, the reason, and what is allowed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The name of a metric is not valid in Prometheus.
    #[error("metric name {name:?}: must match [a-zA-Z_:][a-zA-Z0-9_:]*")]
    MetricName {
        /// The invalid name.
        name: String,
    },
    /// Two metrics have the same name, or one has the name of the other's samples.
    #[error("metric name {name:?} is used twice")]
    DuplicateMetric {
        /// The duplicate name.
        name: String,
    },
    /// The recorder does not accept a label.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// The layer has more custom labels than [`MAX_LABELS`](crate::MAX_LABELS).
    #[error("{count} custom labels: at most {max} are allowed")]
    TooManyLabels {
        /// The number of labels.
        count: usize,
        /// The maximum number.
        max: usize,
    },
    /// A setting names a route that the layer can never record.
    #[error("{setting}: route {route:?}: {why}")]
    Route {
        /// The builder method that was given the route.
        setting: &'static str,
        /// The route.
        route: String,
        /// Why the layer can never record it, and what is allowed.
        why: &'static str,
    },
    /// The list of methods is empty or too long.
    #[error("{count} methods: 1 to 200 are allowed")]
    Methods {
        /// The number of methods.
        count: usize,
    },
    /// The route limit is too large, or smaller than the number of routes passed
    /// to [`initialize`](crate::MetricsLayerBuilder::initialize).
    #[error(
        "max_routes {max}: must be between {named}, the number of initialized routes, and 1000000"
    )]
    MaxRoutes {
        /// The limit.
        max: usize,
        /// The number of initialized routes.
        named: usize,
    },
    /// [`initialize`](crate::MetricsLayerBuilder::initialize) would create too many
    /// series. Labels with enum values multiply their number.
    #[error("{count} initial series: at most {max} are allowed")]
    TooManyInitialSeries {
        /// The number of series.
        count: usize,
        /// The maximum number.
        max: usize,
    },
    /// The maximum number of connections is 0.
    #[error("max_connections {max}: must be at least 1")]
    MaxConnections {
        /// The invalid number.
        max: usize,
    },
    /// A bucket bound is not a finite number, or is out of range.
    #[error("bound {bound} of {histogram}: must be a finite number, {allowed}")]
    Bound {
        /// The invalid bound.
        bound: f64,
        /// The name of the histogram.
        histogram: String,
        /// The range that is allowed.
        allowed: &'static str,
    },
    /// The bucket bounds of a histogram are not in increasing order.
    #[error("bounds of {histogram} must be in increasing order: {next} follows {bound}")]
    FallingBounds {
        /// The name of the histogram.
        histogram: String,
        /// A bound.
        bound: f64,
        /// The bound after it, which is not greater.
        next: f64,
    },
    /// The process already has a global recorder of the crate `metrics`.
    #[error("the crate metrics already has a global recorder, which cannot be replaced")]
    GlobalRecorder,
    /// The registry rejected the metrics, usually because it already has metrics of
    /// the same name.
    #[error(
        "cannot register {name:?}: {why}; use one recorder for all layers, or a prefix, or another registry"
    )]
    Registration {
        /// The name of the duration histogram, which identifies the recorder.
        name: String,
        /// The error of the registry.
        why: String,
    },
}

/// Error returned by a [`Recorder`](crate::Recorder) for a label name that it does
/// not accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("label {name:?}: {why}")]
#[non_exhaustive]
pub struct LabelError {
    /// The label name.
    pub name: String,
    /// Why the name is not accepted, and what is allowed.
    pub why: String,
}

impl LabelError {
    /// Creates an error for the label `name`.
    pub fn new(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            why: why.into(),
        }
    }
}
