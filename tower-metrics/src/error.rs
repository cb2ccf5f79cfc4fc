//! What can be wrong with a setting.

use crate::recorder::LabelError;

/// A setting that cannot be: which value, why, and what is allowed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A metric's name is not one that Prometheus takes.
    #[error("metric name {name:?}: must match [a-zA-Z_:][a-zA-Z0-9_:]*")]
    MetricName {
        /// The name.
        name: String,
    },
    /// Two metrics have the same name, or one that the other's samples have.
    #[error("metric name {name:?} is used twice")]
    DuplicateMetric {
        /// The name.
        name: String,
    },
    /// A label cannot be taken.
    #[error(transparent)]
    Label(#[from] LabelError),
    /// More custom labels than a layer can have.
    #[error("{count} custom labels: at most {max} are allowed")]
    TooManyLabels {
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// A route that no request of the layer can have.
    #[error("{setting}: route {route:?}: {why}")]
    Route {
        /// The builder's method that names the route.
        setting: &'static str,
        /// The route.
        route: String,
        /// Why no request can have it, and what is allowed.
        why: &'static str,
    },
    /// No method at all, or too many.
    #[error("{count} methods: 1 to 200 are allowed")]
    Methods {
        /// How many there are.
        count: usize,
    },
    /// Places for more routes than a layer can have, or for fewer than are named
    /// in advance.
    #[error("max_routes {max}: must be from {named}, the routes named in advance, to 1000000")]
    MaxRoutes {
        /// For how many routes there was to be a place.
        max: usize,
        /// How many [`initialize`](crate::MetricsLayerBuilder::initialize) names.
        named: usize,
    },
    /// More series than should stand at zero: with labels of enums there is one
    /// for each combination of their values.
    #[error("{count} series at zero: at most {max} are allowed; initialize fewer endings")]
    InitialSeries {
        /// How many series there were to be.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// A histogram's bound is not a finite number that the histogram can hold.
    #[error("bound {bound} of {histogram}: must be a finite number, {allowed}")]
    Bound {
        /// The bound.
        bound: f64,
        /// The histogram.
        histogram: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A histogram's bounds do not rise.
    #[error("bounds of {histogram} must rise: {next} follows {bound}")]
    FallingBounds {
        /// The histogram.
        histogram: String,
        /// A bound.
        bound: f64,
        /// The one that follows it and is not greater.
        next: f64,
    },
    /// The registry has a metric of this name already.
    #[error(
        "cannot register {name:?}: {why}; use one recorder for all layers, or a prefix, or another registry"
    )]
    Registration {
        /// The duration histogram's name, by which a recorder is known.
        name: String,
        /// What the registry says.
        why: String,
    },
}
